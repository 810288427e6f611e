"""How feature maps lie in memory: physically C, H, W, N under the logical shape (N, C, H, W).

A row of W·N elements is then contiguous, whatever the stride or padding along H, and a channel is one run of H·W·N.
Copies of windows, sums over channels and matrix products with the channels as rows all walk long runs.  The shape
says N, C, H, W; the strides alone know, and NumPy's elementwise functions keep them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.kernels.cpu.threads import framed, run_blocks, scratch, split
from minidl.kernels.geometry import Pair

_LINE = 16  # float32 in a cache line
_BLOCK = 1 << 18  # elements


def chwn(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """`x` (N, C, H, W) as a C-ordered array (C, H, W, N): a view if it lies so, a copy if not.

    Example:
        >>> x = empty((2, 3, 4, 5), np.float32)
        >>> np.shares_memory(chwn(x), x)
        True
    """
    view = x.transpose(1, 2, 3, 0)
    if not x.flags.c_contiguous or view.flags.c_contiguous:
        return np.ascontiguousarray(view, dtype)
    n = len(x)
    by_image, y = x.reshape(n, -1), np.empty(view.shape, dtype or x.dtype)
    by_position = y.reshape(-1, n)

    def block(positions: slice) -> None:
        for i in range(0, n, _LINE):  # as many images as a cache line has room for: three times as fast as all
            np.copyto(by_position[positions, i : i + _LINE], by_image[i : i + _LINE, positions].T)

    run_blocks(block, split(len(by_position), at_most=_BLOCK // n + 1))
    return y


def nchw(y: np.ndarray) -> np.ndarray:
    """The logical view (N, C, H, W) of `y` (C, H, W, N)."""
    return y.transpose(3, 0, 1, 2)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised array of logical `shape` (N, C, H, W) that lies as C, H, W, N."""
    n, c, h, w = shape
    return nchw(np.empty((c, h, w, n), dtype))


def rows_apart(shape: tuple[int, ...], dtype: Any, slot: int) -> np.ndarray:
    """Scratch of `shape` whose last rows lie a cache line further apart, so as not to fall into the same cache sets."""
    return scratch((*shape[:-1], shape[-1] + 64 // np.dtype(dtype).itemsize), dtype, slot)[..., : shape[-1]]


def apart(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised array (C, H, W, N) whose rows lie a cache line further apart, as `rows_apart`."""
    c, h, w, n = shape
    rows = np.empty((c, h, w * n + 64 // np.dtype(dtype).itemsize), dtype)
    return rows[..., : w * n].reshape(shape)  # (C,H,W·N) → (C,H,W,N), a view


def padded(x: np.ndarray, rows: Pair, columns: Pair, slot: int = 0) -> np.ndarray:
    """x[:, r0:r1, c0:c1] of x (C, H, W, N) with zeros where it reaches outside; a view where it does not."""
    channels, height, width, n = x.shape
    (r0, r1), (c0, c1) = rows, columns
    if r0 >= 0 and c0 >= 0 and r1 <= height and c1 <= width:
        return x[:, r0:r1, c0:c1]
    (to_rows, from_rows), (to_columns, from_columns) = overlap(r0, r1, height), overlap(c0, c1, width)
    slab = framed((channels, r1 - r0, c1 - c0, n), x.dtype, (to_rows, to_columns), slot)
    np.copyto(slab[:, to_rows, to_columns], x[:, from_rows, from_columns])
    return slab


def strided(x: np.ndarray, first: tuple[int, ...], shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A view of `x` from the element `first` on; quick where `x` is C-ordered."""
    if x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, sum(i * s for i, s in zip(first, x.strides, strict=True)), strides)
    return as_strided(x[tuple(slice(i, None) for i in first)], shape, strides)


def overlap(first: int, stop: int, length: int) -> tuple[slice, slice]:
    """Where `first` … `stop` meets 0 … `length`: seen from `first`, and seen from 0.

    Example:
        >>> overlap(-1, 5, 3)
        (slice(1, 4, None), slice(0, 3, None))
    """
    start = min(max(first, 0), length)
    end = max(min(stop, length), start)
    return slice(start - first, end - first), slice(start, end)


def items(x: np.ndarray) -> np.ndarray:
    """`x` (…, N), dense along N, as (…, 1) with the N elements of a position one item, moved in one piece by copies.

    Example:
        >>> items(np.zeros((2, 3, 4, 8), np.float32)).dtype.itemsize
        32
    """
    size = x.shape[-1] * x.itemsize
    return x if size <= 16 else x.view(f"V{size}")  # NumPy copies single numbers faster than items as small
