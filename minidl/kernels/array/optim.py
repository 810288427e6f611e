"""Optimizer steps on flat buffers: every parameter of a model end to end in one array, its gradient likewise.

The equations are those of optim.py.  What is new is returned and nothing is written to, so that a graph which still
needs the old values keeps them.  `segments` says which weight decay and learning rate hold where.

Mixed precision.  p and what is kept beside it are float32 ("master weights"), g and what the model computes with may
be float16.  Small gradients would be lost there, so the loss is multiplied by a scale S, and g arrives S times too
large; if S is too large g overflows, and the step is not taken.  Both are known on the device alone,

    inverse_scale   1/S, float32 (1,):      g ← g inverse_scale before anything else
    found_inf       bool (1,):              True leaves p and what is kept beside it as they were

and `loss_scale_step` computes them, and the next S, from g without the host waiting for an answer.
"""

from __future__ import annotations

from minidl.device import Array, get_array_module
from minidl.kernels.segments import Segment, runs

__all__ = ["adamw_step", "loss_scale_step", "sgd_step"]


def sgd_step(
    p: Array,
    g: Array,
    v: Array,
    segments: tuple[Segment, ...],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    inverse_scale: Array | None = None,
    found_inf: Array | None = None,
) -> tuple[Array, Array, Array]:
    """g ← g + λ p, v ← μ v + g and p ← p - η v, or p ← p - η (g + μ v); see (1)-(3) of optim.py.

    Args:
        p: parameters, (n,), float32 or float64.
        g: gradients, (n,), of p's dtype or float16.
        v: velocities, (n,), of p's dtype; zeros before the first step.
        segments: λ and the factor of `lr` of each run.
        lr, momentum, nesterov: η, μ (0 for none: v is then g) and which of the two.
        inverse_scale: 1/S, float32 (1,), or None for 1.
        found_inf: bool (1,), or None for False.

    Returns:
        New p, new v, and the new p in the dtype of g.

    Example:
        >>> import numpy as np
        >>> p, g = np.array([1.0, 2.0]), np.array([2.0, 2.0])
        >>> segments = (Segment(1), Segment(2, weight_decay=0.5))
        >>> sgd_step(p, g, np.zeros(2), segments, lr=0.1, momentum=0.9, nesterov=False)[0]
        array([0.8, 1.7])
    """
    p_new, v_new = _fresh(p, 2)
    for run, (_, decay, factor) in runs(segments, p.size):
        p_run, g_run = p[run], _unscaled(g[run], p, inverse_scale)
        if decay:
            g_run = g_run + decay * p_run  # (1)
        v_new[run] = momentum * v[run] + g_run if momentum else g_run  # (2)
        p_new[run] = p_run - lr * factor * (g_run + momentum * v_new[run] if nesterov else v_new[run])  # (3)
    p_new, v_new = _unless(found_inf, (p, p_new), (v, v_new))
    return p_new, v_new, p_new.astype(g.dtype, copy=False)


def adamw_step(
    p: Array,
    g: Array,
    m: Array,
    s: Array,
    steps: Array,
    segments: tuple[Segment, ...],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    inverse_scale: Array | None = None,
    found_inf: Array | None = None,
) -> tuple[Array, Array, Array, Array, Array]:
    """p ← (1 - ηλ) p, m ← β₁ m + (1 - β₁) g, s ← β₂ s + (1 - β₂) g², p ← p - η m̂ / (√ŝ + ε); (4)-(6) of optim.py.

    Args:
        p, g, segments, lr, inverse_scale, found_inf: as for `sgd_step`.
        m, s: running mean and mean square of g, (n,), of p's dtype; zeros before the first step.
        steps: how many steps were taken before this one, int64, one number a segment.
        betas, eps: (β₁, β₂) and ε.

    Returns:
        New p, m, s and steps, and the new p in the dtype of g.

    Example:
        >>> import numpy as np
        >>> p, g, zero = np.array([1.0]), np.array([2.0]), np.zeros(1)
        >>> p, _, _, steps, _ = adamw_step(
        ...     p, g, zero, zero, np.zeros(1, np.int64), (Segment(1),), lr=0.1, betas=(0.9, 0.999), eps=1e-8)
        >>> p.round(4), steps
        (array([0.9]), array([1]))
    """
    xp, (beta_1, beta_2) = get_array_module(p), betas
    p_new, m_new, s_new = _fresh(p, 3)
    for i, (run, (_, decay, factor)) in enumerate(runs(segments, p.size)):
        g_run, t = _unscaled(g[run], p, inverse_scale), (steps[i : i + 1] + 1).astype("float64")  # (1,)
        eta = lr * factor
        m_new[run] = beta_1 * m[run] + (1 - beta_1) * g_run  # (5)
        s_new[run] = beta_2 * s[run] + (1 - beta_2) * g_run * g_run
        rate, unbias = ((c / (1 - beta**t)).astype(p.dtype) for c, beta in ((eta, beta_1), (1, beta_2)))  # (1,)
        root = xp.sqrt(s_new[run] * unbias)
        p_new[run] = p[run] * (1 - eta * decay) - rate * m_new[run] / (root + eps)  # (4), (6)
    p_new, m_new, s_new, steps_new = _unless(found_inf, (p, p_new), (m, m_new), (s, s_new), (steps, steps + 1))
    return p_new, m_new, s_new, steps_new, p_new.astype(g.dtype, copy=False)


def loss_scale_step(
    g: Array, scale: Array, good_steps: Array, *, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
) -> tuple[Array, Array, Array, Array]:
    """Whether g overflowed, and the scale S of the next loss: larger after `interval` steps that went well.

    Args:
        g: gradients, (n,), of the loss times S.
        scale: S, float32 (1,).
        good_steps: steps since S was last changed, int32 (1,).
        growth, backoff: factors of S after `interval` good steps, and after a bad one; powers of 2 cost no digits.

    Returns:
        found_inf (bool), inverse_scale = 1/S (float32), and the next scale and good_steps, each (1,).

    Example:
        >>> import numpy as np
        >>> scale, good = np.array([1024.0], np.float32), np.array([7], np.int32)
        >>> loss_scale_step(np.array([1.0, np.inf], np.float16), scale, good)[::2]
        (array([ True]), array([512.], dtype=float32))
    """
    xp = get_array_module(g)
    found_inf = ~xp.isfinite(g).all(keepdims=True)  # (1,)
    good = xp.where(found_inf, 0, good_steps + 1)
    grow = good >= interval
    factor = xp.where(found_inf, backoff, xp.where(grow, growth, 1.0)).astype("float32")
    return found_inf, 1 / scale, scale * factor, xp.where(grow, 0, good).astype("int32")


def _fresh(p: Array, count: int) -> list[Array]:
    return [get_array_module(p).empty_like(p) for _ in range(count)]


def _unscaled(g: Array, p: Array, inverse_scale: Array | None) -> Array:
    """g in the precision of p, without the factor of the loss."""
    g = g.astype(p.dtype, copy=False)
    return g if inverse_scale is None else g * inverse_scale.astype(p.dtype)


def _unless(found_inf: Array | None, *pairs: tuple[Array, Array]) -> list[Array]:
    """The new one of each (old, new), or the old one where an overflow was found."""
    if found_inf is None:
        return [new for _, new in pairs]
    return [get_array_module(new).where(found_inf, old, new) for old, new in pairs]
