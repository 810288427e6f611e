"""Sums, maxima, moments and samples of sliding windows: the readable form, for NumPy and CuPy.

A window is seen tap by tap.  For tap (u, v) the outputs that have it inside the map form a rectangle of y, and
what it lies on is a strided rectangle of x of the same shape (`geometry.taps_inside`); so

    y[outputs] += x[samples]          gathers, and          gx[samples] += gy[outputs]          is its adjoint.

One tap never lies on the same sample twice, so `+=` on the view is safe.  Nothing is padded: taps outside the map
are left out.  `padding` is what lies before the map, (top, left); where the last window ends follows from
`output_size`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from minidl.device import Array, get_array_module
from minidl.kernels.geometry import Pair, taps_inside

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

At: TypeAlias = tuple[Any, slice, slice]  # an index (…, rows, columns)


def window_sum(x: Array, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair) -> Array:
    """y[n,c,i,j] = Σ_uv x[n,c, i s + u - p, j s + v - p], rows first, then columns: k + k additions for k².

    Args:
        x: (N, C, H, W).

    Returns:
        (N, C, Ho, Wo).
    """
    xp = get_array_module(x)
    by_row, by_column = _separate_taps(x.shape, kernel_size, stride, padding, output_size)
    rows = xp.zeros((*x.shape[:2], output_size[0], x.shape[3]), x.dtype)
    for _, outputs, samples in by_row:
        rows[:, :, outputs] += x[:, :, samples]
    y = xp.zeros((*x.shape[:2], *output_size), x.dtype)
    for _, outputs, samples in by_column:
        y[..., outputs] += rows[..., samples]
    return y


def window_sum_adjoint(gy: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    """gx[n,c,·] = Σ gy[n,c,i,j] over the windows (i, j) on the sample: `window_sum` backwards, columns first."""
    xp = get_array_module(gy)
    by_row, by_column = _separate_taps(x_shape, kernel_size, stride, padding, gy.shape[2:])
    rows = xp.zeros((*gy.shape[:3], x_shape[3]), gy.dtype)
    for _, outputs, samples in by_column:
        rows[..., samples] += gy[..., outputs]
    gx = xp.zeros(x_shape, gy.dtype)
    for _, outputs, samples in by_row:
        gx[:, :, samples] += rows[:, :, outputs]
    return gx


def window_max(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> tuple[Array, Array]:
    """y[n,c,i,j] = max_uv x[n,c, i s + u d - p, j s + v d - p], and the tap u kw + v that gave it.

    The first of equal maxima counts, in the order of the taps, and NaN beats every number.

    Returns:
        y and index, both (N, C, Ho, Wo).
    """
    xp = get_array_module(x)
    y = xp.full((*x.shape[:2], *output_size), -xp.inf, x.dtype)
    index = xp.empty(y.shape, index_dtype(kernel_size))
    taps = list(_taps(x.shape, kernel_size, stride, padding, dilation, output_size))
    for tap, outputs, _ in reversed(taps):
        index[outputs] = tap  # ends as the first tap inside, which stands where every value is -inf
    for tap, outputs, samples in taps:
        value = x[samples]
        better = (value.real > y[outputs].real) | (value != value)
        y[outputs] = xp.where(better, value, y[outputs])
        index[outputs] = xp.where(better, xp.asarray(tap, index.dtype), index[outputs])
    return y, index


def window_max_adjoint(
    gy: Array,
    index: Array,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Array:
    """gx[n,c,·] = Σ gy[n,c,i,j] over the windows (i, j) whose maximum is the sample."""
    xp = get_array_module(gy)
    gx = xp.zeros(x_shape, gy.dtype)
    for tap, outputs, samples in _taps(x_shape, kernel_size, stride, padding, dilation, gy.shape[2:]):
        gx[samples] += xp.where(index[outputs] == tap, gy[outputs], 0)  # not a product: 0 · NaN is NaN
    return gx


def gaussian_pool(
    x: Array,
    eta: Array,
    divisor: Array,
    outside: Array | None,
    eps: float,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    output_size: Pair,
) -> tuple[Array, Array, Array]:
    """Y = μ + η s, the mean and the deviation of every window, in two looks: E[x²] - μ² cancels where |μ| ≫ s.

        μ = Σ x / P,      v = [Σ (x - μ)² + n₀ μ²] / P,      s = √max(v, ε)

    Args:
        x: (N, C, H, W).
        eta: η, broadcasts to the output.
        divisor: P, (Ho, Wo), of the dtype of x.
        outside: n₀, how many zeros of the padding count as samples, (Ho, Wo); None for none.
        eps: ε > 0.

    Returns:
        Y, μ and s, each (N, C, Ho, Wo).
    """
    xp = get_array_module(x)
    mean = window_sum(x, kernel_size, stride, padding, output_size) / divisor
    total = xp.zeros_like(mean) if outside is None else outside * mean * mean
    for _, outputs, samples in _taps(x.shape, kernel_size, stride, padding, (1, 1), output_size):
        centred = x[samples] - mean[outputs]
        total[outputs] += centred * centred
    v = total / divisor
    deviation = xp.sqrt(xp.where(v.real <= eps, eps, v))  # not "where v > ε": NaN stays
    return mean + deviation * eta, mean, deviation


def gaussian_pool_adjoint(
    gy: Array,
    eta: Array,
    x: Array,
    mean: Array,
    deviation: Array,
    divisor: Array,
    eps: float,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
) -> Array:
    """gx[n,c,·] = Σ [gY + 2 gv (x - μ)] / P over the windows on the sample, gv = [s > √ε] η gY / 2s."""
    xp = get_array_module(x)
    gx = xp.zeros_like(x)
    floor = xp.sqrt(xp.asarray(eps, x.dtype))  # s itself where v <= ε, to the last bit
    offset = gy / divisor
    slope = xp.where(deviation <= floor, 0, offset * eta / deviation)  # 2 gv / P
    for _, outputs, samples in _taps(x.shape, kernel_size, stride, padding, (1, 1), mean.shape[2:]):
        gx[samples] += offset[outputs] + slope[outputs] * (x[samples] - mean[outputs])
    return gx


def window_samples(x: Array, fill: float, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair) -> Array:
    """t[u kw + v] = x[n,c, i s + u - p, j s + v - p], `fill` outside the map.

    Returns:
        (T, N, C, Ho, Wo), T = kh kw.
    """
    t = get_array_module(x).full((kernel_size[0] * kernel_size[1], *x.shape[:2], *output_size), fill, x.dtype)
    for tap, outputs, samples in _taps(x.shape, kernel_size, stride, padding, (1, 1), output_size):
        t[(tap, *outputs)] = x[samples]
    return t


def window_samples_adjoint(
    gt: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
) -> Array:
    """gx[n,c,·] = Σ gt[tap, n,c,i,j] over the windows (i, j) and taps on the sample."""
    gx = get_array_module(gt).zeros(x_shape, gt.dtype)
    for tap, outputs, samples in _taps(x_shape, kernel_size, stride, padding, (1, 1), gt.shape[3:]):
        gx[samples] += gt[(tap, *outputs)]
    return gx


def index_dtype(kernel_size: Pair) -> str:
    """The smallest of two integer types that numbers the taps."""
    return "uint8" if kernel_size[0] * kernel_size[1] <= 256 else "int32"


def _separate_taps(
    x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> tuple[list[tuple[int, slice, slice]], list[tuple[int, slice, slice]]]:
    """`taps_inside` of the vertical and of the horizontal axis."""
    return (
        taps_inside(x_shape[2], output_size[0], kernel_size[0], stride[0], padding[0]),
        taps_inside(x_shape[3], output_size[1], kernel_size[1], stride[1], padding[1]),
    )


def _taps(
    x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> Iterator[tuple[int, At, At]]:
    """Number, outputs and samples of every tap, row by row."""
    by_row = taps_inside(x_shape[2], output_size[0], kernel_size[0], stride[0], padding[0], dilation[0])
    by_column = taps_inside(x_shape[3], output_size[1], kernel_size[1], stride[1], padding[1], dilation[1])
    for u, to_rows, from_rows in by_row:
        for v, to_columns, from_columns in by_column:
            yield u * kernel_size[1] + v, (..., to_rows, to_columns), (..., from_rows, from_columns)
