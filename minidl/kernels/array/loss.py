"""Cross-entropy of softmax: the readable form, for NumPy and CuPy; see (3), (5) and (7) of ops/loss.py."""

from __future__ import annotations

from minidl.device import Array, get_array_module

__all__ = ["cross_entropy", "cross_entropy_adjoint"]


def cross_entropy(z: Array, t: Array, axis: int) -> tuple[Array, Array]:
    """ℓ = -Σ_c t_c log p_c, p = softmax(z) along `axis`.

    Args:
        z: logits.
        t: weights of the classes' logarithms, the shape of z; 0 · log 0 counts as 0.
        axis: that of the classes.

    Returns:
        ℓ, the shape of z without `axis`, and log p, the shape of z.
    """
    xp = get_array_module(z, t)
    shifted = z - z.real.max(axis=axis, keepdims=True)
    logp = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))  # (3)
    return -(t * xp.where(t == 0, 0, logp)).sum(axis=axis), logp  # (5)


def cross_entropy_adjoint(gl: Array, logp: Array, t: Array, axis: int) -> Array:
    """gz_c = gℓ [p_c Σ_k t_k - t_c].

    Args:
        gl: gℓ, the shape of ℓ with 1 for `axis`, or () for one number.
        logp, t, axis: as above.

    Returns:
        gz, the shape of z.
    """
    return gl * (get_array_module(logp).exp(logp) * t.sum(axis=axis, keepdims=True) - t)  # (7)
