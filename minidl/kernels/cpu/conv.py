"""Convolution and its two adjoints on threads: which form is used for what.

    winograd     3×3 kernels with stride 1, on many images
    depthwise    groups with one input or one output channel
    direct       any other kernel without gaps along the width, on many images
    im2col       everything else; and the gradient of W wherever the first two do not serve

gx is gathered, not scattered.  Row a of gx collects the taps u with i s + u d = a + p.  Rows of one residue a mod s
share their taps, every (s / gcd(s, d))-th, and read consecutive rows of gy, d / gcd(s, d) apart: each residue is a
convolution of gy with stride 1 by those taps of W, turned round.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

import numpy as np

from minidl.kernels.cpu import depthwise, direct, im2col, winograd
from minidl.kernels.cpu.layout import chwn, nchw
from minidl.kernels.cpu.threads import Work, run
from minidl.kernels.geometry import Padding, Pair, output_size, sides

__all__ = ["correlate", "correlate_adjoint_w", "correlate_adjoint_x", "correlate_adjoints"]


def correlate(x: np.ndarray, w: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> np.ndarray:
    """As `kernels.array.correlate`."""
    dtype = np.result_type(x, w)
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = np.empty((len(w), *size, len(x)), dtype)
    (top, _), (left, _) = sides(padding)
    run(_product(chwn(x, dtype), w.astype(dtype, copy=False), y, stride, (-top, -left), dilation, groups))
    return nchw(y)


def correlate_adjoint_x(
    gy: np.ndarray, w: np.ndarray, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    """As `kernels.array.correlate_adjoint_x`."""
    dtype = np.result_type(gy, w)
    gx = np.empty((*x_shape[1:], x_shape[0]), dtype)
    run(*_adjoint_x(chwn(gy, dtype), w.astype(dtype, copy=False), gx, stride, padding, dilation, groups))
    return nchw(gx)


def correlate_adjoint_w(
    gy: np.ndarray, x: np.ndarray, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> np.ndarray:
    """As `kernels.array.correlate_adjoint_w`."""
    dtype = np.result_type(gy, x)
    return run(_adjoint_w(chwn(gy, dtype), chwn(x, dtype), w_shape, stride, padding, dilation, groups))[0]


def correlate_adjoints(
    gy: np.ndarray, x: np.ndarray, w: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `kernels.array.correlate_adjoints`: both read gy while it is in cache."""
    dtype = np.result_type(gy, x, w)
    gy, x, w = chwn(gy, dtype), chwn(x, dtype), w.astype(dtype, copy=False)
    gx = np.empty_like(x)
    of_x = _adjoint_x(gy, w, gx, stride, padding, dilation, groups)
    of_w = _adjoint_w(gy, x, w.shape, stride, padding, dilation, groups)
    return nchw(gx), run(*of_x, of_w)[-1]


def _product(
    x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: Pair, start: Pair, dilation: Pair, groups: int
) -> Work:
    """y[o,i,j] = Σ w[o,c,u,v] x[c, i s + u d + start, …], x (C,H,W,N) zero outside, into y (O,Ho,Wo,N)."""
    images = x.shape[3]
    if winograd.applies(w.shape, stride, dilation, images):
        return winograd.correlate_3x3(x, w, y, start, groups)
    if depthwise.applies(w.shape, groups):
        return depthwise.correlate(x, w, y, stride, start, dilation, groups)
    if direct.applies(w.shape, dilation, images):
        return direct.correlate(x, w, y, stride, start, dilation[0], groups)
    return im2col.correlate(x, w, y, stride, start, dilation, groups)


def _adjoint_x(
    gy: np.ndarray, w: np.ndarray, gx: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> list[Work]:
    """gx (C,H,W,N) from gy (O,Ho,Wo,N), a residue at a time."""
    (top, _), (left, _) = sides(padding)
    works = []
    for rows, u, row, step_u in _residues(w.shape[2], stride[0], top, dilation[0], gx.shape[1]):
        for columns, v, column, step_v in _residues(w.shape[3], stride[1], left, dilation[1], gx.shape[2]):
            turned, target = _swapped(w[:, :, u, v], groups)[:, :, ::-1, ::-1], gx[:, rows, columns]
            if turned.size:
                works.append(_product(gy, turned, target, (1, 1), (row, column), (step_u, step_v), groups))
            else:
                target[...] = 0  # no tap lies on these
    return works


def _adjoint_w(
    gy: np.ndarray, x: np.ndarray, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Work:
    """gw (O,C/G,kh,kw) from gy (O,Ho,Wo,N) and x (C,H,W,N)."""
    (top, _), (left, _) = sides(padding)
    start, kernel = (-top, -left), (w_shape[2], w_shape[3])
    if winograd.applies(w_shape, stride, dilation, gy.shape[3]):
        return winograd.correlate_3x3_adjoint_w(gy, x, start, groups)
    form = depthwise if depthwise.applies(w_shape, groups) else im2col
    return form.correlate_adjoint_w(gy, x, kernel, stride, start, dilation, groups)


def _residues(
    taps: int, stride: int, before: int, dilation: int, length: int
) -> Iterator[tuple[slice, slice, int, int]]:
    """The residues of gx along one axis: (its samples, its taps, first sample of gy, distance of the samples).

    Sample a of gx meets tap u at output i = (a + before − u d) / s, where that is whole.
    """
    g = gcd(stride, dilation)
    period = stride // g
    for residue in range(min(stride, length)):
        first = next((u for u in range(min(period, taps)) if (residue + before - u * dilation) % stride == 0), taps)
        last = first + (taps - 1 - first) // period * period if first < taps else 0
        lowest = (residue + before - last * dilation) // stride  # the last tap meets the lowest output
        yield slice(residue, length, stride), slice(first, taps, period), lowest, dilation // g


def _swapped(w: np.ndarray, groups: int) -> np.ndarray:
    """(O, C/G, kh, kw) → (C, O/G, kh, kw)."""
    o, c, *kernel = w.shape
    return w.reshape(groups, o // groups, c, *kernel).swapaxes(1, 2).reshape(groups * c, o // groups, *kernel)
