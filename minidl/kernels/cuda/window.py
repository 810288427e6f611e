"""Sums and maxima of sliding windows (src/window.cu); what they compute stands in kernels/array/window.py."""

from __future__ import annotations

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.array import window as array
from minidl.kernels.cuda.launch import computes, ints, launch, pixel_blocks
from minidl.kernels.cuda.layout import channels_last, empty_map, logical
from minidl.kernels.geometry import Pair

__all__ = ["window_max", "window_max_adjoint", "window_sum", "window_sum_adjoint"]


def window_sum(x: Array, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair) -> Array:
    """As `array.window_sum`."""
    if not computes(x):
        return array.window_sum(x, kernel_size, stride, padding, output_size)
    n, c, *size = x.shape
    y = empty_map(x, n, output_size, c)
    pixels = n * output_size[0] * output_size[1]
    place = ints(pixels, *size, c, *output_size, *kernel_size, *stride, *padding)
    launch("window_sum", x.dtype, *pixel_blocks(pixels, c), channels_last(x), y, *place)
    return logical(y)


def window_sum_adjoint(gy: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    """As `array.window_sum_adjoint`: gathered by the samples."""
    if not computes(gy):
        return array.window_sum_adjoint(gy, x_shape, kernel_size, stride, padding)
    (n, c), size = x_shape[:2], x_shape[2:]
    gx = empty_map(gy, n, size, c)
    pixels = n * size[0] * size[1]
    place = ints(pixels, *size, c, *gy.shape[2:], *kernel_size, *stride, *padding)
    launch("window_sum_adjoint", gy.dtype, *pixel_blocks(pixels, c), channels_last(gy), gx, *place)
    return logical(gx)


def window_max(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> tuple[Array, Array]:
    """As `array.window_max`."""
    if not computes(x):
        return array.window_max(x, kernel_size, stride, padding, dilation, output_size)
    n, c, *size = x.shape
    y = empty_map(x, n, output_size, c)
    index = get_array_module(x).empty(y.shape, array.index_dtype(kernel_size))
    pixels = n * output_size[0] * output_size[1]
    place = ints(pixels, *size, c, *output_size, *kernel_size, *stride, *padding, *dilation)
    name = "window_max" if index.dtype == np.uint8 else "window_max_wide"
    launch(name, x.dtype, *pixel_blocks(pixels, c), channels_last(x), y, index, *place)
    return logical(y), logical(index)


def window_max_adjoint(
    gy: Array,
    index: Array,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Array:
    """As `array.window_max_adjoint`: gathered by the samples."""
    if not computes(gy):
        return array.window_max_adjoint(gy, index, x_shape, kernel_size, stride, padding, dilation)
    (n, c), size = x_shape[:2], x_shape[2:]
    gx = empty_map(gy, n, size, c)
    pixels = n * size[0] * size[1]
    place = ints(pixels, *size, c, *gy.shape[2:], *kernel_size, *stride, *padding, *dilation)
    name = "window_max_adjoint" if index.dtype == np.uint8 else "window_max_wide_adjoint"
    launch(name, gy.dtype, *pixel_blocks(pixels, c), channels_last(gy), channels_last(index), gx, *place)
    return logical(gx)
