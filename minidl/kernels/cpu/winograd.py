r"""Convolution by 3×3 kernels, stride 1, with half the products: Winograd's algorithm along the height.

A tile of m rows of output reads m + 2 rows of input d.  Take the kernel's three rows w as a polynomial in the row, and
d and y likewise: multiplying polynomials is multiplying their values at enough points (∞ is the leading coefficient),
and turned about by transposition it gives a correlation,

    y = A [(G w) ⊙ (B d)]              A (m, m + 2),  G (m + 2, 3),  B (m + 2, m + 2)              (1)

where every one of the m + 2 products stands for a product over the channels c and the three columns v of the kernel.
Six instead of twelve, at m = 4.  (1) is linear in w, and trilinear with gy, so

    gw = Gᵀ Σ_tiles (Aᵀ gy) ⊙ (B d)                                                                (2)

and gx is (1) with gy and the turned kernel.  Both are three matrix products a block, each one call of NumPy:

    V[k] = B x          the rows of a tile, for every channel and column
    M[k] = (G w)[k] V   over 3 C: V lies as (column, channel, image), so that the three columns under a kernel are
                        3 C consecutive rows of a matrix, and the next position is that matrix one column on
    y    = A M          straight into the rows of y

The points decide the error.  0, ±5/8, ±3/2 and ∞ (m = 4) leave A and B exact in float32 and err about twice as much
as the sum itself does; the customary 0, ±1, ±2, ∞ three times.

Source: S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin, S. Gray, CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, reduce

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.kernels.cpu.gemm import multiplier, transposed_multiplier
from minidl.kernels.cpu.layout import overlap, rows_apart, strided
from minidl.kernels.cpu.threads import Work, framed, run_blocks, scratch, split
from minidl.kernels.geometry import Pair

_POINTS = {2: (0, 1, -1), 4: (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)}
_BLOCK = 1 << 19  # elements of V
_WEIGHTS = 1 << 17  # elements of w a block
_IMAGES = 128  # at a time: the columns of one matrix product


def applies(w_shape: tuple[int, ...], stride: Pair, dilation: Pair, images: int) -> bool:
    """Whether the kernel is 3×3 with stride 1, with enough channels and images for matrices."""
    return w_shape[2:] == (3, 3) and stride == dilation == (1, 1) and w_shape[1] >= 4 and images >= 16


def transforms(m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, G and B of (1), in float64.

    At each point p: A holds its powers, G its powers over Π (p − q), B the coefficients of Π (x − q), q the others.

    Example:
        >>> transforms(2)[0]
        array([[ 1.,  1.,  1.,  0.],
               [ 0.,  1., -1.,  1.]])
    """
    points = np.array(_POINTS[m], np.float64)
    a, g, b = np.zeros((m, m + 2)), np.zeros((m + 2, 3)), np.zeros((m + 2, m + 2))
    for k, p in enumerate(points):
        others = np.delete(points, k)
        a[:, k] = p ** np.arange(m)
        g[k] = p ** np.arange(3) / np.prod(p - others)
        b[k, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    return a, g, b


@cache
def _transforms(m: int, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(t, dtype) for t in transforms(m))


def correlate_3x3(x: np.ndarray, w: np.ndarray, y: np.ndarray, start: Pair, groups: int) -> Work:
    """y[o,i,j] = Σ w[o,c,u,v] x[c, i + u + start, j + v + start], x (C,H,W,N) zero outside, into y (O,Ho,Wo,N)."""
    (o, ho, wo, n), c, m = y.shape, w.shape[1], _tile(y.shape[1])
    k, o = m + 2, o // groups  # o and c a group
    a, g, b = _transforms(m, y.dtype)
    kernels = _in_points(g, w).reshape(k, 1, groups, 1, o, 3 * c)
    to, across = overlap(start[1], start[1] + wo + 2, x.shape[2])  # columns of x, in V and in x
    channel, row, column, _ = x.strides
    y_channel, y_row, y_column, y_image = y.strides

    def block(where: tuple[slice, slice]) -> None:
        tiles, images = where
        t, size = tiles.stop - tiles.start, images.stop - images.start
        v = framed((k, t, groups, wo + 2, c, size), y.dtype, (slice(0, k), slice(0, t), slice(0, groups), to))
        v_rows = v[:, :, :, to].transpose(2, 4, 1, 3, 0, 5)  # (G,C/G,T,columns,k,images)
        for at, taps, first in _pieces(tiles, m, start[0], x.shape[1]):
            shape = (groups, c, at.stop - at.start, to.stop - to.start, taps.stop - taps.start, size)
            strides = (c * channel, channel, m * row, column, row, x.itemsize)
            x_rows = strided(x, (0, first, across.start, images.start), shape, strides)
            np.matmul(b[:, taps], x_rows, out=v_rows[:, :, at])
        columns = np.ndarray((k, t, groups, wo, 3 * c, size), v.dtype, v, 0, v.strides)  # overlapping
        products = scratch((k, t, groups, wo, o, size), y.dtype)
        multiplier(o, columns, products)(kernels)
        p_rows = products.transpose(1, 2, 3, 4, 0, 5)  # (T,G,Wo,O/G,k,images)
        for at, height, first in _outputs(tiles, m, ho):
            shape = (at.stop - at.start, groups, wo, o, height, size)
            strides = (m * y_row, o * y_channel, y_column, y_channel, y_row, y_image)
            np.matmul(a[:height], p_rows[at], out=strided(y, (0, first, 0, images.start), shape, strides))

    count = -(-ho // m)
    images = split(n, at_most=_IMAGES if count > 1 else max(min(_IMAGES, n // 2), 32))
    tiles = _blocks(count, k * (wo + 2) * max(len(x), len(y)) * images[0].stop)
    return Work(block, [(i, j) for i in tiles for j in images])


def _in_points(g: np.ndarray, w: np.ndarray) -> np.ndarray:
    """G w for w (O, C/G, u, v): (k, O, v, C/G)."""
    o, c = w.shape[:2]
    kernels = np.empty((len(g), o, 3 * c), w.dtype)

    def block(s: slice) -> None:
        w_rows = np.ascontiguousarray(w[s].transpose(0, 2, 3, 1)).reshape(-1, 3, 3 * c)  # (O,C/G,u,v) → (O,u,v·C/G)
        np.matmul(g, w_rows, out=kernels[:, s].transpose(1, 0, 2))

    run_blocks(block, split(o, at_most=_WEIGHTS // (9 * c) + 1))
    return kernels


def correlate_3x3_adjoint_w(gy: np.ndarray, x: np.ndarray, start: Pair, groups: int) -> Work:
    """gw[o,c,u,v] = Σ gy[o,i,j] x[c, i + u + start, j + v + start], gy (O,Ho,Wo,N), x (C,H,W,N) zero outside."""
    (o, ho, wo, n), c, m = gy.shape, len(x), _tile(gy.shape[1])
    k = m + 2
    a, g, b = _transforms(m, gy.dtype)
    to, across = overlap(start[1], start[1] + wo + 2, x.shape[2])  # columns of x, in V and in x
    within = slice(to.start * n, to.stop * n)
    apart = 64 // gy.itemsize  # rows that lie a power of two apart share cache sets
    (channel, row, _, element), (y_channel, y_row, *_) = x.strides, gy.strides

    def block(where: tuple[slice, slice]) -> np.ndarray:
        tiles, points = where
        t, h = tiles.stop - tiles.start, points.stop - points.start
        v = framed((h, c, t, (wo + 2) * n + apart), gy.dtype, (slice(0, h), slice(0, c), slice(0, t), within))
        v_rows = v[..., within].transpose(1, 2, 0, 3)  # (C,T,h,columns·N)
        for at, taps, first in _pieces(tiles, m, start[0], x.shape[1]):
            shape = (c, at.stop - at.start, taps.stop - taps.start, within.stop - within.start)
            x_rows = strided(x, (0, first, across.start, 0), shape, (channel, m * row, row, element))
            np.matmul(b[points, taps], x_rows, out=v_rows[:, at])
        q = rows_apart((h, o, t, wo * n), gy.dtype, slot=0)
        for at, height, first in _outputs(tiles, m, ho):
            shape = (o, at.stop - at.start, height, wo * n)
            gy_rows = strided(gy, (0, first, 0, 0), shape, (y_channel, m * y_row, y_row, element))
            np.matmul(a[:height, points].T, gy_rows, out=q[:, :, at].transpose(1, 2, 0, 3))
        left = q.reshape(h, groups, 1, o // groups, t, wo * n).swapaxes(3, 4)  # (h,G,1,T,O/G,Wo·N)
        of_point, of_channel, of_tile, _ = v.strides
        right = as_strided(  # (h,G,3,T,C/G,Wo·N), overlapping: the columns under each column of the kernel
            v,
            (h, groups, 3, t, c // groups, wo * n),
            (of_point, c // groups * of_channel, n * element, of_tile, of_channel, element),
        )
        return np.add.reduce(transposed_multiplier(left, right)(), axis=3)  # (h,G,3,O/G,C/G)

    count = -(-ho // m)
    tiles = _blocks(count, k * (wo + 2) * max(c, o) * n)
    points = split(k, at_most=k if len(tiles) > 1 else k // 2)  # their products are separate

    def finish(parts: list[np.ndarray]) -> np.ndarray:
        gw = np.empty((groups, o // groups, c // groups, 3, 3), gy.dtype)

        def block(s: slice) -> None:  # outputs of every group
            sums = [reduce(np.add, (p[:, :, :, s] for p in parts[i :: len(points)])) for i in range(len(points))]
            values = np.concatenate(sums)  # (k,G,v,O/G,C/G)
            np.copyto(gw[:, s].transpose(3, 0, 4, 1, 2), (g.T @ values.reshape(k, -1)).reshape(3, *values.shape[1:]))

        run_blocks(block, split(o // groups, at_most=_WEIGHTS // (9 * c) + 1))
        return gw.reshape(o, c // groups, 3, 3)

    return Work(block, [(i, j) for i in tiles for j in points], finish)


def _tile(height: int) -> int:
    """Rows of output a tile: four, unless two make fewer products or as few, which then err less."""
    return 2 if 4 * -(-height // 2) <= 6 * -(-height // 4) else 4


def _blocks(count: int, elements: int) -> list[slice]:
    """The tiles in blocks: four, if there are as many, or so many that V, `elements` a tile, is not too large."""
    return split(count, at_most=max(min(_BLOCK // elements, -(-count // 4)), 1))


def _pieces(tiles: slice, m: int, start: int, height: int) -> Iterator[tuple[slice, slice, int]]:
    """(tiles of the block, taps of B, first row of x): the tiles that lie within x at once, any other by itself."""
    inside = range(max(-(start // m), tiles.start), min((height - m - 2 - start) // m + 1, tiles.stop))
    if len(inside):
        yield slice(inside[0] - tiles.start, inside[-1] + 1 - tiles.start), slice(0, m + 2), m * inside[0] + start
    for t in range(tiles.start, tiles.stop):
        if t not in inside:
            taps, rows = overlap(m * t + start, m * t + start + m + 2, height)
            yield slice(t - tiles.start, t + 1 - tiles.start), taps, rows.start


def _outputs(tiles: slice, m: int, height: int) -> Iterator[tuple[slice, int, int]]:
    """(tiles of the block, their rows, first row of y): whole tiles at once, then the one that the height cuts."""
    whole = min(tiles.stop, height // m)
    if whole > tiles.start:
        yield slice(0, whole - tiles.start), m, m * tiles.start
    if whole < tiles.stop:
        yield slice(whole - tiles.start, whole + 1 - tiles.start), height - m * whole, m * whole
