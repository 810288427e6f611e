"""Convolution and its two adjoints on threads.

A block is a few rows of the output.  For each block: a slab of the input with its zeros around it, from it the matrix
of all windows in one strided copy (im2col), and one matrix product:

    y[o, (i j n)]     = Σ_uvc  W[o, (u v c)]  windows[(u v c), (i j n)]
    gW[o, (u v c)]    = Σ_ijn  gy[o, (i j n)]  windows[(u v c), (i j n)]        summed over the blocks, in order

gx is gathered, not scattered.  Row a of gx collects the taps u with i s + u d = a + p.  Rows of one residue a mod s
share their taps, every (s / gcd(s, d))-th, and read consecutive rows of gy, d / gcd(s, d) apart: each residue is a
convolution of gy with stride 1 by those taps of W, turned round.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from math import gcd

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.kernels.cpu import depthwise, direct, winograd
from minidl.kernels.cpu.gemm import multiply, multiply_transposed
from minidl.kernels.cpu.layout import chwn, nchw, padded, rows_apart
from minidl.kernels.cpu.threads import run_blocks, split
from minidl.kernels.geometry import Padding, Pair, output_size, sides

__all__ = ["correlate", "correlate_adjoint_w", "correlate_adjoint_x"]

_BLOCK = 1 << 20  # elements of one matrix of windows
_PARTS = 16  # partial sums of gW


def correlate(x: np.ndarray, w: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> np.ndarray:
    """As `kernels.array.correlate`."""
    dtype = np.result_type(x, w)
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = np.empty((len(w), *size, len(x)), dtype)
    (top, _), (left, _) = sides(padding)
    _correlate(chwn(x, dtype), w.astype(dtype, copy=False), y, stride, (-top, -left), dilation, groups)
    return nchw(y)


def correlate_adjoint_x(
    gy: np.ndarray, w: np.ndarray, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    """As `kernels.array.correlate_adjoint_x`."""
    dtype = np.result_type(gy, w)
    n, c, *size = x_shape
    gy, w = chwn(gy, dtype), w.astype(dtype, copy=False)
    gx = np.empty((c, *size, n), dtype)
    (top, _), (left, _) = sides(padding)
    for rows, u, row, step_u in _residues(w.shape[2], stride[0], top, dilation[0], size[0]):
        for columns, v, column, step_v in _residues(w.shape[3], stride[1], left, dilation[1], size[1]):
            taps = w[:, :, u, v]
            if taps.size:
                turned = _swapped(taps, groups)[:, :, ::-1, ::-1]
                _correlate(gy, turned, gx[:, rows, columns], (1, 1), (row, column), (step_u, step_v), groups)
            else:
                gx[:, rows, columns] = 0
    return nchw(gx)


def correlate_adjoint_w(
    gy: np.ndarray, x: np.ndarray, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    """As `kernels.array.correlate_adjoint_w`."""
    dtype = np.result_type(gy, x)
    gy, x = chwn(gy, dtype), chwn(x, dtype)
    o, c, *kernel = w_shape
    (top, _), (left, _) = sides(padding)
    if winograd.applies(w_shape, stride, dilation, gy.shape[3]):
        return winograd.correlate_3x3_adjoint_w(gy, x, (-top, -left), groups)
    if depthwise.applies(w_shape, groups):
        return depthwise.correlate_adjoint_w(gy, x, (kernel[0], kernel[1]), stride, (-top, -left), dilation, groups)
    windows = _Windows(x, kernel, stride, (-top, -left), dilation, groups)
    blocks = windows.blocks(gy.shape[1:3])
    parts = split(len(blocks), at_most=-(-len(blocks) // _PARTS))

    def part(which: slice) -> np.ndarray:
        total: np.ndarray | None = None
        for rows, columns in blocks[which]:
            gy_block = gy[:, rows, columns].reshape(groups, o // groups, -1)  # (G,O/G,P)
            gw = multiply_transposed(gy_block, windows.matrix(rows, columns))  # (G,O/G,kh·kw·C/G)
            total = gw if total is None else np.add(total, gw, out=total)
        assert total is not None
        return total

    gw = reduce(np.add, run_blocks(part, parts))
    return np.ascontiguousarray(gw.reshape(o, *kernel, c).transpose(0, 3, 1, 2))  # (O,kh,kw,C/G) → (O,C/G,kh,kw)


def _correlate(
    x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: Pair, start: Pair, dilation: Pair, groups: int
) -> None:
    """y[o,i,j] = Σ w[o,c,u,v] x[c, i s + u d + start, …], x (C,H,W,N) zero outside, into y (O,Ho,Wo,N)."""
    if winograd.applies(w.shape, stride, dilation, x.shape[3]):
        winograd.correlate_3x3(x, w, y, start, groups)
        return
    if depthwise.applies(w.shape, groups):
        depthwise.correlate(x, w, y, stride, start, dilation, groups)
        return
    if direct.applies(w.shape, dilation, x.shape[3]):
        direct.correlate(x, w, y, stride, start, dilation[0], groups)
        return
    o, _, *kernel = w.shape
    matrix = w.transpose(0, 2, 3, 1).reshape(groups, o // groups, -1)  # (O,C/G,kh,kw) → (G,O/G,kh·kw·C/G)
    windows = _Windows(x, kernel, stride, start, dilation, groups)

    def block(where: tuple[slice, slice]) -> None:
        b = windows.matrix(*where)  # (G,kh·kw·C/G,P)
        product = rows_apart((groups, o // groups, b.shape[-1]), y.dtype, slot=2)
        multiply(matrix, b, product)
        target = y[:, where[0], where[1]]
        i, j, n = target.shape[1:]
        np.copyto(target.reshape(groups, o // groups, i, j, n), product.reshape(groups, o // groups, i, j, n))

    run_blocks(block, windows.blocks(y.shape[1:3]))


class _Windows:
    """Every window of x (C, H, W, N) as a column of a matrix, a block of windows at a time."""

    def __init__(
        self, x: np.ndarray, kernel: list[int], stride: Pair, start: Pair, dilation: Pair, groups: int
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


def _residues(
    taps: int, stride: int, before: int, dilation: int, length: int
) -> Iterator[tuple[slice, slice, int, int]]:
    """The residues of gx along one axis: (its samples, its taps, first sample of gy, distance of the samples).

    Sample a of gx meets tap u at output i = (a + before − u d) / s, where that is whole.
    """
    g = gcd(stride, dilation)
    period = stride // g
    for residue in range(min(stride, length)):
        first = next((u for u in range(min(period, taps)) if (residue + before - u * dilation) % stride == 0), taps)
        last = first + (taps - 1 - first) // period * period if first < taps else 0
        lowest = (residue + before - last * dilation) // stride  # the last tap meets the lowest output
        yield slice(residue, length, stride), slice(first, taps, period), lowest, dilation // g


def _swapped(w: np.ndarray, groups: int) -> np.ndarray:
    """(O, C/G, kh, kw) → (C, O/G, kh, kw)."""
    o, c, *kernel = w.shape
    return w.reshape(groups, o // groups, c, *kernel).swapaxes(1, 2).reshape(groups * c, o // groups, *kernel)
