"""Depthwise convolution, summed directly (src/depthwise.cu): each channel by itself, or several outputs of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.cuda.launch import THREADS, ints, launch, pixel_blocks, real
from minidl.kernels.cuda.layout import channels_last, empty_map, logical
from minidl.kernels.geometry import Pair

__all__ = ["Windows", "applies", "correlate", "correlate_adjoint_w", "correlate_adjoint_x"]

TILE = 32  # outputs of a block of stage 1
CHUNKS = 256  # at most


class Windows(NamedTuple):
    """Where the windows of a convolution lie, as the kernels take it; see src/windows.cuh."""

    size: Pair
    channels: int
    output_size: Pair
    kernel_size: Pair
    stride: Pair
    before: Pair
    dilation: Pair

    def ints(self) -> tuple[np.int32, ...]:
        first = (*self.size, self.channels, *self.output_size, *self.kernel_size)
        return ints(*first, *self.stride, *self.before, *self.dilation)

    @property
    def moves(self) -> bool:
        """Whether the windows are anything but the pixels themselves, one after the other."""
        return self.kernel_size != (1, 1) or self.stride != (1, 1) or self.size != self.output_size


def applies(w_shape: tuple[int, ...], groups: int) -> bool:
    """Whether each channel is a group of its own."""
    return w_shape[1] == 1 and groups > 1


def correlate(x: Array, w: Array, at: Windows) -> Array:
    """(1) of ops/conv.py, in one launch."""
    y = empty_map(x, len(x), at.output_size, len(w))
    _over_pixels("depthwise", y, channels_last(x), _dense(w), len(w), at)
    return logical(y)


def correlate_adjoint_x(gy: Array, w: Array, n: int, at: Windows) -> Array:
    """(2), in one launch."""
    gx = empty_map(gy, n, at.size, at.channels)
    _over_pixels("depthwise_adjoint_x", gx, channels_last(gy), _dense(w), len(w), at)
    return logical(gx)


def correlate_adjoint_w(gy: Array, x: Array, w_shape: tuple[int, ...], at: Windows) -> Array:
    """(3), in two launches."""
    xp, of_gy = get_array_module(gy), channels_last(gy)
    outputs, taps = w_shape[0], w_shape[2] * w_shape[3]
    pixels = of_gy.size // outputs
    block = (TILE, THREADS // TILE)
    per_chunk = max(8 * block[1], -(-pixels // CHUNKS))
    chunks = -(-pixels // per_chunk)
    ints(pixels + per_chunk)  # an OverflowError if whole chunks of pixels were too many to count
    partial = xp.empty((chunks, outputs * taps), type(real(0, gy.dtype)))
    launch(
        *("depthwise_chunks", gy.dtype, (chunks, -(-outputs // TILE), taps), block, of_gy, channels_last(x), partial),
        *(*ints(pixels, per_chunk, outputs // at.channels), *at.ints()),
    )
    gw = xp.empty(w_shape, gy.dtype)
    grid = (-(-gw.size // THREADS),)
    launch("depthwise_total", gy.dtype, grid, (THREADS,), partial, gw, *ints(gw.size, chunks))
    return gw


def _over_pixels(name: str, result: Array, given: Array, w: Array, outputs: int, at: Windows) -> None:
    """Kernel `name` with a row of threads for every pixel of `result` (N, H, W, channels)."""
    pixels = result.size // result.shape[3]
    blocks = pixel_blocks(pixels, result.shape[3])
    launch(name, given.dtype, *blocks, given, w, result, *ints(pixels, outputs // at.channels), *at.ints())


def _dense(w: Array) -> Array:
    return get_array_module(w).ascontiguousarray(w)
