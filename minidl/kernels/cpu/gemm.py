"""Many small matrix products in one call of NumPy.

BLAS copies ("packs") its operands before a large product.  With 16 … 64 rows on the left, as in the convolutions of
small networks, the copy costs as much as the product.  OpenBLAS has kernels for small products that do not copy; so
a wide product is cut into column tiles small enough for them, which `matmul` walks in C with the interpreter lock
released: 110 GFLOP/s instead of 65 for (16, 144) (144, 2048) in float32 on one Zen 4 core.  On a BLAS without such
kernels the tiles cost nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

_SMALL = 1_000_000  # OpenBLAS takes a product for small up to M K P = 100³ …
_SMALL_DOT = 1_024  # … and, where both operands run along the summed index, up to M N = 1200
_WIDE, _LONG = 256, 512


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out = a b.

    Args:
        a: (…, M, K).
        b: (…, K, P), rows contiguous.
        out: (…, M, P), rows contiguous.
    """
    m, k = a.shape[-2:]
    width = min(_SMALL // (m * k) // 16 * 16, _WIDE)
    columns = b.shape[-1]
    if width < 48 or columns <= width:
        np.matmul(a, b, out=out)
        return
    tiles = columns // width
    np.matmul(a[..., None, :, :], _tiled(b, tiles, width), out=_tiled(out, tiles, width))  # (…,1,M,K)(…,T,K,width)
    if tiles * width < columns:
        np.matmul(a, b[..., tiles * width :], out=out[..., tiles * width :])


def multiply_transposed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a bᵀ, summed over fixed lengths of P in a fixed order.

    Args:
        a: (…, M, P), rows contiguous.
        b: (…, K, P), rows contiguous.

    Returns:
        (…, M, K), a new array.
    """
    m, k, columns = a.shape[-2], b.shape[-2], a.shape[-1]
    high = min(m, 32)
    wide = min(k, _SMALL_DOT // high)
    c = np.empty((*a.shape[:-1], k), a.dtype)
    for i in range(0, m, high):
        for j in range(0, k, wide):
            c[..., i : i + high, j : j + wide] = _dots(a[..., i : i + high, :], b[..., j : j + wide, :], columns)
    return c


def _dots(a: np.ndarray, b: np.ndarray, columns: int) -> np.ndarray:
    tiles = columns // _LONG
    if tiles < 2:
        return np.matmul(a, b.swapaxes(-1, -2))
    parts = np.matmul(_tiled(a, tiles, _LONG), _tiled(b, tiles, _LONG).swapaxes(-1, -2))  # (…,T,M,512)(…,T,512,K)
    c = np.add.reduce(parts, axis=-3)
    if tiles * _LONG < columns:
        c += np.matmul(a[..., tiles * _LONG :], b[..., tiles * _LONG :].swapaxes(-1, -2))
    return c


def _tiled(x: np.ndarray, tiles: int, width: int) -> np.ndarray:
    """(…, R, ≥ T·width) → (…, T, R, width), a view."""
    *lead, row, element = x.strides
    shape = (*x.shape[:-2], tiles, x.shape[-2], width)
    return as_strided(x, shape, (*lead, width * element, row, element))
