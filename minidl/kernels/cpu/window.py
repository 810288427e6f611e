"""Sums, maxima, Gaussian pooling and samples of sliding windows on threads; `grid` says where the windows lie.

A block is a few channels in physical order C, H, W, N, and stays in cache from the first look at it to the last.
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.array import window as array
from minidl.kernels.cpu.grid import (
    MORE_PARTS,
    add_up,
    carved,
    empty_parts,
    grid_of,
    join,
    over_channels,
    parted,
    total_of,
)
from minidl.kernels.cpu.layout import chwn, empty
from minidl.kernels.cpu.threads import scratch
from minidl.kernels.geometry import Pair

__all__ = [
    "gaussian_pool",
    "gaussian_pool_adjoint",
    "window_max",
    "window_max_adjoint",
    "window_samples",
    "window_samples_adjoint",
    "window_sum",
    "window_sum_adjoint",
]

_BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def window_sum(x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair) -> np.ndarray:
    """As `array.window_sum`."""
    x = chwn(x)
    y = empty((x.shape[3], x.shape[0], *output_size), x.dtype)
    grid, to = grid_of(x.shape[1:3], kernel_size, stride, padding, output_size), chwn(y)

    def block(s: slice) -> None:
        rows = scratch((len(x[s]), output_size[0], *x.shape[2:]), x.dtype)
        grid.sum_rows(x[s], rows)
        grid.sum_columns(parted(rows, stride[1]), to[s])

    over_channels(block, x)
    return y


def window_sum_adjoint(
    gy: np.ndarray, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """As `array.window_sum_adjoint`."""
    gx = empty(x_shape, gy.dtype)
    gy, to = chwn(gy), chwn(gx)
    grid = grid_of(to.shape[1:3], kernel_size, stride, padding, gy.shape[1:3])

    def block(s: slice) -> None:
        rows = grid.spread_columns(gy[s], slot=0)
        for samples, terms in grid.rows_of(rows):
            add_up(terms, to[s, samples])

    over_channels(block, to)
    return gx


def window_max(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """As `array.window_max`."""
    if np.iscomplexobj(x) or kernel_size[0] * kernel_size[1] > 256:  # complex: derivatives by complex step
        return array.window_max(x, kernel_size, stride, padding, dilation, output_size)
    logical, x = x, chwn(x)
    y, index = (empty((x.shape[3], x.shape[0], *output_size), dtype) for dtype in (x.dtype, np.uint8))
    grid, to_y, to_index = (
        grid_of(x.shape[1:3], kernel_size, stride, padding, output_size, dilation),
        chwn(y),
        chwn(index),
    )
    taps = grid.taps

    def block(s: slice) -> None:
        parts, y_s, index_s = parted(x[s], stride[1]), to_y[s], to_index[s]
        y_s.fill(-np.inf)
        for tap, outputs, _, _ in reversed(taps):
            index_s[outputs] = tap  # ends as the first tap inside, which stands where every value is -inf
        for tap, outputs, p, samples in taps:
            value, best = parts[p][samples], y_s[outputs]
            better = np.greater(value, best, out=scratch(best.shape, bool)).view(np.uint8)
            np.maximum(value, best, out=best)
            np.multiply(better, np.uint8(tap), out=better)  # 0 or the tap: taps come in rising order, so that
            np.maximum(index_s[outputs], better, out=index_s[outputs])  # the larger is the later
        if np.isnan(y_s).any():  # which no number is greater than: `better` did not see it
            channels = logical[:, s]
            index[:, s] = array.window_max(channels, kernel_size, stride, padding, dilation, output_size)[1]

    over_channels(block, x)
    return y, index


def window_max_adjoint(
    gy: np.ndarray,
    index: np.ndarray,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> np.ndarray:
    """As `array.window_max_adjoint`."""
    if gy.dtype not in _BITS:
        return array.window_max_adjoint(gy, index, x_shape, kernel_size, stride, padding, dilation)
    bits, gx = _BITS[gy.dtype], empty(x_shape, gy.dtype)
    gy, index, to = chwn(gy), chwn(index), chwn(gx)
    grid = grid_of(to.shape[1:3], kernel_size, stride, padding, gy.shape[1:3], dilation)
    taps = grid.taps

    def block(s: slice) -> None:
        gy_s, index_s, parts = gy[s], index[s], empty_parts(to[s], stride[1])
        for part in parts:
            part.fill(0)
        for tap, outputs, p, samples in taps:
            won = np.equal(index_s[outputs], tap, out=scratch(gy_s[outputs].shape, bool))
            mine = scratch(won.shape, gy.dtype, slot=1)
            np.multiply(gy_s[outputs].view(bits), won, out=mine.view(bits))  # the bits times 0 or 1: 0 · NaN is 0
            parts[p][samples] += mine
        join(parts, to[s], stride[1])

    over_channels(block, to)
    return gx


def gaussian_pool(
    x: np.ndarray,
    eta: np.ndarray,
    divisor: np.ndarray,
    outside: np.ndarray | None,
    eps: float,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    output_size: Pair,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `array.gaussian_pool`."""
    if np.iscomplexobj(x) or np.iscomplexobj(eta):  # derivatives by complex step
        return array.gaussian_pool(x, eta, divisor, outside, eps, kernel_size, stride, padding, output_size)
    x = chwn(x)
    n, dtype = x.shape[3], x.dtype
    y, mean, deviation = (empty((n, len(x), *output_size), dtype) for _ in range(3))
    grid = grid_of(x.shape[1:3], kernel_size, stride, padding, output_size)
    taps, outputs = grid.taps, [chwn(a) for a in (y, mean, deviation)]
    eta, divisor = _along(eta, outputs[0].shape), _dense(divisor, n)
    outside = None if outside is None else _dense(outside, n)
    floor, infinity = dtype.type(eps), dtype.type(np.inf)

    def block(s: slice) -> None:
        y_s, mean_s, v = (a[s] for a in outputs)
        parts = parted(x[s], stride[1])
        rows = carved(MORE_PARTS, [(len(v), output_size[0], *p.shape[2:]) for p in parts], dtype)
        for part, summed in zip(parts, rows, strict=True):
            grid.sum_rows(part, summed)
        grid.sum_columns(rows, mean_s)
        mean_s /= divisor
        if outside is None:
            v.fill(0)
        else:
            np.multiply(mean_s, mean_s, out=v)
            v *= outside
        for _, at, p, samples in taps:
            centred = np.subtract(parts[p][samples], mean_s[at], out=scratch(v[at].shape, dtype))
            np.multiply(centred, centred, out=centred)
            v[at] += centred
        v /= divisor
        np.clip(v, floor, infinity, out=v)
        np.sqrt(v, out=v)
        np.multiply(v, eta[s] if len(eta) > 1 else eta, out=y_s)
        y_s += mean_s

    over_channels(block, x)
    return y, mean, deviation


