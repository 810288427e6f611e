r"""Functions in pieces: the result is one of several inputs, and the gradient goes where it came from.

Shapes broadcast; gy = ∂L/∂y; [·] is 1 where true and 0 elsewhere.  As everywhere, gradients are summed over the axes
along which their input was broadcast.

    abs         y = |x|                     gx = gy sign x                                                      (1)
    clip        y = min(max(x, lo), hi)     gx = gy [lo ≤ x ≤ hi]                                               (2)
    maximum     y = max(a, b)               ga = gy ([a > b] + ½ [a = b]),  gb = gy ([b > a] + ½ [a = b])       (3)
    minimum     y = min(a, b)               ga = gy ([a < b] + ½ [a = b]),  gb = gy ([b < a] + ½ [a = b])       (4)
    where       y = a if c, else b          ga = gy [c],                    gb = gy [not c]                     (5)

Subgradients at the kinks, PyTorch's choices: 0 for |x| at 0; 1 for clip at its bounds; an even share for operands
of maximum and minimum that are equal.  NaN is neither above nor below: it is passed on by (1)-(4).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array, asnumpy
from minidl.ops._broadcast import operands, sum_to
from minidl.ops._check import number

__all__ = ["abs", "clip", "maximum", "minimum", "where"]


class Abs(Function):
    """y = |x|; see (1)."""

    def forward(self, x: Array) -> Array:
        self.x = x
        return self.xp.where(x.real > 0, x, 0 - x)  # (1)  xp.abs would end the complex step; 0 − x, for +0 at 0

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy * self.xp.sign(self.x),)  # (1)


def abs(x: Any) -> Tensor:
    """Absolute value |x|; `abs(x)` on Tensors.

    Args:
        x: any shape.  At 0 the gradient is 0.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> abs([-1.5, 2.0]).data
        array([1.5, 2. ], dtype=float32)
    """
    return Abs.apply(as_tensor(x))


class Clip(Function):
    """y = min(max(x, lo), hi); see (2)."""

    def forward(self, x: Array, *, lo: float, hi: float) -> Array:
        self.inside = (x.real >= lo) & (x.real <= hi)
        return self.xp.clip(x, lo, hi)  # (2)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy * self.inside,)  # (2)


def clip(x: Any, min: float | None = None, max: float | None = None) -> Tensor:
    """Elements below `min` replaced by it, elements above `max` by that.

    Args:
        x: any shape.
        min, max: numbers; one of them may be None.  At a bound the gradient is 1, beyond it 0.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: neither bound is given, a bound is not a number, or `min` > `max`.

    Example:
        >>> clip([-1.0, 0.5, 2.0], 0.0, 1.0).data
        array([0. , 0.5, 1. ], dtype=float32)
    """
    if min is None and max is None:
        raise ValueError("clip: min or max must be given, got None for both")
    lo = -np.inf if min is None else number("clip", "min", min)
    hi = np.inf if max is None else number("clip", "max", max)
    if lo > hi:
        raise ValueError(f"clip: min must be <= max, got min={lo}, max={hi}")
    return Clip.apply(as_tensor(x), lo=lo, hi=hi)


class Maximum(Function):
    """y = max(a, b); see (3)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return self.xp.maximum(a, b)  # (3)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return _to_the_greater(self, gy, self.a, self.b)  # (3)


class Minimum(Function):
    """y = min(a, b); see (4)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return self.xp.minimum(a, b)  # (4)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return _to_the_greater(self, gy, -self.a, -self.b)  # (4)  min(a, b) = −max(−a, −b)


def _to_the_greater(fn: Function, gy: Array, a: Array, b: Array) -> tuple[Array | None, ...]:
    """The two gradients of (3)."""
    needs_ga, needs_gb = fn.needs_grad
    half = gy * (a == b) / 2
    ga = sum_to(gy * (a > b) + half, a.shape) if needs_ga else None
    gb = sum_to(gy * (b > a) + half, b.shape) if needs_gb else None
    return ga, gb


def maximum(a: Any, b: Any) -> Tensor:
    """The larger of a and b, element by element.

    Operands that are equal get half of the gradient each.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> maximum([1.0, 4.0], 3.0).data
        array([3., 4.], dtype=float32)
    """
    return Maximum.apply(*operands("maximum", a, b))


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of a and b, element by element.

    Operands that are equal get half of the gradient each.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> minimum([1.0, 4.0], 3.0).data
        array([1., 3.], dtype=float32)
    """
    return Minimum.apply(*operands("minimum", a, b))


class Where(Function):
    """y = a if c, else b; see (5)."""

    def forward(self, a: Array, b: Array, *, condition: np.ndarray) -> Array:
        self.c, self.shapes = self.xp.asarray(condition), (a.shape, b.shape)
        return self.xp.where(self.c, a, b)  # (5)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_ga, needs_gb = self.needs_grad
        ga = sum_to(self.xp.where(self.c, gy, 0), self.shapes[0]) if needs_ga else None  # (5)
        gb = sum_to(self.xp.where(self.c, 0, gy), self.shapes[1]) if needs_gb else None  # (5)
        return ga, gb


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """`a` where the condition holds, `b` elsewhere.

    Args:
        condition: booleans, copied.  Tensors have no comparisons: compare their `.data`.
        a, b: same dtype; one may be a number.  The three shapes broadcast.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        TypeError: the condition is not boolean.
        ValueError: the shapes do not broadcast.

    Example:
        >>> x = Tensor([-2.0, 3.0])
        >>> where(x.data > 0, x, 0.1 * x).data
        array([-0.2,  3. ], dtype=float32)
    """
    chosen = np.array(asnumpy(condition))
    if chosen.dtype != np.bool_:
        raise TypeError(f"where: condition must be boolean, got dtype {chosen.dtype}")
    a, b = operands("where", a, b)
    try:
        np.broadcast_shapes(chosen.shape, a.shape, b.shape)
    except ValueError:
        raise ValueError(f"where: shapes must broadcast, got {chosen.shape}, {a.shape} and {b.shape}") from None
    return Where.apply(a, b, condition=chosen)
