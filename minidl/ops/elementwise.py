r"""Smooth functions of one element, or of two that broadcast.

y is a function of a and b element by element, their shapes broadcast; gy = ∂L/∂y.  Every gradient below is
then summed over the axes along which its input was broadcast (`sum_to`, the adjoint of broadcasting).

    add     y = a + b         ga = gy               gb = gy                                     (1)
    sub     y = a − b         ga = gy               gb = −gy                                    (2)
    mul     y = a b           ga = gy b             gb = gy a                                   (3)
    div     y = a / b         ga = gy / b           gb = −gy y / b                              (4)
    pow     y = aᵇ            ga = gy b aᵇ⁻¹        gb = gy y ln a                              (5)

    neg     y = −x            gx = −gy                                                          (6)
    exp     y = eˣ            gx = gy y                                                         (7)
    log     y = ln x          gx = gy / x                                                       (8)
    sqrt    y = √x            gx = gy / 2y                                                      (9)
    astype  y = x             gx = gy, rounded back to the precision of x                      (10)

(4): ∂(a/b)/∂b = −a/b² = −y/b.  In (5) two products 0 · ∞ are 0: b aᵇ⁻¹ where b = 0, and y ln a where
a = 0 ≤ b, as their limits are, but at a = b = 0, where the second has none.  Outside the domain the result is
NumPy's: 1/0 = ∞, ln 0 = −∞, √−1 = NaN, with its warning.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops._broadcast import operands, sum_to

__all__ = ["add", "astype", "div", "exp", "log", "mul", "neg", "pow", "sqrt", "sub"]


class Add(Function):
    """y = a + b; see (1)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        return self.kernels.add(a, b)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_ga, needs_gb = self.needs_grad
        ga = sum_to(gy, self.shapes[0]) if needs_ga else None  # (1)
        gb = sum_to(gy, self.shapes[1]) if needs_gb else None  # (1)
        return ga, gb


def add(a: Any, b: Any) -> Tensor:
    """Sum a + b; `a + b` on Tensors.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> add([[1.0], [2.0]], [10.0, 20.0]).data
        array([[11., 21.],
               [12., 22.]], dtype=float32)
    """
    return Add.apply(*operands("add", a, b))


class Sub(Function):
    """y = a − b; see (2)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        return a - b  # (2)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_ga, needs_gb = self.needs_grad
        ga = sum_to(gy, self.shapes[0]) if needs_ga else None  # (2)
        gb = sum_to(-gy, self.shapes[1]) if needs_gb else None  # (2)
        return ga, gb


def sub(a: Any, b: Any) -> Tensor:
    """Difference a − b; `a - b` on Tensors.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> sub([3.0, 5.0], 1.0).data
        array([2., 4.], dtype=float32)
    """
    return Sub.apply(*operands("sub", a, b))


class Mul(Function):
    """y = a b; see (3)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return a * b  # (3)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_ga, needs_gb = self.needs_grad
        ga = sum_to(gy * self.b, self.a.shape) if needs_ga else None  # (3)
        gb = sum_to(gy * self.a, self.b.shape) if needs_gb else None  # (3)
        return ga, gb


def mul(a: Any, b: Any) -> Tensor:
    """Product a b, element by element; `a * b` on Tensors.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> mul([1.0, 2.0], [3.0, 4.0]).data
        array([3., 8.], dtype=float32)
    """
    return Mul.apply(*operands("mul", a, b))


class Div(Function):
    """y = a / b; see (4)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a_shape, self.b, self.y = a.shape, b, a / b  # (4)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_ga, needs_gb = self.needs_grad
        ga = sum_to(gy / self.b, self.a_shape) if needs_ga else None  # (4)
        gb = sum_to(-gy * self.y / self.b, self.b.shape) if needs_gb else None  # (4)
        return ga, gb


def div(a: Any, b: Any) -> Tensor:
    """Quotient a / b; `a / b` on Tensors.

    Division by zero gives ±∞ or NaN with NumPy's RuntimeWarning.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> div([1.0, 2.0], 4.0).data
        array([0.25, 0.5 ], dtype=float32)
    """
    return Div.apply(*operands("div", a, b))


class Pow(Function):
    """y = aᵇ; see (5)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b, self.y = a, b, a**b  # (5)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        xp, a, b, y = self.xp, self.a, self.b, self.y
        needs_ga, needs_gb = self.needs_grad
        ga = gb = None
        if needs_ga:
            slope = b * a ** xp.where(b == 0, 1, b - 1)  # b aᵇ⁻¹, and 0 · a where b = 0
            ga = sum_to(gy * slope, a.shape)  # (5)
        if needs_gb:
            slope = y * xp.log(xp.where((a == 0) & (b >= 0), 1, a))  # y ln a, and y ln 1 where a = 0 ≤ b
            gb = sum_to(gy * slope, b.shape)  # (5)
        return ga, gb