def gaussian_pool_adjoint(
    gy: np.ndarray,
    eta: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    divisor: np.ndarray,
    eps: float,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
) -> np.ndarray:
    """As `array.gaussian_pool_adjoint`, as gx = a + b x with a and b spread from the windows to the samples."""
    gx = empty(x.shape, x.dtype)
    gy, x, mean, deviation, to = (chwn(a) for a in (gy, x, mean, deviation, gx))
    grid = grid_of(x.shape[1:3], kernel_size, stride, padding, gy.shape[1:3])
    eta, divisor, floor = _along(eta, gy.shape), _dense(divisor, x.shape[3]), np.sqrt(x.dtype.type(eps))

    def block(s: slice) -> None:
        share = np.divide(gy[s], divisor, out=scratch(gy[s].shape, x.dtype))
        b = np.multiply(share, eta[s] if len(eta) > 1 else eta, out=scratch(share.shape, x.dtype, slot=1))
        b /= deviation[s]
        dead = np.less_equal(deviation[s], floor, out=scratch(b.shape, bool, slot=2))
        b *= np.logical_not(dead, out=dead)
        b_rows = grid.spread_columns(b, slot=3)
        b *= mean[s]
        a_rows = grid.spread_columns(np.subtract(share, b, out=b), slot=4)
        for (samples, a_terms), (_, b_terms) in zip(grid.rows_of(a_rows), grid.rows_of(b_rows), strict=True):
            gx_s = to[s, samples]
            np.multiply(x[s, samples], total_of(b_terms, gx_s.shape, x.dtype, slot=5), out=gx_s)
            gx_s += total_of(a_terms, gx_s.shape, x.dtype, slot=5)

    over_channels(block, x)
    return gx


def window_samples(
    x: np.ndarray, fill: float, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> np.ndarray:
    """As `array.window_samples`."""
    x = chwn(x)
    t = np.full((kernel_size[0] * kernel_size[1], len(x), *output_size, x.shape[3]), fill, x.dtype)
    grid = grid_of(x.shape[1:3], kernel_size, stride, padding, output_size)

    def block(s: slice) -> None:
        parts = parted(x[s], stride[1])
        for tap, outputs, p, samples in grid.taps:
            t[tap, s][outputs] = parts[p][samples]

    over_channels(block, x)
    return t.transpose(0, 4, 1, 2, 3)  # (T,C,Ho,Wo,N) → (T,N,C,Ho,Wo)


def window_samples_adjoint(
    gt: np.ndarray, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """As `array.window_samples_adjoint`."""
    gx = empty(x_shape, gt.dtype)
    gt, to = gt.transpose(0, 2, 3, 4, 1), chwn(gx)  # (T,N,C,Ho,Wo) → (T,C,Ho,Wo,N)
    grid = grid_of(to.shape[1:3], kernel_size, stride, padding, gt.shape[2:4])

    def block(s: slice) -> None:
        parts = empty_parts(to[s], stride[1])
        for part in parts:
            part.fill(0)
        for tap, outputs, p, samples in grid.taps:
            parts[p][samples] += gt[tap, s][outputs]
        join(parts, to[s], stride[1])

    over_channels(block, to)
    return gx


def _dense(divisor: np.ndarray, n: int) -> np.ndarray:
    """(Ho, Wo) as (Ho, Wo, N), or as a 0-d array if all elements are equal: ufuncs like long runs."""
    if (divisor == divisor.flat[0]).all():
        return divisor.flat[0]
    return np.repeat(divisor[..., None], n, axis=2)


def _along(eta: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """η, which broadcasts to (N, C, Ho, Wo), in physical order, rows of full length: (C or 1, Ho or 1, Wo, N)."""
    logical = eta.reshape((1,) * (4 - eta.ndim) + eta.shape).transpose(1, 2, 3, 0)  # (N,C,Ho,Wo) → (C,Ho,Wo,N)
    return np.ascontiguousarray(np.broadcast_to(logical, (*logical.shape[:2], *shape[2:])))
