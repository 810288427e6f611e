"""Convolution by 3×3 kernels, stride 1, with two thirds of the products (Winograd, along the height).

Two rows of output y₀, y₁ read four rows of input d₀ … d₃.  With W's three rows w₀ w₁ w₂, every product below a
convolution along the width (over the three columns v and the channels c),

    m₀ = (d₀ − d₂) w₀                     m₂ = (d₂ − d₁) (w₀ − w₁ + w₂)/2
    m₁ = (d₁ + d₂) (w₀ + w₁ + w₂)/2       m₃ = (d₁ − d₃) w₂                                     (1)
    y₀ = m₀ + m₁ + m₂                     y₁ = m₁ − m₂ − m₃                                     (2)

are four products where (y₀, y₁) have six.  (1), (2) are linear in w and trilinear with gy, so the gradient of W is

    q₀ = gy₀,  q₁ = gy₀ + gy₁,  q₂ = gy₀ − gy₁,  q₃ = − gy₁,      ĝ_k = Σ q_k (row of (1))ᵀ      (3)
    gw₀ = ĝ₀ + (ĝ₁ + ĝ₂)/2,   gw₁ = (ĝ₁ − ĝ₂)/2,   gw₂ = (ĝ₁ + ĝ₂)/2 + ĝ₃                      (4)

and the gradient of x is a convolution by the turned kernel.  Along the height the operands of (1) are sums of whole
rows.  Along the width nothing is copied: in a buffer that lies as (row, column, channel, image) the three columns
under a kernel are 3 C consecutive rows of a matrix, and the next output position is the same matrix one column on.

Source: S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin, S. Gray, CVPR 2016.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.kernels.cpu.gemm import multiplier, transposed_multiplier
from minidl.kernels.cpu.layout import items, overlap, padded, rows_apart
from minidl.kernels.cpu.threads import framed, run_blocks, scratch, split
from minidl.kernels.geometry import Pair

_BLOCK = 1 << 18  # elements of one operand of (1)
_IMAGES = 128  # images at a time: the columns of one matrix product


def applies(w_shape: tuple[int, ...], stride: Pair, dilation: Pair, images: int) -> bool:
    """Whether the kernel is 3×3 with stride 1, with enough channels and images for matrices."""
    return w_shape[2:] == (3, 3) and stride == dilation == (1, 1) and w_shape[1] >= 4 and images >= 16


def correlate_3x3(x: np.ndarray, w: np.ndarray, y: np.ndarray, start: Pair, groups: int) -> None:
    """y[o,i,j] = Σ w[o,c,u,v] x[c, i + u + start, j + v + start], x (C,H,W,N) zero outside, into y (O,Ho,Wo,N)."""
    o, ho, wo, n = y.shape
    c = w.shape[1]
    kernels = _kernels(w, groups)  # (4,G,1,O/G,3·C/G)
    images = split(n, _IMAGES)
    tiles = _tiles(ho, max(len(x), o) * wo * images[0].stop)

    def block(where: tuple[slice, slice]) -> None:
        rows, at = where
        t, b = rows.stop - rows.start, at.stop - at.start
        d = _slab(x[..., at], (2 * rows.start + start[0], 2 * t + 2), (start[1], wo + 2), groups)
        d0, d1, d2, d3 = (d[k : k + 2 * t - 1 : 2] for k in range(4))
        y0, y1 = (y[:, 2 * rows.start + k : 2 * rows.stop : 2, :, at] for k in range(2))  # (O,T,Wo,b)
        m, m0 = (rows_apart((o, t * wo * b), y.dtype, slot).reshape(o, t, wo, b) for slot in (2, 3))
        operand = scratch((t, groups, wo + 2, c, b), y.dtype, slot=1)
        columns = np.ndarray((t, groups, wo, 3 * c, b), y.dtype, operand, 0, operand.strides)  # overlapping
        to_m, to_m0 = (
            multiplier(
                o // groups, columns, into.reshape(groups, o // groups, t, wo, b).transpose(2, 0, 3, 1, 4)
            )  # (T,G,Wo,3·C/G,b) → (T,G,Wo,O/G,b)
            for into in (m, m0)
        )

        odd = y1.shape[1]  # one tile less, if the height is odd
        np.add(d1, d2, out=operand)
        to_m(kernels[1])
        np.subtract(d2, d1, out=operand)
        to_m0(kernels[2])
        np.add(m, m0, out=y0)
        np.subtract(m[:, :odd], m0[:, :odd], out=y1)
        np.subtract(d0, d2, out=operand)
        to_m(kernels[0])
        np.add(y0, m, out=y0)
        np.subtract(d1, d3, out=operand)
        to_m(kernels[3])
        np.subtract(y1, m[:, :odd], out=y1)

    run_blocks(block, [(i, j) for i in tiles for j in images])


def correlate_3x3_adjoint_w(gy: np.ndarray, x: np.ndarray, start: Pair, groups: int) -> np.ndarray:
    """gw[o,c,u,v] = Σ gy[o,i,j] x[c, i + u + start, j + v + start], gy (O,Ho,Wo,N), x (C,H,W,N) zero outside."""
    o, ho, wo, n = gy.shape
    c = len(x)
    tiles = _tiles(ho, max(c, o) * wo * n)
    to_columns, from_columns = overlap(start[1], start[1] + wo + 2, x.shape[2])
    within = slice(to_columns.start * n, to_columns.stop * n)
    apart = 64 // gy.itemsize  # rows that lie a power of two apart share cache sets

    def block(rows: slice) -> np.ndarray:
        t = rows.stop - rows.start
        d = padded(
            x, (2 * rows.start + start[0], 2 * rows.stop + 2 + start[0]), (from_columns.start, from_columns.stop)
        )
        d0, d1, d2, d3 = (d[:, k : k + 2 * t - 1 : 2].reshape(c, t, -1) for k in range(4))
        g = padded(gy, (2 * rows.start, 2 * rows.stop), (0, wo), slot=1).reshape(o, 2 * t, wo * n)
        g0, g1 = g[:, ::2], g[:, 1::2]
        q = rows_apart((o, t, wo * n), gy.dtype, slot=2)
        operand = framed((c, t, (wo + 2) * n + apart), gy.dtype, (slice(0, c), slice(0, t), within))
        inner = operand[..., within]
        a = q.reshape(groups, 1, o // groups, t, wo * n).swapaxes(2, 3)  # (G,1,T,O/G,Wo·N)
        b = _three_shifts(operand, groups, wo, n)  # (G,3,T,C/G,Wo·N)

        product = transposed_multiplier(a, b)  # (G,3,T,O/G,C/G)

        gk = np.empty((4, groups, 3, o // groups, c // groups), gy.dtype)
        np.copyto(q, g0)
        np.subtract(d0, d2, out=inner)
        gk[0] = np.add.reduce(product(), axis=2)
        np.add(g0, g1, out=q)
        np.add(d1, d2, out=inner)
        gk[1] = np.add.reduce(product(), axis=2)
        np.subtract(g0, g1, out=q)
        np.subtract(d2, d1, out=inner)
        gk[2] = np.add.reduce(product(), axis=2)
        np.negative(g1, out=q)
        np.subtract(d1, d3, out=inner)
        gk[3] = np.add.reduce(product(), axis=2)
        return gk

    g0, g1, g2, g3 = reduce(np.add, run_blocks(block, tiles))
    half = gy.dtype.type(0.5)
    even, odd = (g1 + g2) * half, (g1 - g2) * half
    gw = np.stack([g0 + even, odd, even + g3])  # (3,G,3,O/G,C/G), (4)
    return gw.transpose(1, 3, 4, 0, 2).reshape(o, c // groups, 3, 3)


def _three_shifts(a: np.ndarray, groups: int, wo: int, n: int) -> np.ndarray:
    """(C, T, (Wo + 2) N) → (G, 3, T, C/G, Wo N), overlapping: the columns under each column of the kernel."""
    c, t, _ = a.shape
    row, tile, element = a.strides
    shape = (groups, 3, t, c // groups, wo * n)
    return as_strided(a, shape, (c // groups * row, n * element, tile, row, element), writeable=False)


def _tiles(height: int, elements: int) -> list[slice]:
    """Blocks of the tiles of two rows: at least four blocks, and operands of (1) no larger than _BLOCK."""
    count = -(-height // 2)
    return split(count, at_most=max(min(_BLOCK // elements, -(-count // 4)), 1))


def _kernels(w: np.ndarray, groups: int) -> np.ndarray:
    """The factors of (1) that hold w (O, C/G, 3, 3), as matrices: (4, G, 1, O/G, 3·C/G)."""
    o, c = w.shape[:2]
    k = np.empty((4, o, 3, c), w.dtype)
    k[::3] = w.transpose(2, 0, 3, 1)[::2]  # w₀ and w₂, each (O,3,C/G)
    odd = np.multiply(w[:, :, 1].transpose(0, 2, 1), 0.5, order="C")
    even = (k[0] + k[3]) * w.dtype.type(0.5)
    np.add(even, odd, out=k[1])
    np.subtract(even, odd, out=k[2])
    return k.reshape(4, groups, 1, o // groups, 3 * c)


def _slab(x: np.ndarray, rows: Pair, columns: Pair, groups: int) -> np.ndarray:
    """x (C, H, W, N) from `rows` and `columns`, each (first, count), zero outside, as (rows, G, columns, C/G, N)."""
    channels, height, width, n = x.shape
    c = channels // groups
    to_rows, from_rows = overlap(rows[0], sum(rows), height)
    to_columns, from_columns = overlap(columns[0], sum(columns), width)
    slab = framed((rows[1], groups, columns[1], c, n), x.dtype, (to_rows, to_columns))
    lies = x.reshape(groups, c, height, width, n).transpose(2, 0, 3, 1, 4)  # (H,G,W,C/G,N)
    np.copyto(items(slab[to_rows, :, to_columns]), items(lies[from_rows, :, from_columns]))
    return slab
