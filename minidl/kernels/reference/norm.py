"""Batch normalisation by definition.  x, gy and y have shape (N, C, …); the rest (C,)."""

from __future__ import annotations

import math

import numpy as np

from minidl.kernels.reference.elementwise import relu as rectify
from minidl.kernels.reference.elementwise import relu_adjoint

__all__ = [
    "batch_norm",
    "batch_norm_adjoint",
    "channel_affine",
    "channel_products",
    "inverse_root",
    "weighted_sum",
]


def batch_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, relu: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y_nc… = γ_c (x_nc… - μ_c) / √(v_c + ε) + β_c, μ_c and v_c over the M values of channel c; `relu` cuts at 0."""
    mean, var = (np.zeros(x.shape[1], x.dtype) for _ in range(2))
    m = x.size // x.shape[1]
    for c in range(x.shape[1]):
        mean[c] = math.fsum(x[:, c].flat) / m
        var[c] = math.fsum((v - mean[c]) ** 2 for v in x[:, c].flat) / m
    return channel_affine(x, mean, weight / np.sqrt(var + eps), bias, relu), mean, var


def batch_norm_adjoint(
    gy: np.ndarray, x: np.ndarray, mean: np.ndarray, r: np.ndarray, weight: np.ndarray, y: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gβ_c = Σ gy, gγ_c = r_c Σ gy (x - μ_c), gx_nc… = γ_c r_c [gy_nc… - gβ_c/M - (x_nc… - μ_c) r_c gγ_c/M].

    With y, the result of a relu that came after, gy [y > 0] stands for gy.
    """
    gy = gy if y is None else relu_adjoint(gy, y)
    gb, product = channel_products(gy, x, mean)
    gw, gx, m = r * product, np.zeros_like(x), x.size // x.shape[1]
    for n, c, *i in np.ndindex(x.shape):
        centred = x[(n, c, *i)] - mean[c]
        gx[(n, c, *i)] = weight[c] * r[c] * (gy[(n, c, *i)] - gb[c] / m - centred * r[c] * gw[c] / m)
    return gx, gw, gb


def channel_affine(
    x: np.ndarray, mean: np.ndarray, scale: np.ndarray, shift: np.ndarray, relu: bool = False
) -> np.ndarray:
    """y_nc… = scale_c (x_nc… - mean_c) + shift_c; `relu` cuts at 0."""
    y = np.zeros_like(x)
    for n, c, *i in np.ndindex(x.shape):
        y[(n, c, *i)] = scale[c] * (x[(n, c, *i)] - mean[c]) + shift[c]
    return rectify(y) if relu else y


def channel_products(gy: np.ndarray, x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ gy and Σ gy (x - mean_c) over the values of channel c."""
    total, product = (np.zeros(x.shape[1], x.dtype) for _ in range(2))
    for c in range(x.shape[1]):
        total[c] = math.fsum(gy[:, c].flat)
        product[c] = math.fsum(g * (v - mean[c]) for g, v in zip(gy[:, c].flat, x[:, c].flat, strict=True))
    return total, product


def inverse_root(v: np.ndarray, eps: float) -> np.ndarray:
    """1 / √(v_c + ε)."""
    return np.array([1 / np.sqrt(value + eps) for value in v], v.dtype)


def weighted_sum(a: float, x: np.ndarray, b: float, y: np.ndarray) -> np.ndarray:
    """a x_c + b y_c."""
    return np.array([a * p + b * q for p, q in zip(x, y, strict=True)], x.dtype)
