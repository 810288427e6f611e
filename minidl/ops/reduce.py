r"""Reductions: a function of the elements along some axes.

x_{ri}: r numbers the groups that become one element each, i the n elements of a group.  With gy = ∂L/∂y:

    sum         y_r = Σ_i x_ri                                gx_ri = gy_r                                  (1)
    mean        y_r = Σ_i x_ri / n                            gx_ri = gy_r / n                              (2)
    max, min    y_r = max_i x_ri, min_i x_ri                  gx_ri = gy_r [x_ri = y_r] / #{j: x_rj = y_r}  (3)
    var         y_r = Σ_i (x_ri − x̄_r)² / (n − c)            gx_ri = gy_r 2 (x_ri − x̄_r) / (n − c)         (4)
    logsumexp   y_r = m_r + ln Σ_i exp(x_ri − m_r)            gx_ri = gy_r exp(x_ri − y_r)                  (5)

(3): several elements may equal the maximum; it has no derivative there, and of its subgradients we choose the mean,
which shares gy evenly among the ties.  (4): x̄ depends on x too, but Σ_i (x_ri − x̄_r) = 0 cancels that term.
(5): m_r = max_i x_ri, so that every exponent is <= 0 and none overflows; the gradient is the softmax.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops._axes import Axis, several_axes
from minidl.ops._check import number

__all__ = ["logsumexp", "max", "mean", "min", "sum", "var"]


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with length 1 along the reduced axes."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _group_size(op: str, x: Tensor, axes: tuple[int, ...]) -> int:
    """n, refused where it is 0: an empty group has a sum, but no mean and no maximum."""
    n = math.prod(x.shape[i] for i in axes)
    if n == 0:
        raise ValueError(f"{op}: needs at least one element along axis {axes}, got shape {x.shape}")
    return n


class Sum(Function):
    """y = Σ x; see (1)."""

    def forward(self, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        self.shape, self.kept = x.shape, _kept(x.shape, axes)
        return x.sum(axis=axes, keepdims=keepdims)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (self.xp.broadcast_to(gy.reshape(self.kept), self.shape),)  # (1)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum of the elements along axes.

    Args:
        x: any shape.
        axis: the axis or axes to reduce, negative ones counted from the end; None for all.
        keepdims: keep the reduced axes with length 1, so that the result broadcasts against `x`.

    Returns:
        Tensor without the reduced axes; the sum of no elements is 0.

    Raises:
        ValueError: an axis is out of range or named twice.
        TypeError: an axis is not an integer.

    Example:
        >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0).data
        array([4., 6.], dtype=float32)
    """
    x = as_tensor(x)
    return Sum.apply(x, axes=several_axes("sum", axis, x.ndim), keepdims=keepdims)


