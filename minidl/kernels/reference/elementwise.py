"""Functions of one element, by definition."""

from __future__ import annotations

import numpy as np

__all__ = ["add", "add_relu", "relu", "relu_adjoint"]


def relu(x: np.ndarray) -> np.ndarray:
    """y = max(x, 0)."""
    y = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        y[i] = 0 if x[i] <= 0 else x[i]  # NaN stays NaN
    return y


def relu_adjoint(gy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """gx = gy where y > 0, else 0."""
    gx = np.zeros_like(y)
    for i in np.ndindex(y.shape):
        gx[i] = gy[i] if y[i] > 0 else 0
    return gx


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y = a + b, broadcast."""
    a, b = np.broadcast_arrays(a, b)
    y = np.zeros(a.shape, np.result_type(a, b))
    for i in np.ndindex(y.shape):
        y[i] = a[i] + b[i]
    return y


def add_relu(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y = max(a + b, 0), broadcast."""
    return relu(add(a, b))
