"""Batch normalisation at memory speed.

In physical order C, …, N a channel is one contiguous row of M values, and a block is a few rows.  Each block is read
from memory once: its statistics, its result, the relu after it and, in the backward, the relu's mask and the two
sums are all had while it is in cache.

Sums are BLAS products with ones over pieces of 4,096 values, the sums of the pieces added in float64; so the error
of a sum is that of a piece, whatever M.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.kernels.array import norm as array
from minidl.kernels.cpu.elementwise import BITS, mask, rectify
from minidl.kernels.cpu.threads import run_blocks, scratch, split

__all__ = ["batch_norm", "batch_norm_adjoint", "channel_affine", "channel_products"]

PIECE = 4096
BLOCK = 1 << 19  # values a block: in a training step 2–3 % faster than half or twice as many
AFFINE_BLOCK = 1 << 17  # four passes and no sums between: faster if they stay in the second cache


def batch_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, relu: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `array.batch_norm`."""
    if np.iscomplexobj(weight) or np.iscomplexobj(bias) or np.iscomplexobj(x):  # derivatives by complex step
        return array.batch_norm(x, weight, bias, eps, relu)
    rows, (y, back) = _rows(x), _empty_rows(x)
    m = rows.shape[1]

    def block(s: slice) -> tuple[np.ndarray, np.ndarray]:
        mean = (_sums(rows[s]) / m).astype(x.dtype)
        np.subtract(rows[s], mean[:, None], out=y[s])
        var = _products(y[s], y[s]) / m
        np.multiply(y[s], _column(weight[s] / np.sqrt(var + eps), x), out=y[s])
        np.add(y[s], _column(bias[s], x), out=y[s])
        if relu:
            rectify(y[s], y[s])
        return mean, var.astype(x.dtype)

    mean, var = _over_channels(block, rows)
    return back(y), mean, var


def batch_norm_adjoint(
    gy: np.ndarray, x: np.ndarray, mean: np.ndarray, r: np.ndarray, weight: np.ndarray, y: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `array.batch_norm_adjoint`."""
    if y is not None and y.dtype not in BITS:
        gy, y = array.relu_adjoint(gy, y), None
    rows, gys, (gx, back) = _rows(x), _rows(gy), _empty_rows(x)
    ys = None if y is None else _rows(y)
    m = rows.shape[1]

    def block(s: slice) -> tuple[np.ndarray, np.ndarray]:
        gz = gys[s]
        if ys is not None:
            gz = scratch(gz.shape, gz.dtype)
            mask(gys[s], ys[s], gz)
        np.subtract(rows[s], mean[s, None], out=gx[s])
        gb = _sums(gz)
        gw = r[s] * _products(gz, gx[s])
        np.multiply(gx[s], _column(-r[s] * gw / m, x), out=gx[s])
        np.add(gx[s], gz, out=gx[s])
        np.subtract(gx[s], _column(gb / m, x), out=gx[s])
        np.multiply(gx[s], _column(weight[s] * r[s], x), out=gx[s])
        return gw.astype(x.dtype), gb.astype(x.dtype)

    gw, gb = _over_channels(block, rows)
    return back(gx), gw, gb


def channel_affine(
    x: np.ndarray, mean: np.ndarray, scale: np.ndarray, shift: np.ndarray, relu: bool = False
) -> np.ndarray:
    """As `array.channel_affine`."""
    if np.iscomplexobj(scale) or np.iscomplexobj(shift) or np.iscomplexobj(x):
        return array.channel_affine(x, mean, scale, shift, relu)
    rows, (y, back) = _rows(x), _empty_rows(x)

    def block(s: slice) -> tuple[np.ndarray, ...]:
        np.subtract(rows[s], mean[s, None], out=y[s])
        np.multiply(y[s], scale[s, None], out=y[s])
        np.add(y[s], shift[s, None], out=y[s])
        if relu:
            rectify(y[s], y[s])
        return ()

    _over_channels(block, rows, AFFINE_BLOCK)
    return back(y)


def channel_products(gy: np.ndarray, x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `array.channel_products`."""
    rows, gys = _rows(x), _rows(gy)

    def block(s: slice) -> tuple[np.ndarray, np.ndarray]:
        centred = scratch(rows[s].shape, x.dtype)
        np.subtract(rows[s], mean[s, None], out=centred)
        return _sums(gys[s]).astype(x.dtype), _products(gys[s], centred).astype(x.dtype)

    total, product = _over_channels(block, rows)
    return total, product


def _rows(x: np.ndarray) -> np.ndarray:
    """x (N, C, …) as (C, M): a view in physical order C, …, N, else a copy."""
    return np.moveaxis(x, 0, -1).reshape(x.shape[1], -1)  # (N,C,…) → (C,…,N) → (C,M)


def _empty_rows(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """An uninitialised (C, M) like the rows of x, and how to see it as (N, C, …)."""
    n, c, *rest = x.shape
    empty = np.empty((c, x.size // c), x.dtype)
    return empty, lambda rows: np.moveaxis(rows.reshape(c, *rest, n), -1, 0)  # (C,M) → (C,…,N) → (N,C,…)


def _over_channels(block: Callable[[slice], tuple[np.ndarray, ...]], rows: np.ndarray, size: int = BLOCK) -> Any:
    """What `block` returns for each block of rows, of about `size` values, joined over the channels."""
    results = run_blocks(block, split(len(rows), at_most=size // rows.shape[1]))
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _column(v: np.ndarray, x: np.ndarray) -> np.ndarray:
    return v.astype(x.dtype)[:, None]  # (B,) → (B, 1)


def _sums(a: np.ndarray) -> np.ndarray:
    """Σ_j a_ij in float64."""
    pieces, rest = _pieces(a)
    return (pieces @ np.ones(PIECE, a.dtype)).sum(axis=1, dtype=np.float64) + rest.sum(axis=1, dtype=np.float64)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Σ_j a_ij b_ij in float64."""
    (a, a_rest), (b, b_rest) = _pieces(a), _pieces(b)
    return np.vecdot(a, b).sum(axis=1, dtype=np.float64) + np.vecdot(a_rest, b_rest)


def _pieces(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `a` (B, M) in pieces (B, M // PIECE, PIECE), and what is left over (B, M % PIECE)."""
    count = a.shape[1] // PIECE
    return a[:, : count * PIECE].reshape(len(a), count, PIECE), a[:, count * PIECE :]
