"""Convolution of many images at once by any kernel: one copy per row of the kernel, one matrix product per position.

In a buffer that lies as (output row, column, kernel row u, channel, image), the window of an output position is
kw kh C consecutive rows of a matrix with the images as columns, and the next position is that matrix a stride of
columns on:

    y[o, i, j, :]  =  Σ_vuc  W[o, (v u c)]  buffer[i, j s + v, u, c, :]

So the columns of the kernel cost no copy, and the product lies where y wants it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl.kernels.cpu.gemm import multiplier
from minidl.kernels.cpu.layout import items, overlap, strided
from minidl.kernels.cpu.threads import Work, framed, split
from minidl.kernels.geometry import Pair

_BLOCK = 1 << 19  # elements of the buffer
_IMAGES = 128  # at a time: the columns of one matrix product


def applies(w_shape: tuple[int, ...], dilation: Pair, images: int) -> bool:
    """Whether there are images enough for the columns of a product, and neighbouring columns in a window.

    For 1×1 kernels, whose columns im2col takes over rows and images alike, enough is more.
    """
    return images >= (64 if w_shape[2:] == (1, 1) else 16) and (dilation[1] == 1 or w_shape[3] == 1)


def correlate(
    x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: Pair, start: Pair, dilation: int, groups: int
) -> Work:
    """y[o,i,j] = Σ w[o,c,u,v] x[c, i s + u d + start, …], x (C,H,W,N) zero outside, into y (O,Ho,Wo,N)."""
    (o, ho, wo, n), (_, c, kh, kw) = y.shape, w.shape
    o //= groups
    matrix = np.ascontiguousarray(w.transpose(0, 3, 2, 1)).reshape(groups, 1, o, -1)  # (O,C/G,u,v) → (G,1,O/G,v·u·C/G)
    across = (wo - 1) * stride[1] + kw  # columns under a row of output
    to, columns = overlap(start[1], start[1] + across, x.shape[2])
    channel, row, column, image = x.strides
    y_channel, y_row, y_column, _ = y.strides

    def block(where: tuple[slice, slice]) -> None:
        rows, images = where
        i, b = rows.stop - rows.start, images.stop - images.start
        inside = (slice(0, i), slice(0, groups), to, slice(0, kh), slice(0, c))
        buffer = framed((i, groups, across, kh, c, b), x.dtype, inside)
        for at, taps, first in _pieces(rows, kh, stride[0], start[0], dilation, x.shape[1]):
            if len(taps) < kh:  # a window that the border cuts
                buffer[at, :, to] = 0
            if taps:
                shape = (at.stop - at.start, groups, to.stop - to.start, len(taps), c, b)
                strides = (stride[0] * row, c * channel, column, dilation * row, channel, image)
                source = strided(x, (0, first, columns.start, images.start), shape, strides)
                np.copyto(items(buffer[at, :, to, taps.start : taps.stop]), items(source))
        _, group, position, _, k_row, element = buffer.strides
        windows = np.ndarray(
            (i, groups, wo, kw * kh * c, b),
            x.dtype,
            buffer,
            0,
            (buffer.strides[0], group, stride[1] * position, k_row, element),
        )
        products = strided(
            y,
            (0, rows.start, 0, images.start),
            (i, groups, wo, o, b),
            (y_row, o * y_channel, y_column, y_channel, y.itemsize),
        )
        multiplier(o, windows, products)(matrix)

    images = split(n, _IMAGES)
    rows = split(ho, at_most=max(min(_BLOCK // (kh * across * len(x) * images[0].stop), -(-ho // 4)), 1))
    return Work(block, [(i, j) for i in rows for j in images])


def _pieces(
    rows: slice, taps: int, stride: int, start: int, dilation: int, height: int
) -> Iterator[tuple[slice, range, int]]:
    """(outputs of the block, rows u of the kernel, first row of x): whole windows at once, any other by itself."""
    lowest, highest = -(start // stride), (height - 1 - (taps - 1) * dilation - start) // stride
    whole = range(max(lowest, rows.start), min(highest + 1, rows.stop))
    if whole:
        yield slice(whole[0] - rows.start, whole[-1] + 1 - rows.start), range(taps), whole[0] * stride + start
    for i in range(rows.start, rows.stop):
        if i not in whole:
            first = i * stride + start
            on_x = range(max(-(first // dilation), 0), max(min((height - 1 - first) // dilation + 1, taps), 0))
            yield slice(i - rows.start, i + 1 - rows.start), on_x, first + on_x.start * dilation
