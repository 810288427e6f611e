"""Sums, maxima, moments and samples of sliding windows, one element at a time.

`padding` is what lies before the map, (top, left); where the last window ends follows from `output_size`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

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


def window_sum(x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair) -> np.ndarray:
    """y is the sum over the part of the window inside the map."""
    y = np.zeros((*x.shape[:2], *output_size), x.dtype)
    for at_y, at_x, _ in _terms(x.shape, kernel_size, stride, padding, (1, 1), output_size):
        y[at_y] += x[at_x]
    return y


def window_sum_adjoint(gy: np.ndarray, x_shape: tuple, kernel_size: Pair, stride: Pair, padding: Pair) -> np.ndarray:
    """Each term y += x gives gx += gy."""
    gx = np.zeros(x_shape, gy.dtype)
    for at_y, at_x, _ in _terms(x_shape, kernel_size, stride, padding, (1, 1), gy.shape[2:]):
        gx[at_x] += gy[at_y]
    return gx


def window_max(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """y, and the tap that gave it: the first of equal ones; NaN beats every number."""
    y = np.zeros((*x.shape[:2], *output_size), x.dtype)
    index = np.full(y.shape, -1)
    for at_y, at_x, tap in _terms(x.shape, kernel_size, stride, padding, dilation, output_size):
        if index[at_y] < 0 or x[at_x].real > y[at_y].real or np.isnan(x[at_x]):
            y[at_y], index[at_y] = x[at_x], tap
    return y, index


def window_max_adjoint(
    gy: np.ndarray,
    index: np.ndarray,
    x_shape: tuple,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> np.ndarray:
    """gx += gy where the tap is the one that gave y."""
    gx = np.zeros(x_shape, gy.dtype)
    for at_y, at_x, tap in _terms(x_shape, kernel_size, stride, padding, dilation, gy.shape[2:]):
        if index[at_y] == tap:
            gx[at_x] += gy[at_y]
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
    """Y = μ + η √max(v, ε), μ = Σ x / P, v = [Σ (x - μ)² + n₀ μ²] / P: n₀ zeros of the padding count as samples."""
    mean = window_sum(x, kernel_size, stride, padding, output_size) / divisor
    v = np.zeros_like(mean)
    for at_y, at_x, _ in _terms(x.shape, kernel_size, stride, padding, (1, 1), output_size):
        v[at_y] += (x[at_x] - mean[at_y]) ** 2 / divisor[at_y[2:]]
    if outside is not None:
        v += outside * mean**2 / divisor
    v[v.real <= eps] = eps
    return mean + eta * np.sqrt(v), mean, np.sqrt(v)


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
    """gx += gY [1 + η (x - μ) / s] / P for every window on the sample, without the second term where s = √ε."""
    gx = np.zeros_like(x)
    eta = np.broadcast_to(eta, gy.shape)
    for at_y, at_x, _ in _terms(x.shape, kernel_size, stride, padding, (1, 1), gy.shape[2:]):
        gx[at_x] += gy[at_y] / divisor[at_y[2:]]
        if not deviation[at_y] <= np.sqrt(x.dtype.type(eps)):
            gx[at_x] += gy[at_y] * eta[at_y] * (x[at_x] - mean[at_y]) / deviation[at_y] / divisor[at_y[2:]]
    return gx


def window_samples(
    x: np.ndarray, fill: float, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> np.ndarray:
    """t[tap] is what the tap lies on, `fill` outside the map: (T, N, C, Ho, Wo)."""
    t = np.full((kernel_size[0] * kernel_size[1], *x.shape[:2], *output_size), fill, x.dtype)
    for at_y, at_x, tap in _terms(x.shape, kernel_size, stride, padding, (1, 1), output_size):
        t[(tap, *at_y)] = x[at_x]
    return t


def window_samples_adjoint(
    gt: np.ndarray, x_shape: tuple, kernel_size: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """gx += gt for every tap on the sample."""
    gx = np.zeros(x_shape, gt.dtype)
    for at_y, at_x, tap in _terms(x_shape, kernel_size, stride, padding, (1, 1), gt.shape[3:]):
        gx[at_x] += gt[(tap, *at_y)]
    return gx


def _terms(
    x_shape: tuple, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, output_size: Pair
) -> Iterator[tuple[tuple, tuple, int]]:
    """(index into y, index into x, tap number) of every tap inside the map, taps row by row."""
    for n, c, i, j in np.ndindex(*x_shape[:2], *output_size):
        for u, v in np.ndindex(*kernel_size):
            row = i * stride[0] + u * dilation[0] - padding[0]
            column = j * stride[1] + v * dilation[1] - padding[1]
            if 0 <= row < x_shape[2] and 0 <= column < x_shape[3]:
                yield (n, c, i, j), (n, c, row, column), u * kernel_size[1] + v
