"""Sums, maxima and moments of sliding windows on threads.

In physical order C, H, W, N a tap (u, v) of all windows lies on runs of N elements, a row tap u on runs of W·N.  A
block is a few channels.  Sums go by rows first, then by columns, k + k additions for k²; so do their adjoints, which
gather: samples of one residue modulo the stride are reached by the same taps, so that each sample is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minidl.kernels.array import window as array
from minidl.kernels.cpu.layout import chwn, empty
from minidl.kernels.cpu.threads import run_blocks, scratch, split
from minidl.kernels.geometry import Pair, taps_inside

__all__ = [
    "window_max",
    "window_max_adjoint",
    "window_moments",
    "window_moments_adjoint",
    "window_sum",
    "window_sum_adjoint",
]

_BLOCK = 1 << 19  # elements of x in a block
Spans = list[tuple[slice, slice]]  # (where to, where from), along one axis


def window_sum(x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair) -> np.ndarray:
    """As `array.window_sum`."""
    x = chwn(x)
    y = empty((x.shape[3], x.shape[0], *output_size), x.dtype)
    rows, columns = _spans(x.shape, kernel_size, stride, padding, output_size)
    to = chwn(y)

    def block(s: slice) -> None:
        _window_sum(x[s], rows, columns, to[s])

    _over_channels(block, x)
    return y


def _window_sum(x: np.ndarray, rows: Spans, columns: Spans, y: np.ndarray) -> None:
    summed = scratch((len(x), y.shape[1], *x.shape[2:]), x.dtype)
    _gather(x, rows, summed, axis=1)
    _gather(summed, columns, y, axis=2)


def window_sum_adjoint(
    gy: np.ndarray, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """As `array.window_sum_adjoint`."""
    gx = empty(x_shape, gy.dtype)
    gy, to = chwn(gy), chwn(gx)
    by_row = _residues(x_shape[2], gy.shape[1], kernel_size[0], stride[0], padding[0])
    by_column = _residues(x_shape[3], gy.shape[2], kernel_size[1], stride[1], padding[1])

    def block(s: slice) -> None:
        spread = scratch((*gy[s].shape[:2], *to.shape[2:]), gy.dtype)
        for samples, spans in by_column:
            _gather(gy[s], spans, spread[:, :, samples], axis=2)
        for samples, spans in by_row:
            _gather(spread, spans, to[s, samples], axis=1)

    _over_channels(block, to)
    return gx


def window_max(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """As `array.window_max`."""
    if np.iscomplexobj(x):  # derivatives by complex step
        return array.window_max(x, kernel_size, stride, padding, dilation, output_size)
    x = chwn(x)
    y = empty((x.shape[3], x.shape[0], *output_size), x.dtype)
    index = empty(y.shape, array.index_dtype(kernel_size))
    taps = list(_taps(x.shape, kernel_size, stride, padding, dilation, output_size))
    to_y, to_index = chwn(y), chwn(index)

    def block(s: slice) -> None:
        x_s, y_s, index_s = x[s], to_y[s], to_index[s]
        y_s.fill(-np.inf)
        for tap, outputs, _ in reversed(taps):
            index_s[outputs] = tap  # ends as the first tap inside, which stands where every value is -inf
        for tap, outputs, samples in taps:
            value, best = x_s[samples], y_s[outputs]
            better = np.greater(value, best, out=scratch(best.shape, bool))
            np.logical_or(better, value != value, out=better)
            np.copyto(best, value, where=better)
            np.copyto(index_s[outputs], tap, where=better)

    _over_channels(block, x)
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
    gx = empty(x_shape, gy.dtype)
    gy, index, to = chwn(gy), chwn(index), chwn(gx)
    taps = list(_taps(to.shape, kernel_size, stride, padding, dilation, gy.shape[1:3]))

    def block(s: slice) -> None:
        gx_s, gy_s, index_s = to[s], gy[s], index[s]
        gx_s.fill(0)
        for tap, outputs, samples in taps:
            won = np.equal(index_s[outputs], tap, out=scratch(gy_s[outputs].shape, bool))
            mine = scratch(won.shape, gy.dtype, slot=1)
            mine.fill(0)
            np.copyto(mine, gy_s[outputs], where=won)  # not gy · won: 0 · NaN is NaN
            gx_s[samples] += mine

    _over_channels(block, to)
    return gx


def window_moments(
    x: np.ndarray,
    divisor: np.ndarray,
    outside: np.ndarray | None,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    output_size: Pair,
) -> tuple[np.ndarray, np.ndarray]:
    """As `array.window_moments`."""
    x = chwn(x)
    mean, variance = (empty((x.shape[3], x.shape[0], *output_size), x.dtype) for _ in range(2))
    rows, columns = _spans(x.shape, kernel_size, stride, padding, output_size)
    taps = list(_taps(x.shape, kernel_size, stride, padding, (1, 1), output_size))
    to_mean, to_variance = chwn(mean), chwn(variance)
    divisor = divisor[..., None]  # (Ho,Wo,1)

    def block(s: slice) -> None:
        x_s, mean_s, total = x[s], to_mean[s], to_variance[s]
        _window_sum(x_s, rows, columns, mean_s)
        mean_s /= divisor
        if outside is None:
            total.fill(0)
        else:
            np.multiply(mean_s, mean_s, out=total)
            total *= outside[..., None]
        for _, outputs, samples in taps:
            centred = scratch(mean_s[outputs].shape, x.dtype)
            np.subtract(x_s[samples], mean_s[outputs], out=centred)
            np.multiply(centred, centred, out=centred)
            total[outputs] += centred
        total /= divisor

    _over_channels(block, x)
    return mean, variance


def window_moments_adjoint(
    gmean: np.ndarray,
    gvariance: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    divisor: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
) -> np.ndarray:
    """As `array.window_moments_adjoint`."""
    gx = empty(x.shape, x.dtype)
    gmean, gvariance, x, mean, to = (chwn(a) for a in (gmean, gvariance, x, mean, gx))
    taps = list(_taps(x.shape, kernel_size, stride, padding, (1, 1), mean.shape[1:3]))
    divisor = divisor[..., None]  # (Ho,Wo,1)

    def block(s: slice) -> None:
        x_s, gx_s, mean_s = x[s], to[s], mean[s]
        offset = np.divide(gmean[s], divisor, out=scratch(mean_s.shape, x.dtype))
        slope = np.divide(gvariance[s], divisor / 2, out=scratch(mean_s.shape, x.dtype, slot=1))
        gx_s.fill(0)
        for _, outputs, samples in taps:
            part = scratch(mean_s[outputs].shape, x.dtype, slot=2)
            np.subtract(x_s[samples], mean_s[outputs], out=part)
            np.multiply(part, slope[outputs], out=part)
            np.add(part, offset[outputs], out=part)
            gx_s[samples] += part

    _over_channels(block, x)
    return gx


def _over_channels(block: Callable[[slice], None], x: np.ndarray) -> None:
    """Run `block` on slices of the channels of x (C, H, W, N)."""
    if x.size:
        run_blocks(block, split(len(x), at_most=_BLOCK // (x.size // len(x))))


def _gather(x: np.ndarray, spans: Spans, y: np.ndarray, axis: int) -> None:
    """y = Σ over `spans` of x at `from`, added at `to`; each an index along `axis`."""
    lead = (slice(None),) * axis
    whole = [(to, at) for to, at in spans if (to.start, to.stop) == (0, y.shape[axis])]
    parts = [span for span in spans if span not in whole]
    if len(whole) > 1:
        np.add(x[(*lead, whole[0][1])], x[(*lead, whole[1][1])], out=y)
    elif whole:
        np.copyto(y, x[(*lead, whole[0][1])])
    else:
        y.fill(0)
    for to, at in whole[2:] + parts:
        y[(*lead, to)] += x[(*lead, at)]


def _spans(
    x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> tuple[Spans, Spans]:
    """What `_gather` needs to sum windows of rows, and of columns; `x_shape` is (C, H, W, N)."""
    rows, columns = (
        [(to, at) for _, to, at in taps_inside(*axis)]
        for axis in zip(x_shape[1:3], output_size, kernel_size, stride, padding, strict=True)
    )
    return rows, columns


def _residues(length: int, count: int, kernel: int, stride: int, before: int) -> Iterator[tuple[slice, Spans]]:
    """For each residue of samples modulo `stride`: the samples, and what `_gather` needs to collect them from gy.

    Sample r + m s lies under tap u of output i where i s + u − before = r + m s: u = (r + before) mod s + q s with
    i = m − q + ⌊(r + before)/s⌋.
    """
    for r in range(min(stride, length)):
        members = -(-(length - r) // stride)
        first, u = divmod(r + before, stride)
        spans = []
        for q in range(len(range(u, kernel, stride))):
            shift = first - q  # output i of member m is m + shift
            start, stop = max(0, -shift), min(members, count - shift)
            if start < stop:
                spans.append((slice(start, stop), slice(start + shift, stop + shift)))
        yield slice(r, None, stride), spans


def _taps(
    x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """Number, outputs and samples of every tap, row by row; `x_shape` is (C, H, W, N)."""
    axes = zip(x_shape[1:3], output_size, kernel_size, stride, padding, dilation, strict=True)
    by_row, by_column = (taps_inside(*axis) for axis in axes)
    everything = slice(None)
    for u, to_rows, from_rows in by_row:
        for v, to_columns, from_columns in by_column:
            tap = u * kernel_size[1] + v
            yield tap, (everything, to_rows, to_columns), (everything, from_rows, from_columns)
