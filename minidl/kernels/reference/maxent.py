"""Maximum-entropy pooling, one window at a time; nothing is kept of the law, which is computed again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl.kernels.geometry import Pair

__all__ = ["maxent_pool", "maxent_pool_adjoint", "maxent_variance"]


def maxent_pool(
    x: np.ndarray, lam: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair
) -> tuple[np.ndarray, None]:
    """y is the mean of the window under p ∝ exp(λ x)."""
    y = np.zeros((*x.shape[:2], *output_size), x.dtype)
    for at, window, p in _laws(x, lam, y.shape, kernel_size, stride, padding):
        y[at] = sum(p[k] * x[k] for k in window)
    return y, None


def maxent_pool_adjoint(
    gy: np.ndarray,
    x: np.ndarray,
    lam: np.ndarray,
    y: np.ndarray,
    kept: None,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
) -> np.ndarray:
    """gx_k += gy p_k [1 + λ (x_k - y)] for every window."""
    gx, each = np.zeros_like(x), np.broadcast_to(lam, y.shape)
    for at, window, p in _laws(x, lam, y.shape, kernel_size, stride, padding):
        for k in window:
            gx[k] += gy[at] * p[k] * (1 + each[at] * (x[k] - y[at]))
    return gx


def maxent_variance(
    x: np.ndarray, lam: np.ndarray, y: np.ndarray, kept: None, kernel_size: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """The variance of the window under p."""
    variance = np.zeros_like(y)
    for at, window, p in _laws(x, lam, y.shape, kernel_size, stride, padding):
        variance[at] = sum(p[k] * (x[k] - y[at]) ** 2 for k in window)
    return variance


def _laws(
    x: np.ndarray, lam: np.ndarray, y_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
) -> Iterator[tuple[tuple, list[tuple], dict[tuple, float]]]:
    """Index into y, the indices into x of its window, and their probabilities."""
    each = np.broadcast_to(lam, y_shape)
    for n, c, i, j in np.ndindex(y_shape):
        rows = range(i * stride[0] - padding[0], i * stride[0] - padding[0] + kernel_size[0])
        columns = range(j * stride[1] - padding[1], j * stride[1] - padding[1] + kernel_size[1])
        window = [(n, c, h, w) for h in rows if 0 <= h < x.shape[2] for w in columns if 0 <= w < x.shape[3]]
        peak = max((each[n, c, i, j] * x[k]).real for k in window)
        weights = {k: np.exp(each[n, c, i, j] * x[k] - peak) for k in window}
        total = sum(weights.values())
        yield (n, c, i, j), window, {k: weight / total for k, weight in weights.items()}
