"""Maximum-entropy pooling: the readable form, for NumPy and CuPy; the equations are (9)-(11) of ops/stochastic_pool.py.

`kept` is what a form remembers of the law between its functions; only the same form can read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.device import Array, get_array_module
from minidl.kernels.array.window import window_samples, window_samples_adjoint
from minidl.kernels.geometry import Pair

__all__ = ["maxent_pool", "maxent_pool_adjoint", "maxent_variance"]


def maxent_pool(
    x: Array, lam: Array, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> tuple[Array, Any]:
    """y = Σ p_k x_k, p_k = exp(λ x_k) / Σ exp(λ x_j) over the samples of each window on the map.

    Args:
        x: (N, C, H, W).
        lam: λ, broadcasts to the output.

    Returns:
        y (N, C, Ho, Wo), and what is kept of p.
    """
    return pool_samples(window_samples, x, lam, kernel_size, stride, padding, output_size)


def pool_samples(
    samples: Callable[..., Array],
    x: Array,
    lam: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    output_size: Pair,
) -> tuple[Array, Any]:
    """`maxent_pool` on a form of `window_samples`."""
    xp, place = get_array_module(x), (kernel_size, stride, padding, output_size)
    t = samples(x, 0.0, *place)  # (T,N,C,Ho,Wo)
    a = lam * t
    if _leaves_the_map(x.shape, *place):  # what lies outside has p = 0
        on_map = samples(xp.ones((1, 1, *x.shape[2:]), x.real.dtype), 0.0, *place)
        a = xp.where(on_map > 0, a, -xp.inf)
    e = xp.exp(a - a.real.max(axis=0))
    p = e / e.sum(axis=0)  # (9)
    return (p * t).sum(axis=0), (t, p)


def maxent_pool_adjoint(
    gy: Array, x: Array, lam: Array, y: Array, kept: Any, kernel_size: Pair, stride: Pair, padding: Pair
) -> Array:
    """gx_k = Σ gy p_k [1 + λ (x_k - y)] over the windows on sample k."""
    return pool_samples_adjoint(window_samples_adjoint, gy, x, lam, y, kept, kernel_size, stride, padding)


def pool_samples_adjoint(
    samples_adjoint: Callable[..., Array],
    gy: Array,
    x: Array,
    lam: Array,
    y: Array,
    kept: Any,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
) -> Array:
    """`maxent_pool_adjoint` on a form of `window_samples_adjoint`."""
    t, p = kept
    return samples_adjoint(gy * p * (1 + lam * (t - y)), x.shape, kernel_size, stride, padding)  # (10)


def maxent_variance(x: Array, lam: Array, y: Array, kept: Any, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    """∂y/∂λ = Σ p_k (x_k - y)², (N, C, Ho, Wo): what gy meets in (11)."""
    t, p = kept
    above = t - y
    return (p * above * above).sum(axis=0)


def _leaves_the_map(
    x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> bool:
    """Whether some tap of some window lies outside."""
    axes = zip(x_shape[2:], kernel_size, stride, padding, output_size, strict=True)
    return any(before > 0 or (count - 1) * step + kernel > length for length, kernel, step, before, count in axes)