def pow(a: Any, b: Any) -> Tensor:
    """Power aᵇ; `a ** b` on Tensors.

    A negative base has a real power, and a gradient in `a`, at integer exponents; it has no gradient in `b` (NaN,
    with NumPy's RuntimeWarning).  At a = 0 the gradient in `a` is infinite for 0 < b < 1.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> pow([1.0, 2.0, 3.0], 2).data
        array([1., 4., 9.], dtype=float32)
    """
    return Pow.apply(*operands("pow", a, b))


class Neg(Function):
    """y = −x; see (6)."""

    def forward(self, x: Array) -> Array:
        return -x  # (6)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (-gy,)  # (6)


def neg(x: Any) -> Tensor:
    """Negative −x; `-x` on Tensors.

    Args:
        x: any shape.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> neg([1.0, -2.0]).data
        array([-1.,  2.], dtype=float32)
    """
    return Neg.apply(as_tensor(x))


class Exp(Function):
    """y = eˣ; see (7)."""

    def forward(self, x: Array) -> Array:
        self.y = self.xp.exp(x)  # (7)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy * self.y,)  # (7)


def exp(x: Any) -> Tensor:
    """Exponential eˣ.

    Args:
        x: any shape.  From about 88.7 (float32) or 709.8 (float64) on, the result is ∞.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> exp([0.0, 1.0]).data.round(4)
        array([1.    , 2.7183], dtype=float32)
    """
    return Exp.apply(as_tensor(x))


class Log(Function):
    """y = ln x; see (8)."""

    def forward(self, x: Array) -> Array:
        self.x = x
        return self.xp.log(x)  # (8)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy / self.x,)  # (8)


def log(x: Any) -> Tensor:
    """Natural logarithm ln x.

    Args:
        x: any shape, positive; 0 gives −∞, a negative number NaN, with NumPy's RuntimeWarning.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> log([1.0, 10.0]).data.round(4)
        array([0.    , 2.3026], dtype=float32)
    """
    return Log.apply(as_tensor(x))


class Sqrt(Function):
    """y = √x; see (9)."""

    def forward(self, x: Array) -> Array:
        self.y = self.xp.sqrt(x)  # (9)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy / (2 * self.y),)  # (9)


def sqrt(x: Any) -> Tensor:
    """Square root √x.

    Args:
        x: any shape, positive.  At 0 the gradient is infinite; a negative number gives NaN, with NumPy's
            RuntimeWarning.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> sqrt([4.0, 9.0]).data
        array([2., 3.], dtype=float32)
    """
    return Sqrt.apply(as_tensor(x))


class AsType(Function):
    """y = x in another precision; see (10)."""

    def forward(self, x: Array, *, dtype: np.dtype) -> Array:
        self.dtype = x.dtype
        return x if x.dtype.kind == "c" else x.astype(dtype, copy=False)  # (10)  complex: derivatives by complex step

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy.astype(self.dtype, copy=False),)  # (10)


def astype(x: Any, dtype: Any) -> Tensor:
    """The same values in float32 or float64: the one place where precision changes.

    Args:
        x: any shape.
        dtype: float32 or float64, as a NumPy dtype or its name.

    Returns:
        Tensor shaped like `x`; its gradient comes back in the precision of `x`.

    Raises:
        TypeError: another dtype.

    Example:
        >>> astype([0.5], "float64").data
        array([0.5])
    """
    x = as_tensor(x)
    try:
        target = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        target = None
    if target not in (np.float32, np.float64):
        raise TypeError(f"astype: dtype must be float32 or float64, got {dtype!r}")
    return AsType.apply(x, dtype=target)
