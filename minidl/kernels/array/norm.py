"""Batch normalisation: statistics and affine maps of each channel.

x, gy and y have shape (N, C, …), with M = N·Π(…) values a channel; everything else has shape (C,).
"""

from __future__ import annotations

from minidl.device import Array, get_array_module
from minidl.kernels.array.elementwise import relu as rectify
from minidl.kernels.array.elementwise import relu_adjoint

__all__ = [
    "batch_norm",
    "batch_norm_adjoint",
    "channel_affine",
    "channel_products",
    "inverse_root",
    "weighted_sum",
]


def batch_norm(x: Array, weight: Array, bias: Array, eps: float, relu: bool = False) -> tuple[Array, Array, Array]:
    """y = γ r (x - μ) + β, μ = Σ x / M and v = Σ (x - μ)² / M, with r = 1/√(v + ε); max(y, 0) with `relu`."""
    axes = _all_but_channel(x)
    mean = x.mean(axis=axes)
    centred = x - _column(mean, x)
    var = (centred * centred).mean(axis=axes)  # two passes: E[x²] - μ² cancels where |μ| ≫ √v
    return channel_affine(x, mean, weight * (var + eps) ** -0.5, bias, relu), mean, var


def batch_norm_adjoint(
    gy: Array, x: Array, mean: Array, r: Array, weight: Array, y: Array | None = None
) -> tuple[Array, Array, Array]:
    """gx = γ r [gy - gβ/M - (x - μ) r gγ/M], gγ = r Σ gy (x - μ) and gβ = Σ gy.

    Where a relu came after, y is what it gave, and gy [y > 0] stands for gy.
    """
    gy = gy if y is None else relu_adjoint(gy, y)
    m = x.size // x.shape[1]
    gb, product = channel_products(gy, x, mean)
    gw = r * product
    centred = x - _column(mean, x)
    gx = _column(weight * r, x) * (gy - _column(gb / m, x) - centred * _column(r * gw / m, x))
    return gx, gw, gb


def channel_affine(x: Array, mean: Array, scale: Array, shift: Array, relu: bool = False) -> Array:
    """y = scale (x - mean) + shift, max(y, 0) with `relu`; the mean goes first, so that a large one costs no digits."""
    y = _column(scale, x) * (x - _column(mean, x)) + _column(shift, x)
    return rectify(y) if relu else y


def channel_products(gy: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """Σ gy and Σ gy (x - mean)."""
    axes = _all_but_channel(x)
    return gy.sum(axis=axes), (gy * (x - _column(mean, x))).sum(axis=axes)


def inverse_root(v: Array, eps: float) -> Array:
    """1 / √(v + ε)."""
    return 1 / get_array_module(v).sqrt(v + eps)


def weighted_sum(a: float, x: Array, b: float, y: Array) -> Array:
    """a x + b y."""
    return a * x + b * y


def _all_but_channel(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _column(v: Array, x: Array) -> Array:
    return v.reshape(-1, *(1,) * (x.ndim - 2))  # (C,) → (C, 1, …)
