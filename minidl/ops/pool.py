r"""Pooling: maximum and average over sliding windows, and averages to a given size.

A window of kh × kw taps is placed every s samples on x, with p samples of padding before and after it.  Write R(i,j)
for the samples of the window (i, j) that lie on the map.

Maximum.  With taps d samples apart (dilation), and k*(i,j) the first sample of R(i,j) that has the largest value:

    y[n,c,i,j]   = max_{k ∈ R(i,j)} x[n,c,k]                                                 (1)
    gx[n,c,k]    = Σ gy[n,c,i,j]   over the windows with k*(i,j) = k                         (2)

Where several samples are largest y has no derivative; (2) gives all of gy to the first, as PyTorch does.
Padding never wins: it counts as −∞.

Average.  With the divisor P(i,j), which is the number of samples in R(i,j), or the number in the window with its
padding (count_include_pad), or a given one:

    y[n,c,i,j]   = Σ_{k ∈ R(i,j)} x[n,c,k] / P(i,j)                                          (3)
    gx[n,c,k]    = Σ gy[n,c,i,j] / P(i,j)   over the windows with k ∈ R(i,j)                 (4)

Adaptive average.  Output i of I averages the samples ⌊i H / I⌋ … ⌈(i + 1) H / I⌉ − 1: neighbours overlap where I does
not divide H.  It is linear along each axis: matrices A (I, H) for the height and B (J, W) for the width, with rows
that sum to 1.

    Y  = A X Bᵀ                                                                              (5)
    gX = Aᵀ gY B                                                                             (6)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.kernels.geometry import Pair
from minidl.ops import _check
from minidl.ops._windows import Windows, windows

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"]


class MaxPool2d(Function):
    """y = max over each window; see (1), (2)."""

    def forward(self, x: Array, *, windows: Windows) -> Array:
        self.x_shape, self.windows = x.shape, windows
        place = (*windows.place, windows.dilation)
        y, self.index = self.kernels.window_max(x, *place, windows.output_size)  # (1)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        place = (*self.windows.place, self.windows.dilation)
        return (self.kernels.window_max_adjoint(gy, self.index, self.x_shape, *place),)  # (2)


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """Largest value in each window, as in `torch.nn.functional.max_pool2d`.

    Args:
        x: shape (N, C, H, W).
        kernel_size: height and width of the windows: an integer or a pair, as the next three.
        stride: steps between windows; `kernel_size` if None.
        padding: samples of −∞ around the map, at most half of `kernel_size`.
        dilation: steps between the taps of a window.
        ceil_mode: whether a last window that the edge cuts off counts, if it begins on the map.

    Returns:
        Tensor of shape (N, C, Ho, Wo), Ho = ⌊(H + 2p − d (kh − 1) − 1) / s⌋ + 1 (⌈·⌉ under `ceil_mode`).
        Of equal maxima the first, row by row, takes the gradient.  NaN beats every number.

    Raises:
        ValueError: a size, stride or dilation < 1, padding too large, or no window fits.

    Example:
        >>> max_pool2d([[[[1.0, 5.0, 2.0], [4.0, 3.0, 6.0]]]], kernel_size=2, stride=1).data
        array([[[[5., 6.]]]], dtype=float32)
    """
    x = as_tensor(x)
    return MaxPool2d.apply(x, windows=windows("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode))


class AvgPool2d(Function):
    """y = Σ over each window / P; see (3), (4)."""

    def forward(self, x: Array, *, windows: Windows, divisor: np.ndarray) -> Array:
        self.x_shape, self.windows = x.shape, windows
        self.divisor = self.xp.asarray(divisor, x.dtype)  # (Ho,Wo) or (1,)
        return self.kernels.window_sum(x, *windows.place, windows.output_size) / self.divisor  # (3)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (self.kernels.window_sum_adjoint(gy / self.divisor, self.x_shape, *self.windows.place),)  # (4)


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window, as in `torch.nn.functional.avg_pool2d`.

    Args:
        x: shape (N, C, H, W).
        kernel_size: height and width of the windows: an integer or a pair, as the next two.
        stride: steps between windows; `kernel_size` if None.
        padding: zeros around the map, at most half of `kernel_size`.
        ceil_mode: whether a last window that the edge cuts off counts, if it begins on the map.
        count_include_pad: whether zeros of the padding count as samples.
        divisor_override: divide every sum by this instead.

    Returns:
        Tensor of shape (N, C, Ho, Wo), Ho = ⌊(H + 2p − kh) / s⌋ + 1 (⌈·⌉ under `ceil_mode`).

    Raises:
        ValueError: a size or stride < 1, padding too large, no window fits, or `divisor_override` < 1.

    Example:
        >>> avg_pool2d([[[[1.0, 5.0], [4.0, 2.0]]]], kernel_size=2).data
        array([[[[3.]]]], dtype=float32)
    """
    x = as_tensor(x)
    where = windows("avg_pool2d", x, kernel_size, stride, padding, ceil_mode=ceil_mode)
    if divisor_override is not None:
        divisor = np.asarray(_check.integer("avg_pool2d", "divisor_override", divisor_override, minimum=1))
    else:
        divisor = where.counted() if count_include_pad else where.inside()
    if (divisor == divisor.flat[0]).all():
        divisor = divisor.flat[:1]  # one for all: broadcasting a grid of them would cost as much as the sums
    return AvgPool2d.apply(x, windows=where, divisor=divisor)


class AdaptiveAvgPool2d(Function):
    """Y = A X Bᵀ; see (5), (6)."""

    def forward(self, x: Array, *, output_size: Pair) -> Array:
        self.a, self.b = (
            self.xp.asarray(averaging_matrix(length, count), x.dtype)
            for length, count in zip(x.shape[2:], output_size, strict=True)
        )
        return self.kernels.separable_map(x, self.a, self.b)[0]  # (5)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (self.kernels.separable_map(gy, self.a.T, self.b.T)[0],)  # (6)


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Tensor:
    """Means over a grid of windows that cover the map, as in `torch.nn.functional.adaptive_avg_pool2d`.

    Args:
        x: shape (N, C, H, W).
        output_size: (I, J), any sizes; one integer for both; None for an axis that keeps its length.
            1 is the global average.

    Returns:
        Tensor of shape (N, C, I, J).

    Raises:
        ValueError: a size < 1, or `x` is not (N, C, H, W).

    Example:
        >>> adaptive_avg_pool2d([[[[1.0, 5.0, 3.0], [1.0, 3.0, 5.0]]]], (1, 2)).data
        array([[[[2.5, 4. ]]]], dtype=float32)
    """
    x = as_tensor(x)
    _check.ndim("adaptive_avg_pool2d", "x", x.shape, "NCHW")
    if min(x.shape[2:]) < 1:
        raise ValueError(f"adaptive_avg_pool2d: x must have at least one sample a map, got {x.shape}")
    asked = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(asked) == 2:
        asked = tuple(x.shape[2 + axis] if size is None else size for axis, size in enumerate(asked))
    return AdaptiveAvgPool2d.apply(x, output_size=_check.pair("adaptive_avg_pool2d", "output_size", asked, minimum=1))


@lru_cache(maxsize=64)
def averaging_matrix(length: int, count: int) -> np.ndarray:
    """The matrix of (5): row i averages the samples ⌊i length / count⌋ … ⌈(i + 1) length / count⌉ − 1.

    Example:
        >>> averaging_matrix(3, 2).tolist()
        [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    a = np.zeros((count, length))
    for i in range(count):
        first, end = i * length // count, -(-(i + 1) * length // count)
        a[i, first:end] = 1 / (end - first)
    a.flags.writeable = False
    return a
