"""Many small matrix products in one call of NumPy.

BLAS copies ("packs") its operands before a large product.  With 16 … 64 rows on the left, as in the convolutions of
small networks, the copy costs as much as the product.  OpenBLAS has kernels for small products that do not copy; so
a wide product is cut into column tiles small enough for them, which `matmul` walks in C with the interpreter lock
released: 110 GFLOP/s instead of 65 for (16, 144) (144, 2048) in float32 on one Zen 4 core.  On a BLAS without such
kernels the tiles cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

_SMALL = 1_000_000  # OpenBLAS takes a product for small up to M K P = 100³; in a bᵀ, if also the result ≤ 1200
_WIDE, _LONG = 256, 1024


def multiplier(m: int, b: np.ndarray, out: np.ndarray) -> Callable[[np.ndarray], None]:
    """The function a ↦ (out = a b); b and out are read and written anew at each call.

    Args:
        m: rows of a (…, M, K).
        b: (…, K, P), rows contiguous.
        out: (…, M, P), rows contiguous.
    """
    k, columns = b.shape[-2:]
    high, width = _tile(m, k, columns)
    tiles = columns // width
    pairs = [(_cut(b, k, width, tiles), _cut(out, high, width, tiles))]  # (…,1,T,K,width), (…,M/h,T,h,width)
    if tiles * width < columns:
        rest = slice(tiles * width, None)
        pairs.append((_cut(b[..., rest], k, columns % width, 1), _cut(out[..., rest], high, columns % width, 1)))

    def multiply(a: np.ndarray) -> None:
        a_tiles = a.reshape(*a.shape[:-2], m // high, 1, high, k)  # (…,M,K) → (…,M/h,1,h,K)
        for b_tiles, out_tiles in pairs:
            np.matmul(a_tiles, b_tiles, out=out_tiles)

    return multiply


@cache
def _tile(m: int, k: int, columns: int) -> tuple[int, int]:
    """Rows of a and columns of b for which the product is small; all of them where it cannot be."""
    for high in (m, _part(m, 64), _part(m, 32), _part(m, 16)):
        width = min(_SMALL // (high * k) // 16 * 16, _WIDE)
        if width >= min(columns, 64):
            break
    if width < 16 or columns <= width:
        return (high if columns <= width else m), columns
    parts = -(-columns // width)
    return high, -(-columns // parts // 16) * 16


def transposed_multiplier(a: np.ndarray, b: np.ndarray) -> Callable[[], np.ndarray]:
    """The function () ↦ a bᵀ, summed over fixed lengths of P in a fixed order; a and b are read anew at each call.

    Args:
        a: (…, M, P), rows contiguous.
        b: (…, K, P), rows contiguous; the leading axes of both are broadcast.

    Returns:
        A function that gives (…, M, K), a new array each time.
    """
    (m, p), k = a.shape[-2:], b.shape[-2]
    high, wide = _part(m, 32), _part(k, 32)
    long = _part(p, min(_SMALL // (high * wide), _LONG))
    a_tiles = _cut(a, high, long, p // long)[..., :, None, :, :, :]  # (…,M/h,1,P/l,h,l)
    b_tiles = _cut(b, wide, long, p // long)[..., None, :, :, :, :].swapaxes(-1, -2)  # (…,1,K/w,P/l,l,w)

    def multiply() -> np.ndarray:
        c = np.add.reduce(np.matmul(a_tiles, b_tiles), axis=-3)  # (…,M/h,K/w,P/l,h,w) → (…,M/h,K/w,h,w)
        return c.swapaxes(-2, -3).reshape(*c.shape[:-4], m, k)  # (…,M/h,h,K/w,w) → (…,M,K)

    return multiply


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out = a b, once; as `multiplier`."""
    multiplier(a.shape[-2], b, out)(a)


def multiply_transposed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a bᵀ, once; as `transposed_multiplier`."""
    return transposed_multiplier(a, b)()


@cache
def _part(length: int, at_most: int) -> int:
    """The largest divisor of `length` up to `at_most`; `length` itself if there is only a small one."""
    part = next(d for d in range(min(length, at_most), 0, -1) if length % d == 0)
    return part if 3 * part >= min(length, at_most) else length


def _cut(x: np.ndarray, high: int, wide: int, tiles: int) -> np.ndarray:
    """(…, R, P) → (…, R/h, T, h, w), a view of the first T·w columns."""
    *lead, row, element = x.strides
    *batch, rows, _ = x.shape
    shape = (*batch, rows // high, tiles, high, wide)
    return as_strided(x, shape, (*lead, high * row, wide * element, row, element))
