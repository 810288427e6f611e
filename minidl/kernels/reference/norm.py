"""Statistics and affine maps of each channel, by definition.  x and gy (N, C, …); the rest (C,)."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["channel_affine", "channel_combination", "channel_moments", "channel_products"]


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """μ_c = Σ x / M and v_c = Σ (x - μ_c)² / M over the M values of channel c."""
    mean, var = (np.zeros(x.shape[1], x.dtype) for _ in range(2))
    m = x.size // x.shape[1]
    for c in range(x.shape[1]):
        mean[c] = math.fsum(x[:, c].flat) / m
        var[c] = math.fsum((v - mean[c]) ** 2 for v in x[:, c].flat) / m
    return mean, var


def channel_affine(x: np.ndarray, mean: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """y_nc… = (x_nc… - mean_c)·scale_c + shift_c."""
    y = np.zeros_like(x)
    for n, c, *i in np.ndindex(x.shape):
        y[(n, c, *i)] = (x[(n, c, *i)] - mean[c]) * scale[c] + shift[c]
    return y


def channel_products(gy: np.ndarray, x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ gy and Σ gy (x - mean_c) over the values of channel c."""
    total, product = (np.zeros(x.shape[1], x.dtype) for _ in range(2))
    for c in range(x.shape[1]):
        total[c] = math.fsum(gy[:, c].flat)
        product[c] = math.fsum(g * (v - mean[c]) for g, v in zip(gy[:, c].flat, x[:, c].flat, strict=True))
    return total, product


def channel_combination(
    gy: np.ndarray, x: np.ndarray, mean: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> np.ndarray:
    """gx_nk… = a_k gy_nk… + b_k (x_nk… - mean_k) + c_k."""
    gx = np.zeros_like(x)
    for n, k, *i in np.ndindex(x.shape):
        gx[(n, k, *i)] = a[k] * gy[(n, k, *i)] + b[k] * (x[(n, k, *i)] - mean[k]) + c[k]
    return gx
