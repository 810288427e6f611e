"""A small matrix along each axis (src/separable.cu); what it computes stands in kernels/array/separable.py.

Matrices lie as (rows, columns, channels) under their logical shape (channels, rows, columns), as `reading_matrix`
returns them; others are copied into this order.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.array import separable as array
from minidl.kernels.cuda.launch import THREADS, computes, ints, launch, pixel_blocks
from minidl.kernels.cuda.layout import channels_last, empty_map, logical

__all__ = ["reading_matrix", "reading_matrix_adjoint", "separable_map", "separable_map_adjoint"]

TILE = 32  # channels of a block of `matrix_gradient`


def reading_matrix(k: Array, sources: np.ndarray, length: int) -> Array:
    """As `array.reading_matrix`, in one launch."""
    if not computes(k):
        return array.reading_matrix(k, sources, length)
    xp, (channels, taps) = get_array_module(k), k.shape
    t = xp.empty((sources.shape[1], length, channels), k.dtype)
    launch(
        *("reading_matrix", k.dtype, (-(-t.size // THREADS),), (THREADS,)),
        *(xp.ascontiguousarray(k), _table(xp, sources), t, *ints(*t.shape, taps), np.int64(t.size)),
    )
    return t.transpose(2, 0, 1)


def reading_matrix_adjoint(gt: Array, sources: np.ndarray) -> Array:
    """As `array.reading_matrix_adjoint`, in one launch."""
    if not computes(gt):
        return array.reading_matrix_adjoint(gt, sources)
    xp, taps, of_gt = get_array_module(gt), len(sources), _matrix(gt)
    gk = xp.empty((gt.shape[0], taps), gt.dtype)
    launch(
        *("reading_matrix_adjoint", gt.dtype, (-(-gk.size // THREADS),), (THREADS,)),
        *(of_gt, _table(xp, sources), gk, *ints(*of_gt.shape, taps)),
    )
    return gk


def separable_map(x: Array, t_h: Array, t_w: Array) -> tuple[Array, Array]:
    """As `array.separable_map`, in three launches: the bands, the rows, the columns."""
    if not computes(x, t_h, t_w):
        return array.separable_map(x, t_h, t_w)
    m_h, m_w = _matrix(t_h), _matrix(t_w)
    limits = _limits(m_h, m_w, by_column=False)
    z = _along_width(channels_last(x), m_w, limits, len(m_h), transposed=False)
    return logical(_along_height(z, m_h, limits, 0, transposed=False)), logical(z)


def separable_map_adjoint(
    gy: Array,
    x: Array,
    z: Array,
    t_h: Array,
    t_w: Array,
    needs_gx: bool,
    needs_gt: bool,
    sources: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """As `array.separable_map_adjoint`, in three launches for gX and one for each gT; 0 beside the `sources`."""
    if not computes(gy, x, z, t_h, t_w):
        return array.separable_map_adjoint(gy, x, z, t_h, t_w, needs_gx, needs_gt, sources)
    m_h, m_w, of_gy = _matrix(t_h), _matrix(t_w), channels_last(gy)
    limits = _limits(m_h, m_w, by_column=True)
    q = _along_height(of_gy, m_h, limits, 0, transposed=True)
    gx = logical(_along_width(q, m_w, limits, m_h.shape[1], transposed=True)) if needs_gx else None
    if not needs_gt:
        return gx, None, None
    s_h, s_w = sources or (_every(*m_h.shape[:2]), _every(*m_w.shape[:2]))
    n, height, columns, c = q.shape  # (N,H,Wo,C)
    gt_h = _gradient(of_gy, channels_last(z), s_h, (n, *m_h.shape[:2], columns, c))
    gt_w = _gradient(q, channels_last(x), s_w, (n * height, *m_w.shape[:2], 1, c))
    return gx, gt_h, gt_w


def _along_width(x: Array, t: Array, limits: Array, first: int, transposed: bool) -> Array:
    n, height, width, c = x.shape
    y = empty_map(x, n, (height, t.shape[1 if transposed else 0]), c)
    return _along_axis(x, t, limits, first, transposed, y, (width, 1))


def _along_height(x: Array, t: Array, limits: Array, first: int, transposed: bool) -> Array:
    n, height, width, c = x.shape
    y = empty_map(x, n, (t.shape[1 if transposed else 0], width), c)
    return _along_axis(x, t, limits, first, transposed, y, (height, width))


def _along_axis(
    x: Array, t: Array, limits: Array, first: int, transposed: bool, y: Array, axis: tuple[int, int]
) -> Array:
    """y = t x, or tᵀ x, along an axis of x of `axis` = (its length, elements between its samples / C)."""
    pixels, channels, (length, inner) = y.size // y.shape[3], y.shape[3], axis
    rows, steps = (t.shape[1], (1, t.shape[1])) if transposed else (t.shape[0], (t.shape[1], 1))
    launch(
        *("along_axis", x.dtype, *pixel_blocks(pixels, channels), x, t, limits, y),
        *ints(pixels, first, rows, length, inner, channels, t.shape[2], *steps),
    )
    return y


def _gradient(gy: Array, x: Array, sources: np.ndarray, view: tuple[int, ...]) -> Array:
    """gT (C, rows, columns) for gy and x seen as (outer, rows or columns, inner, C)."""
    xp, (_, rows, columns, _, channels) = get_array_module(gy), view
    across = min(1 << (channels - 1).bit_length(), TILE)
    gt = xp.zeros((rows, columns, channels), gy.dtype)
    grid = (rows, -(-channels // across), len(sources))
    launch("matrix_gradient", gy.dtype, grid, (across, THREADS // across), gy, x, _table(xp, sources), gt, *ints(*view))
    return gt.transpose(2, 0, 1)


def _limits(t_h: Array, t_w: Array, by_column: bool) -> Array:
    """Where the rows, or the columns, of both matrices begin and end, (lines, 2)."""
    lines = sum(t.shape[1 if by_column else 0] for t in (t_h, t_w))
    limits = get_array_module(t_h).empty((lines, 2), np.int32)
    shapes = ints(*t_h.shape, *t_w.shape)
    launch("band_limits", t_h.dtype, (lines,), (THREADS,), t_h, t_w, limits, np.bool_(by_column), *shapes)
    return limits


def _matrix(t: Array) -> Array:
    """(rows, columns) or (C, rows, columns) → (rows, columns, 1 or C), contiguous."""
    t = t.reshape(-1, *t.shape[-2:])
    return get_array_module(t).ascontiguousarray(t.transpose(1, 2, 0))


def _table(xp: ModuleType, sources: np.ndarray) -> Array:
    """`sources` on the card, copied there once."""
    return _copied(xp, sources.shape, np.ascontiguousarray(sources, np.int32).tobytes())


@lru_cache(maxsize=256)
def _copied(xp: ModuleType, shape: tuple[int, ...], table: bytes) -> Array:
    return xp.asarray(np.frombuffer(table, np.int32).reshape(shape))


@lru_cache(maxsize=64)
def _every(rows: int, columns: int) -> np.ndarray:
    """`sources` that name every element of a matrix."""
    return np.repeat(np.arange(columns)[:, None], rows, axis=1)
