"""Statistics and affine maps of each channel: what batch normalisation is made of.

x and gy have shape (N, C, …) with M = N·Π(…) values a channel; everything else has shape (C,).
"""

from __future__ import annotations

from minidl.device import Array

__all__ = ["channel_affine", "channel_combination", "channel_moments", "channel_products"]


def channel_moments(x: Array) -> tuple[Array, Array]:
    """μ = Σ x / M and v = Σ (x - μ)² / M, in two passes: E[x²] - μ² would cancel where |μ| ≫ √v."""
    axes = _all_but_channel(x)
    mean = x.mean(axis=axes)
    centred = x - _column(mean, x)
    return mean, (centred * centred).mean(axis=axes)  # a plain square: analytic on complex x


def channel_affine(x: Array, mean: Array, scale: Array, shift: Array) -> Array:
    """(x - mean)·scale + shift."""
    return (x - _column(mean, x)) * _column(scale, x) + _column(shift, x)


def channel_products(gy: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """Σ gy and Σ gy (x - mean)."""
    axes = _all_but_channel(x)
    return gy.sum(axis=axes), (gy * (x - _column(mean, x))).sum(axis=axes)


def channel_combination(gy: Array, x: Array, mean: Array, a: Array, b: Array, c: Array) -> Array:
    """a·gy + b·(x - mean) + c."""
    return _column(a, x) * gy + _column(b, x) * (x - _column(mean, x)) + _column(c, x)


def _all_but_channel(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _column(v: Array, x: Array) -> Array:
    return v.reshape(-1, *(1,) * (x.ndim - 2))  # (C,) → (C, 1, …)