class Mean(Function):
    """y = Σ x / n; see (2)."""

    def forward(self, x: Array, *, axes: tuple[int, ...], keepdims: bool, n: int) -> Array:
        self.shape, self.kept, self.n = x.shape, _kept(x.shape, axes), n
        return x.sum(axis=axes, keepdims=keepdims) / n  # (2)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (self.xp.broadcast_to(gy.reshape(self.kept) / self.n, self.shape),)  # (2)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean of the elements along axes.

    Args:
        x: any shape.
        axis: the axis or axes to reduce, negative ones counted from the end; None for all.
        keepdims: keep the reduced axes with length 1, so that the result broadcasts against `x`.

    Returns:
        Tensor without the reduced axes.

    Raises:
        ValueError: there is no element to take the mean of, or an axis is out of range or named twice.

    Example:
        >>> mean([[1.0, 2.0], [3.0, 4.0]], axis=1).data
        array([1.5, 3.5], dtype=float32)
    """
    x = as_tensor(x)
    axes = several_axes("mean", axis, x.ndim)
    return Mean.apply(x, axes=axes, keepdims=keepdims, n=_group_size("mean", x, axes))


class Max(Function):
    """y = max x; see (3)."""

    def forward(self, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        self.x, self.axes, self.y = x, axes, x.max(axis=axes, keepdims=True)  # (3)
        return self.y if keepdims else self.y.squeeze(axes)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        ties = (self.x == self.y).astype(gy.dtype)
        return (gy.reshape(self.y.shape) * (ties / ties.sum(axis=self.axes, keepdims=True)),)  # (3)


class Min(Max):
    """y = min x; see (3), which has one backward for both."""

    def forward(self, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        self.x, self.axes, self.y = x, axes, x.min(axis=axes, keepdims=True)  # (3)
        return self.y if keepdims else self.y.squeeze(axes)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest element along axes.

    Elements that tie share the gradient evenly, as in `torch.amax`.  A NaN among the elements is the result, and the
    gradient of its group is NaN.

    Args:
        x: any shape.
        axis: the axis or axes to reduce, negative ones counted from the end; None for all.
        keepdims: keep the reduced axes with length 1, so that the result broadcasts against `x`.

    Returns:
        Tensor without the reduced axes.

    Raises:
        ValueError: there is no element to take the maximum of, or an axis is out of range or named twice.

    Example:
        >>> x = Tensor([[1.0, 3.0, 3.0]], requires_grad=True)
        >>> y = max(x, axis=1)
        >>> y.backward([1.0])
        >>> y.data, x.grad
        (array([3.], dtype=float32), array([[0. , 0.5, 0.5]], dtype=float32))
    """
    x = as_tensor(x)
    axes = several_axes("max", axis, x.ndim)
    _group_size("max", x, axes)
    return Max.apply(x, axes=axes, keepdims=keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest element along axes; elements that tie and NaN as for `max`.

    Args:
        x: any shape.
        axis: the axis or axes to reduce, negative ones counted from the end; None for all.
        keepdims: keep the reduced axes with length 1, so that the result broadcasts against `x`.

    Returns:
        Tensor without the reduced axes.

    Raises:
        ValueError: there is no element to take the minimum of, or an axis is out of range or named twice.

    Example:
        >>> min([[1.0, 3.0], [5.0, 2.0]], axis=1).data
        array([1., 2.], dtype=float32)
    """
    x = as_tensor(x)
    axes = several_axes("min", axis, x.ndim)
    _group_size("min", x, axes)
    return Min.apply(x, axes=axes, keepdims=keepdims)


class Var(Function):
    """y = Σ (x − x̄)² / (n − c); see (4)."""

    def forward(self, x: Array, *, axes: tuple[int, ...], keepdims: bool, n: int, correction: float) -> Array:
        self.kept, self.degrees = _kept(x.shape, axes), n - correction
        self.deviation = x - x.sum(axis=axes, keepdims=True) / n
        return (self.deviation * self.deviation).sum(axis=axes, keepdims=keepdims) / self.degrees  # (4)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy.reshape(self.kept) * (2 / self.degrees) * self.deviation,)  # (4)


def var(x: Any, axis: Axis = None, keepdims: bool = False, *, correction: float = 0) -> Tensor:
    """Variance of the elements along axes.

    Args:
        x: any shape.
        axis: the axis or axes to reduce, negative ones counted from the end; None for all.
        keepdims: keep the reduced axes with length 1, so that the result broadcasts against `x`.
        correction: c; the sum of squares is divided by n − c.  0 is the variance of the elements themselves, as in
            normalisation layers and `numpy.var`; 1 is unbiased for a sample, and the default of `torch.var`.

    Returns:
        Tensor without the reduced axes.

    Raises:
        ValueError: not more than `correction` elements, or an axis is out of range or named twice.

    Example:
        >>> var([1.0, 2.0, 3.0]).item(), var([1.0, 2.0, 3.0], correction=1).item()
        (0.6666666865348816, 1.0)
    """
    x = as_tensor(x)
    axes = several_axes("var", axis, x.ndim)
    correction = number("var", "correction", correction)
    n = _group_size("var", x, axes)
    if not 0 <= correction < n:
        raise ValueError(f"var: correction must be in [0, n) with n={n} elements along axis {axes}, got {correction}")
    return Var.apply(x, axes=axes, keepdims=keepdims, n=n, correction=correction)


class LogSumExp(Function):
    """y = ln Σ eˣ; see (5)."""

    def forward(self, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        xp = self.xp
        m = x.max(axis=axes, keepdims=True)
        s = xp.exp(x - xp.where(xp.isfinite(m), m, 0)).sum(axis=axes, keepdims=True)  # ±∞ − ±∞ would be NaN
        self.x, self.y = x, m + xp.log(xp.where(s == 0, 1, s))  # (5)  s = 0 where all x = −∞
        return self.y if keepdims else self.y.squeeze(axes)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        y = self.xp.where(self.y == -np.inf, 0, self.y)  # e^(−∞ − 0) = 0
        return (gy.reshape(self.y.shape) * self.xp.exp(self.x - y),)  # (5)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Logarithm of the sum of the exponentials along axes, without overflow.

    An element −∞ counts as nothing; where all are −∞ so is the result, and the gradient is 0.  An element +∞ gives
    +∞, whose gradient is NaN with NumPy's RuntimeWarning.

    Args:
        x: any shape.
        axis: the axis or axes to reduce, negative ones counted from the end; None for all.
        keepdims: keep the reduced axes with length 1, so that the result broadcasts against `x`.

    Returns:
        Tensor without the reduced axes.

    Raises:
        ValueError: there is no element to reduce, or an axis is out of range or named twice.

    Example:
        >>> logsumexp([1000.0, 1000.0]).data.round(3)
        np.float32(1000.693)
    """
    x = as_tensor(x)
    axes = several_axes("logsumexp", axis, x.ndim)
    _group_size("logsumexp", x, axes)
    return LogSumExp.apply(x, axes=axes, keepdims=keepdims)
