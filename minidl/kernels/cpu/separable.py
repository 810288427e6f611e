"""A small matrix along each axis of a map, as matrix products on threads.

In physical order C, H, W, N a matrix along the height is one product (Ho, H) (H, W·N) a channel, one along the width
a product (Wo, W) (W, N) a row.  Where these are thin or T is large the block is turned to C, W, H, N, each position
moved as one item, and the width is as the height.  The large matrices of blurs are banded: their rows are taken a few
at a time, with those columns alone that they have something in.

A block is a few channels, and stays in cache from the first product to the last.  The rows of a map are often a power
of two long and then fall into the same few cache sets, where a product along the height reads all of them at once; so
what is made here for such a product has rows a cache line further apart.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from minidl.kernels.cpu.gemm import multiply, multiply_transposed
from minidl.kernels.cpu.layout import apart, chwn, items, nchw, rows_apart
from minidl.kernels.cpu.threads import run_blocks, scratch, split

__all__ = ["separable_map", "separable_map_adjoint"]

_BLOCK = 1 << 17  # elements of x in a block
_LARGE, _BAND = 32, 16  # matrices with more rows are taken so many rows at a time
_THIN = 64  # images in a batch
_ROWS = 16  # with more, laying them apart costs less than reading them from the same cache sets twice

Bands: TypeAlias = list[tuple[slice, slice, np.ndarray]]  # rows, columns, and the matrices (1 or C, ·, ·) there


def separable_map(x: np.ndarray, t_h: np.ndarray, t_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `array.separable_map`."""
    dtype = np.result_type(x, t_h, t_w)
    x, by_row, by_column = chwn(x, dtype), _bands(t_h, dtype), _bands(t_w, dtype)
    c, h, _, n = x.shape
    z = apart((c, h, t_w.shape[-2], n), dtype)
    y = np.empty((c, t_h.shape[-2], *z.shape[2:]), dtype)

    def block(s: slice) -> None:
        if _turns(x, t_w):
            z_turned = scratch((len(z[s]), z.shape[2], h, n), dtype, slot=1)
            _along_height(by_column, s, _turned(x[s], slot=0), z_turned)
            np.copyto(items(z[s]), items(z_turned).swapaxes(1, 2))
        else:
            _along_width(by_column, s, x[s], z[s])
        _along_height(by_row, s, z[s], y[s])

    run_blocks(block, _blocks(x))
    return nchw(y), nchw(z)


def separable_map_adjoint(
    gy: np.ndarray,
    x: np.ndarray,
    z: np.ndarray,
    t_h: np.ndarray,
    t_w: np.ndarray,
    needs_gx: bool,
    needs_gt: bool,
    sources: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """As `array.separable_map_adjoint`."""
    dtype = np.result_type(gy, x, t_h, t_w)
    gy, x, z = chwn(gy, dtype), chwn(x, dtype), _dense_rows(z, dtype)
    by_row, by_column = (_bands(t.swapaxes(-1, -2), dtype) for t in (t_h, t_w))
    gx = np.empty_like(x) if needs_gx else None
    gt_h, gt_w = (np.empty((len(x), *t.shape[-2:]), dtype) if needs_gt else None for t in (t_h, t_w))

    def block(s: slice) -> None:
        q, g = _apart_in_scratch(z[s].shape, dtype, slot=0), gy[s]
        if gy.shape[1] > _ROWS:
            g = _apart_in_scratch(g.shape, dtype, slot=1)
            np.copyto(g, gy[s])
        _along_height(by_row, s, g, q)
        if gt_h is not None:
            gt_h[s] = multiply_transposed(_rows(g), _rows(z[s]))
        if not _turns(x, t_w):
            if gx is not None:
                _along_width(by_column, s, q, gx[s])
            if gt_w is not None:
                np.add.reduce(np.matmul(q, x[s].swapaxes(2, 3)), axis=1, out=gt_w[s])  # (C,H,Wo,N)(C,H,N,W)
            return
        q = _turned(q, slot=1)
        if gx is not None:
            gx_turned = scratch((len(q), x.shape[2], *q.shape[2:]), dtype, slot=0)
            _along_height(by_column, s, q, gx_turned)
            np.copyto(items(gx[s]), items(gx_turned).swapaxes(1, 2))
        if gt_w is not None:
            gt_w[s] = multiply_transposed(_rows(q), _rows(_turned(x[s], slot=0)))

    run_blocks(block, _blocks(x))
    return None if gx is None else nchw(gx), gt_h, gt_w


def _turns(x: np.ndarray, t_w: np.ndarray) -> bool:
    """Whether the width of x (C, H, W, N) is better turned to be the height."""
    return x.shape[3] < _THIN or max(t_w.shape[-2:]) > _LARGE


def _bands(t: np.ndarray, dtype: np.dtype) -> Bands:
    """T (M, K), (1, M, K) or (C, M, K) in bands of rows; whole if it is small."""
    t = np.ascontiguousarray(t.reshape(-1, *t.shape[-2:]), dtype)  # (M,K) → (1,M,K)
    if max(t.shape[1:]) <= _LARGE:
        return [(slice(None), slice(None), t)]
    bands = []
    for i in range(0, t.shape[1], _BAND):
        rows = slice(i, i + _BAND)
        used = np.flatnonzero((t[:, rows] != 0).any(axis=(0, 1)))
        columns = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
        bands.append((rows, columns, np.ascontiguousarray(t[:, rows, columns])))
    return bands


def _along_height(bands: Bands, s: slice, x: np.ndarray, y: np.ndarray) -> None:
    """y = T x along axis 1, for the channels s."""
    for rows, columns, t in bands:
        multiply(t[s] if len(t) > 1 else t, _rows(x)[:, columns], _rows(y)[:, rows])


def _along_width(bands: Bands, s: slice, x: np.ndarray, y: np.ndarray) -> None:
    """y = T x along axis 2, for the channels s."""
    for rows, columns, t in bands:
        multiply((t[s] if len(t) > 1 else t)[:, None], x[:, :, columns], y[:, :, rows])  # (C,1,Wo,W)(C,H,W,N)


def _rows(x: np.ndarray) -> np.ndarray:
    """(C, H, W, N) → (C, H, W·N)."""
    return x.reshape(*x.shape[:2], -1)


def _dense_rows(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x (N, C, H, W) as (C, H, W, N) whose rows are dense: a view if it lies so, however far its rows are apart."""
    view = x.transpose(1, 2, 3, 0)
    row = view[:1, :1]
    return view if x.dtype == dtype and row.size and row.flags.c_contiguous else chwn(x, dtype)


def _apart_in_scratch(shape: tuple[int, ...], dtype: np.dtype, slot: int) -> np.ndarray:
    c, h, w, n = shape
    return rows_apart((c, h, w * n), dtype, slot).reshape(shape)  # (C,H,W·N) → (C,H,W,N)


def _turned(x: np.ndarray, slot: int) -> np.ndarray:
    """(C, H, W, N) → (C, W, H, N), in scratch."""
    c, h, w, n = x.shape
    turned = scratch((c, w, h, n), x.dtype, slot)
    np.copyto(items(turned), items(x).swapaxes(1, 2))
    return turned


def _blocks(x: np.ndarray) -> list[slice]:
    """Slices of the channels of x (C, H, W, N)."""
    return split(len(x), at_most=_BLOCK // (x.size // len(x))) if x.size else []
