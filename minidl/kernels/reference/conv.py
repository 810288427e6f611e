"""Convolution and its two adjoints, one product at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl.kernels.geometry import Padding, Pair, output_size, sides

__all__ = ["correlate", "correlate_adjoint_w", "correlate_adjoint_x", "correlate_adjoints"]


def correlate(x: np.ndarray, w: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> np.ndarray:
    """y at (n,o,i,j) is the sum of x · w over the terms of that window."""
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = np.zeros((x.shape[0], w.shape[0], *size), np.result_type(x, w))
    for at_y, at_x, at_w in _terms(x.shape, w.shape, y.shape, stride, padding, dilation, groups):
        y[at_y] += x[at_x] * w[at_w]
    return y


def correlate_adjoint_x(
    gy: np.ndarray, w: np.ndarray, x_shape: tuple, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    """Each term y += x · w gives gx += gy · w."""
    gx = np.zeros(x_shape, np.result_type(gy, w))
    for at_y, at_x, at_w in _terms(x_shape, w.shape, gy.shape, stride, padding, dilation, groups):
        gx[at_x] += gy[at_y] * w[at_w]
    return gx


def correlate_adjoint_w(
    gy: np.ndarray, x: np.ndarray, w_shape: tuple, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    """Each term y += x · w gives gw += gy · x."""
    gw = np.zeros(w_shape, np.result_type(gy, x))
    for at_y, at_x, at_w in _terms(x.shape, w_shape, gy.shape, stride, padding, dilation, groups):
        gw[at_w] += gy[at_y] * x[at_x]
    return gw


def correlate_adjoints(
    gy: np.ndarray, x: np.ndarray, w: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """(gx, gw)."""
    geometry = (stride, padding, dilation, groups)
    return correlate_adjoint_x(gy, w, x.shape, *geometry), correlate_adjoint_w(gy, x, w.shape, *geometry)


def _terms(
    x_shape: tuple, w_shape: tuple, y_shape: tuple, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Iterator[tuple[tuple, tuple, tuple]]:
    """The indices (into y, into x, into w) of every product; a tap outside the map has none."""
    (top, _), (left, _) = sides(padding)
    out_per_group = w_shape[0] // groups
    for n, o, i, j in np.ndindex(*y_shape):
        first_channel = o // out_per_group * w_shape[1]
        for c, u, v in np.ndindex(*w_shape[1:]):
            row = i * stride[0] + u * dilation[0] - top
            column = j * stride[1] + v * dilation[1] - left
            if 0 <= row < x_shape[2] and 0 <= column < x_shape[3]:
                yield (n, o, i, j), (n, first_channel + c, row, column), (o, c, u, v)
