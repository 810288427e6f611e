"""Convolution of every channel by kernels of its own, as products with banded matrices.

One channel a group leaves nothing to a matrix product over channels.  But a column of the kernel, slid down the
height, is a matrix with that column on its diagonals.  For a tile of four output rows i and column v of the kernel,

    B_v[i, h] = w[u, v]  where  h = i s + u d,  0 elsewhere
    y[i, (j n)]   = Σ_v  B_v[i, h]  x[h, (j s + v d, n)]                                              (1)
    gB_v[i, h]    = Σ_jn  gy[i, (j n)]  x[h, (j s + v d, n)],     gw[u, v] = Σ_i gB_v[i, i s + u d]     (2)

and the rows of x lie as the products want them: no window is copied.  Longer tiles would hold more zeros, shorter
ones are slower.  For a stride along the width, a slab keeps the columns of each residue together.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.kernels.cpu.gemm import multiply_transposed
from minidl.kernels.cpu.layout import padded, strided
from minidl.kernels.cpu.threads import Work, scratch, split
from minidl.kernels.geometry import Pair

_ROWS = 4  # output rows a tile
_BLOCK = 1 << 18  # elements of output a block, if that leaves four of them


def applies(w_shape: tuple[int, ...], groups: int) -> bool:
    """Whether groups have one input or one output channel each."""
    return groups > 1 and (w_shape[1] == 1 or w_shape[0] == groups)


def correlate(
    x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: Pair, start: Pair, dilation: Pair, groups: int
) -> Work:
    """y[o,i,j] = Σ w[o,c,u,v] x[c, i s + u d + start, …], x (C,H,W,N) zero outside, into y (O,Ho,Wo,N)."""
    (o, ho, wo, n), (_, k, _, kw) = y.shape, w.shape
    m = o // groups
    bands = _bands(w.reshape(groups, m, *w.shape[1:]), stride[0], dilation[0])  # (k,G,m,1,kw,4,reach)
    tiles = _Tiles(x, y.shape, bands.shape[-1], kw, stride, start, dilation, groups)
    y_group, y_row = y.strides[0] * m, y.strides[1]

    def block(where: tuple[slice, slice]) -> None:
        g, rows = where
        count, t = g.stop - g.start, rows.stop - rows.start
        terms = scratch((count, m, t, k * kw, _ROWS, wo * n), y.dtype, slot=2)
        for c, taps, windows in tiles.windows(g, rows):
            of_c = terms[:, :, :, c * kw : (c + 1) * kw]
            np.matmul(bands[c, g, :, :, taps], windows, out=of_c[:, :, :, taps])  # (G,m,1,v,4,reach)(G,1,T,v,reach,P)
        whole = min(rows.stop, ho // _ROWS) - rows.start  # tiles that the height does not cut
        for at, height in ((slice(0, whole), _ROWS), (slice(whole, t), ho % _ROWS)):
            if at.start < at.stop:
                shape = (count, m, at.stop - at.start, height, wo, n)
                strides = (y_group, y.strides[0], _ROWS * y_row, y_row, *y.strides[2:])
                target = strided(y, (g.start * m, _ROWS * (rows.start + at.start), 0, 0), shape, strides)
                values = terms[:, :, at, :, :height].reshape(count, m, -1, k * kw, height, wo, n)
                np.add.reduce(values, axis=3, out=target)

    return Work(block, [(g, rows) for g in tiles.groups for rows in tiles.rows])


def correlate_adjoint_w(
    gy: np.ndarray, x: np.ndarray, kernel: Pair, stride: Pair, start: Pair, dilation: Pair, groups: int
) -> Work:
    """gw[o,c,u,v] = Σ gy[o,i,j] x[c, i s + u d + start, …], gy (O,Ho,Wo,N), x (C,H,W,N) zero outside."""
    o, _, wo, n = gy.shape
    m, k, (kh, kw) = o // groups, len(x) // groups, kernel
    reach = (_ROWS - 1) * stride[0] + (kh - 1) * dilation[0] + 1
    tiles = _Tiles(x, gy.shape, reach, kw, stride, start, dilation, groups)

    def block(g: slice) -> np.ndarray:
        gw = np.zeros((g.stop - g.start, m, k, kh, kw), gy.dtype)
        for rows in tiles.rows:
            gy_rows = padded(gy[g.start * m : g.stop * m], (_ROWS * rows.start, _ROWS * rows.stop), (0, wo), slot=2)
            a = gy_rows.reshape(len(gw), m, -1, 1, _ROWS, wo * n)  # (G,m,T,1,4,Wo·N)
            for c, taps, windows in tiles.windows(g, rows):
                band = np.add.reduce(multiply_transposed(a, windows), axis=2)  # (G,m,T,v,4,reach) → (G,m,v,4,reach)
                *lead, row, column = band.strides
                diagonals = as_strided(  # (G,m,v,kh,4)
                    band, (*band.shape[:3], kh, _ROWS), (*lead, dilation[0] * column, row + stride[0] * column)
                )
                gw[:, :, c, :, taps] += diagonals.sum(axis=-1).swapaxes(2, 3)
        return gw

    return Work(block, tiles.groups, lambda parts: np.concatenate(parts).reshape(o, k, kh, kw))


def _bands(w: np.ndarray, stride: int, dilation: int) -> np.ndarray:
    """B of (1) for w (G, m, k, kh, kw): (k, G, m, 1, kw, 4, reach)."""
    g, m, k, kh, kw = w.shape
    bands = np.zeros((k, g, m, 1, kw, _ROWS, (_ROWS - 1) * stride + (kh - 1) * dilation + 1), w.dtype)
    for i in range(_ROWS):
        for u in range(kh):
            bands[:, :, :, 0, :, i, i * stride + u * dilation] = w[:, :, :, u].transpose(2, 0, 1, 3)  # (k,G,m,kw)
    return bands


class _Tiles:
    """The rows of x (C, H, W, N) under each tile of output rows, for every input channel and kernel column."""

    def __init__(
        self,
        x: np.ndarray,
        y_shape: tuple[int, ...],
        reach: int,
        kernel_columns: int,
        stride: Pair,
        start: Pair,
        dilation: Pair,
        groups: int,
    ) -> None:
        _, ho, self.wo, self.n = y_shape
        self.x, self.reach, self.stride, self.start = x, reach, stride, start
        self.per_group = len(x) // groups
        # column j s + v d of the slab is number j + (v d) // s of residue (v d) mod s, which every period-th v shares
        self.taps = [divmod(v * dilation[1], stride[1]) for v in range(kernel_columns)]
        self.period = stride[1] // gcd(stride[1], dilation[1])
        tile, count = y_shape[0] // groups * _ROWS * self.wo * self.n, -(-ho // _ROWS)
        block = min(_BLOCK, tile * count * groups // 4)
        self.rows = split(count, at_most=max(block // tile, 1))
        self.groups = split(groups, at_most=max(block // (tile * self.rows[0].stop), 1))

    def windows(self, groups: slice, rows: slice) -> Iterator[tuple[int, slice, np.ndarray]]:
        """(c, v's, the rows under each tile: (G, 1, T, v's, reach, Wo·N)) for each channel c of a group."""
        count, step = rows.stop - rows.start, _ROWS * self.stride[0]
        top = rows.start * step + self.start[0]
        slab = self._slab(groups, (top, top + (count - 1) * step + self.reach))
        for c in range(self.per_group):
            for first, (shift, residue) in enumerate(self.taps[: self.period]):
                of_residue = self.taps[first :: self.period]
                between = of_residue[-1][0] - shift  # columns from the first to the last
                apart = between // max(len(of_residue) - 1, 1)
                columns = slab[:, c, :, residue, shift:]  # (G,rows,W,N)
                group, row, column, element = columns.strides
                shape = (len(slab), 1, count, len(of_residue), self.reach, self.wo * self.n)
                strides = (group, 0, step * row, apart * column, row, element)
                yield c, slice(first, None, self.period), as_strided(columns, shape, strides, writeable=False)

    def _slab(self, groups: slice, rows: Pair) -> np.ndarray:
        """(G, C/G, rows, stride, columns, N): x with its zeros, columns of one residue together."""
        stride, k = self.stride[1], self.per_group
        width = (self.wo + max(shift for shift, _ in self.taps)) * stride
        channels = self.x[groups.start * k : groups.stop * k]
        slab = padded(channels, rows, (self.start[1], self.start[1] + width))
        by_residue = slab.reshape(-1, k, slab.shape[1], width // stride, stride, self.n).swapaxes(3, 4)
        if stride == 1:
            return by_residue
        apart = scratch(by_residue.shape, slab.dtype, slot=1)
        np.copyto(apart, by_residue)
        return apart
