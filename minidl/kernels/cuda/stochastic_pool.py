"""Gaussian and maximum-entropy pooling (src/stochastic_pool.cu), as in kernels/array/window.py and maxent.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.array import maxent, window
from minidl.kernels.cuda.launch import computes, ints, launch, pixel_blocks, real
from minidl.kernels.cuda.layout import broadcast_map, channels_last, empty_map, logical
from minidl.kernels.geometry import Pair

__all__ = ["gaussian_pool", "gaussian_pool_adjoint", "maxent_pool", "maxent_pool_adjoint", "maxent_variance"]


def gaussian_pool(
    x: Array,
    eta: Array,
    divisor: Array,
    outside: Array | None,
    eps: float,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    output_size: Pair,
) -> tuple[Array, Array, Array]:
    """As `array.gaussian_pool`, in one launch."""
    if not computes(x, eta, divisor, outside):
        return window.gaussian_pool(x, eta, divisor, outside, eps, kernel_size, stride, padding, output_size)
    eta, steps = broadcast_map(eta)
    y, mean, deviation = (empty_map(x, len(x), output_size, x.shape[1]) for _ in range(3))
    launch(
        *("gaussian_pool", x.dtype, *_over_outputs(x, output_size), channels_last(x), eta, divisor),
        *(divisor if outside is None else outside, y, mean, deviation, np.bool_(outside is not None)),
        *(real(eps, x.dtype), *steps, *_place(x.shape, output_size, kernel_size, stride, padding, y)),
    )
    return logical(y), logical(mean), logical(deviation)


def gaussian_pool_adjoint(
    gy: Array,
    eta: Array,
    x: Array,
    mean: Array,
    deviation: Array,
    divisor: Array,
    eps: float,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
) -> Array:
    """As `array.gaussian_pool_adjoint`, gathered by the samples in one launch."""
    maps = (gy, eta, x, mean, deviation)
    if not computes(*maps, divisor):
        return window.gaussian_pool_adjoint(*maps, divisor, eps, kernel_size, stride, padding)
    eta, steps = broadcast_map(eta)
    gx = empty_map(x, len(x), x.shape[2:], x.shape[1])
    launch(
        *("gaussian_pool_adjoint", x.dtype, *_over_samples(x), channels_last(gy), eta),
        *(*map(channels_last, (x, mean, deviation)), divisor, gx, real(eps, x.dtype), *steps),
        *_place(x.shape, gy.shape[2:], kernel_size, stride, padding, gx),
    )
    return logical(gx)


def maxent_pool(
    x: Array, lam: Array, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> tuple[Array, Any]:
    """As `array.maxent_pool`, in one launch; kept are m and Z, with which p_k = exp(λ x_k - m) / Z."""
    if not computes(x, lam):
        return maxent.maxent_pool(x, lam, kernel_size, stride, padding, output_size)
    lam, steps = broadcast_map(lam)
    y = empty_map(x, len(x), output_size, x.shape[1])
    peak, total = (get_array_module(x).empty(y.shape, type(real(0, x.dtype))) for _ in range(2))
    launch(
        *("maxent_pool", x.dtype, *_over_outputs(x, output_size), channels_last(x), lam, y, peak, total, *steps),
        *_place(x.shape, output_size, kernel_size, stride, padding, y),
    )
    return logical(y), (peak, total)


def maxent_pool_adjoint(
    gy: Array, x: Array, lam: Array, y: Array, kept: Any, kernel_size: Pair, stride: Pair, padding: Pair
) -> Array:
    """As `array.maxent_pool_adjoint`, gathered by the samples in one launch."""
    if not computes(gy, x, lam):
        return maxent.maxent_pool_adjoint(gy, x, lam, y, kept, kernel_size, stride, padding)
    lam, steps = broadcast_map(lam)
    gx = empty_map(x, len(x), x.shape[2:], x.shape[1])
    launch(
        *("maxent_pool_adjoint", x.dtype, *_over_samples(x), channels_last(gy), channels_last(x), lam),
        *(channels_last(y), *kept, gx, *steps, *_place(x.shape, y.shape[2:], kernel_size, stride, padding, gx)),
    )
    return logical(gx)


def maxent_variance(x: Array, lam: Array, y: Array, kept: Any, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    """As `array.maxent_variance`, in one launch."""
    if not computes(x, lam, y):
        return maxent.maxent_variance(x, lam, y, kept, kernel_size, stride, padding)
    lam, steps = broadcast_map(lam)
    of_y = channels_last(y)
    variance = get_array_module(x).empty_like(of_y)
    launch(
        *("maxent_variance", x.dtype, *_over_outputs(x, y.shape[2:]), channels_last(x), lam, of_y, *kept, variance),
        *(*steps, *_place(x.shape, y.shape[2:], kernel_size, stride, padding, variance)),
    )
    return logical(variance)


def _over_outputs(x: Array, output_size: Pair) -> Any:
    return pixel_blocks(len(x) * output_size[0] * output_size[1], x.shape[1])


def _over_samples(x: Array) -> Any:
    return pixel_blocks(len(x) * x.shape[2] * x.shape[3], x.shape[1])


def _place(
    x_shape: tuple[int, ...], output_size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, of: Array
) -> tuple[np.int32, ...]:
    """Number of pixels of the map (N, H, W, C) that is computed, and where the windows lie."""
    pixels = of.shape[0] * of.shape[1] * of.shape[2]
    return ints(pixels, *x_shape[2:], x_shape[1], *output_size, *kernel_size, *stride, *padding)
