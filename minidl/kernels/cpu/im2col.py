"""Convolution by any kernel, with every window of a block of rows as a column of one matrix (im2col).

    y[o, (i j n)]     = Σ_uvc  W[o, (u v c)]  windows[(u v c), (i j n)]
    gW[o, (u v c)]    = Σ_ijn  gy[o, (i j n)]  windows[(u v c), (i j n)]        summed over the blocks, in order

The windows are one strided copy of a slab, the block's part of the input with its zeros around it.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.kernels.cpu.gemm import multiply, multiply_transposed
from minidl.kernels.cpu.layout import padded, rows_apart
from minidl.kernels.cpu.threads import Work, split
from minidl.kernels.geometry import Pair

_BLOCK = 1 << 20  # elements of one matrix of windows
_PARTS = 16  # partial sums of gW


def correlate(
    x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: Pair, start: Pair, dilation: Pair, groups: int
) -> Work:
    """y[o,i,j] = Σ w[o,c,u,v] x[c, i s + u d + start, …], x (C,H,W,N) zero outside, into y (O,Ho,Wo,N)."""
    o, kernel = len(w), w.shape[2:]
    matrix = w.transpose(0, 2, 3, 1).reshape(groups, o // groups, -1)  # (O,C/G,kh,kw) → (G,O/G,kh·kw·C/G)
    windows = _Windows(x, kernel, stride, start, dilation, groups)

    def block(where: tuple[slice, slice]) -> None:
        b = windows.matrix(*where)  # (G,kh·kw·C/G,P)
        target = y[:, where[0], where[1]]
        _, i, j, n = target.shape
        channel, row, column, image = target.strides
        if row == j * column and column == n * image:  # the block is one run of each channel
            strides = (o // groups * channel, channel, image)
            multiply(matrix, b, as_strided(target, (groups, o // groups, i * j * n), strides))
            return
        product = rows_apart((groups, o // groups, i * j * n), y.dtype, slot=2)
        multiply(matrix, b, product)
        np.copyto(target.reshape(groups, -1, i, j, n), product.reshape(groups, -1, i, j, n))

    return Work(block, windows.blocks(y.shape[1:3]))


def correlate_adjoint_w(
    gy: np.ndarray, x: np.ndarray, kernel: tuple[int, ...], stride: Pair, start: Pair, dilation: Pair, groups: int
) -> Work:
    """gw[o,c,u,v] = Σ gy[o,i,j] x[c, i s + u d + start, …], gy (O,Ho,Wo,N), x (C,H,W,N) zero outside."""
    o = len(gy)
    windows = _Windows(x, kernel, stride, start, dilation, groups)
    blocks = windows.blocks(gy.shape[1:3])

    def part(which: slice) -> np.ndarray:
        def gradient(rows: slice, columns: slice) -> np.ndarray:
            gy_block = gy[:, rows, columns].reshape(groups, o // groups, -1)  # (G,O/G,P)
            return multiply_transposed(gy_block, windows.matrix(rows, columns))  # (G,O/G,kh·kw·C/G)

        return reduce(np.add, (gradient(*block) for block in blocks[which]))

    def finish(parts: list[np.ndarray]) -> np.ndarray:
        gw = reduce(np.add, parts).reshape(o, *kernel, -1)
        return np.ascontiguousarray(gw.transpose(0, 3, 1, 2))  # (O,kh,kw,C/G) → (O,C/G,kh,kw)

    return Work(part, split(len(blocks), at_most=-(-len(blocks) // _PARTS)), finish)


class _Windows:
    """Every window of x (C, H, W, N) as a column of a matrix, a block of windows at a time."""

    def __init__(
        self, x: np.ndarray, kernel: tuple[int, ...], stride: Pair, start: Pair, dilation: Pair, groups: int
    ) -> None:
        self.x, self.kernel, self.stride, self.start, self.dilation = x, kernel, stride, start, dilation
        self.groups = groups

    def blocks(self, size: tuple[int, ...]) -> list[tuple[slice, slice]]:
        """Rows and columns of the output that fit one matrix each."""
        c, _, _, n = self.x.shape
        place = self.kernel[0] * self.kernel[1] * c * n  # elements for one output position
        columns = split(size[1], at_most=max(_BLOCK // place, 1))
        rows = split(size[0], at_most=max(min(_BLOCK // (place * size[1]), -(-size[0] // 4)), 1))
        return [(i, j) for i in rows for j in columns]

    def matrix(self, rows: slice, columns: slice) -> np.ndarray:
        """(G, kh·kw·C/G, P) for the outputs of a block, P = rows · columns · N; scratch memory."""
        (kh, kw), (sh, sw), (dh, dw), g = self.kernel, self.stride, self.dilation, self.groups
        i, j = rows.stop - rows.start, columns.stop - columns.start
        top, left = rows.start * sh + self.start[0], columns.start * sw + self.start[1]
        slab = padded(
            self.x, (top, top + (i - 1) * sh + (kh - 1) * dh + 1), (left, left + (j - 1) * sw + (kw - 1) * dw + 1)
        )
        c, _, _, n = slab.shape
        channel, row, column, image = slab.strides
        windows = as_strided(
            slab,
            (g, kh, kw, c // g, i, j, n),
            (channel * (c // g), dh * row, dw * column, channel, sh * row, sw * column, image),
        )
        matrix = rows_apart((g, kh * kw * (c // g), i * j * n), slab.dtype, slot=1)
        np.copyto(matrix.reshape(windows.shape), windows)
        return matrix
