r"""Softmax and its logarithm.

p_i = exp(x_i) / Σ_j exp(x_j) along one axis.  A constant subtracted from every x_j changes nothing, so m = max_j x_j
is, and exp cannot overflow:

    p  = exp(x - m) / Σ exp(x - m)                                      (1)
    gx = p (gp - Σ gp p)                                                (2)

    ℓ  = log p = (x - m) - log Σ exp(x - m)                             (3)
    gx = gℓ - p Σ gℓ                                                    (4)

(2): ∂p_i/∂x_j = p_i (δ_ij - p_j).  (4): ∂ℓ_i/∂x_j = δ_ij - p_j.  No gradient flows through m, whose choice changes
nothing.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops._axes import one_axis

__all__ = ["log_softmax", "softmax"]


class Softmax(Function):
    """p = exp(x - m) / Σ exp(x - m); see (1), (2)."""

    def forward(self, x: Array, *, axis: int) -> Array:
        e = self.xp.exp(x - x.real.max(axis=axis, keepdims=True))
        self.axis, self.p = axis, e / e.sum(axis=axis, keepdims=True)  # (1)
        return self.p

    def backward(self, gp: Array) -> tuple[Array | None, ...]:
        return (self.p * (gp - (gp * self.p).sum(axis=self.axis, keepdims=True)),)  # (2)


class LogSoftmax(Function):
    """ℓ = (x - m) - log Σ exp(x - m); see (3), (4)."""

    def forward(self, x: Array, *, axis: int) -> Array:
        self.axis, self.logp = axis, log_probabilities(self.xp, x, axis)  # (3)
        return self.logp

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy - self.xp.exp(self.logp) * gy.sum(axis=self.axis, keepdims=True),)  # (4)


def log_probabilities(xp: ModuleType, x: Array, axis: int) -> Array:
    """ℓ of (3)."""
    shifted = x - x.real.max(axis=axis, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """Probabilities exp(x) / Σ exp(x) along `axis`, for logits of any size.

    Args:
        x: any shape with at least one axis.
        axis: the axis whose entries will sum to 1.

    Returns:
        Tensor of x's shape.  A row that holds NaN or +∞, or nothing but -∞, becomes NaN.

    Raises:
        ValueError: there is no such axis, or it has length 0.

    Example:
        >>> softmax([0.0, 0.0, 1000.0]).data
        array([0., 0., 1.], dtype=float32)
    """
    x = as_tensor(x)
    return Softmax.apply(x, axis=_classes("softmax", x, axis))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log softmax(x) along `axis`, finite where the softmax itself would round to 0.

    Args:
        x: any shape with at least one axis.
        axis: the axis along which the exponentials of the result will sum to 1.

    Returns:
        Tensor of x's shape.  A row that holds NaN or +∞, or nothing but -∞, becomes NaN.

    Raises:
        ValueError: there is no such axis, or it has length 0.

    Example:
        >>> log_softmax([0.0, 0.0, 1000.0]).data
        array([-1000., -1000.,     0.], dtype=float32)
    """
    x = as_tensor(x)
    return LogSoftmax.apply(x, axis=_classes("log_softmax", x, axis))


def _classes(op: str, x: Tensor, axis: int) -> int:
    """`axis` as a non-negative number, refused if there is nothing along it to sum to 1."""
    axis = one_axis(op, axis, x.ndim)
    if x.shape[axis] == 0:
        raise ValueError(f"{op}: axis {axis} must not be empty, got x of shape {x.shape}")
    return axis
