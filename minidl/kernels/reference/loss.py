"""Cross-entropy of softmax, one row of logits at a time."""

from __future__ import annotations

import numpy as np

__all__ = ["cross_entropy", "cross_entropy_adjoint"]


def cross_entropy(z: np.ndarray, t: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """log p_c = (z_c - m) - log Σ_k exp(z_k - m), m = max z, and ℓ adds up the -t_c log p_c whose t_c is not 0."""
    z, t = np.moveaxis(z, axis, -1), np.moveaxis(t, axis, -1)
    losses, logp = np.zeros(z.shape[:-1], np.result_type(z, t)), np.zeros(z.shape, z.dtype)
    for row in np.ndindex(losses.shape):
        peak = max(z[row].real)
        logp[row] = (z[row] - peak) - np.log(sum(np.exp(v - peak) for v in z[row]))
        losses[row] = -sum(a * b for a, b in zip(t[row], logp[row], strict=True) if a != 0)
    return losses, np.moveaxis(logp, -1, axis)


def cross_entropy_adjoint(gl: np.ndarray, logp: np.ndarray, t: np.ndarray, axis: int) -> np.ndarray:
    """gz_c = Σ_k gℓ t_k p_c - gℓ t_c."""
    logp, t = np.moveaxis(logp, axis, -1), np.moveaxis(t, axis, -1)
    each = np.broadcast_to(gl if np.ndim(gl) == 0 else np.moveaxis(gl, axis, -1)[..., 0], logp.shape[:-1])
    gz = np.zeros(logp.shape, np.result_type(gl, logp, t))
    for row in np.ndindex(each.shape):
        for c in range(logp.shape[-1]):
            gz[(*row, c)] = each[row] * (np.exp(logp[(*row, c)]) * sum(t[row]) - t[(*row, c)])
    return np.moveaxis(gz, -1, axis)
