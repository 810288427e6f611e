r"""Activations: functions of one element.  gy = ∂L/∂y.

    tanh         y = tanh x                               gx = gy (1 − y²)                              (1)
    sigmoid      y = σ(x) = 1 / (1 + e⁻ˣ)                 gx = gy y (1 − y)                             (2)
    softplus     y = ln(1 + e^{βx}) / β                   gx = gy σ(βx)                                 (3)
    relu         y = max(x, 0)                            gx = gy [x > 0]                               (4)
    leaky_relu   y = x if x > 0, else a x                 gx = gy [x > 0] + a gy [x ≤ 0]                (5)
    silu         y = x σ(x)                               gx = gy s (1 + x (1 − s)),  s = σ(x)          (6)
    gelu         y = x Φ(x)                               gx = gy (Φ(x) + x φ(x))                       (7)
    gelu, tanh   y = x (1 + t)/2,  t = tanh u,            gx = gy ((1 + t)/2 + x (1 − t²) u'/2),        (8)
                 u = √(2/π) (x + 0.044715 x³)             u' = √(2/π) (1 + 3 · 0.044715 x²)
    add_relu     y = max(a + b, 0)                        ga = gb = gy [y > 0]                          (12)

At the kink x = 0, (4) and (12) choose the subgradient 0 and (5) chooses a.

Without overflow, and to full relative precision in both tails, since e⁻ˣ is taken of |x| only:

    σ(x)         = e^{min(x, 0)} / (1 + e^{−|x|})                                                       (9)
    ln(1 + eˣ)   = max(x, 0) + ln(1 + e^{−|x|})                                                        (10)

Φ and φ are the distribution function and density of the standard normal, Φ(−z√2) = erfc(z)/2.  NumPy has no erfc,
but the trapezoidal rule on erfc(z) = (2z/π) e^{−z²} ∫_0^∞ e^{−t²} / (z² + t²) dt, at the midpoints t_k = (k + ½) h
and with the residue at the pole t = iz, converges like e^{−π²/h²} (Chiarella and Reichel 1968; Hunter and Regan 1972):

    erfc(z) ≈ (2hz/π) e^{−z²} Σ_k e^{−t_k²} / (z² + t_k²)  +  2 / (1 + e^{2πz/h})  if z < π/h           (11)

Every term is positive, so nothing cancels: the relative error stays below (4 + z²) ε for all z ≥ 0, ε the precision
of the dtype and z² from rounding the exponent; tests/test_activation.py measures it against math.erfc.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops._broadcast import operands, sum_to
from minidl.ops._check import choice, number

__all__ = ["add_relu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh"]


def _minus_abs(xp: ModuleType, x: Array) -> Array:
    """−|x|, as min(x, −x), which also holds on complex x near the real axis."""
    return xp.minimum(x, -x)


def _sigmoid(xp: ModuleType, x: Array) -> Array:
    """σ(x) by (9)."""
    return xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(_minus_abs(xp, x)))


def _erfc(xp: ModuleType, z: Array) -> Array:
    """erfc(z) for z ≥ 0 by (11), to the precision of z."""
    h, terms = (0.75, 6) if z.dtype == np.float32 else (0.5, 13)  # e^{−π²/h²} = 2e-8 and 7e-18
    square = z * z
    total = sum(math.exp(-(t**2)) / (square + t**2) for t in ((k + 0.5) * h for k in range(terms)))
    decay = xp.exp(z * (-2 * math.pi / h))  # 2 / (1 + e^{a}) = 2 e^{−a} / (1 + e^{−a}): no overflow
    residue = xp.where(z.real < math.pi / h, 2 * decay / (1 + decay), 0)
    return (2 * h / math.pi) * z * xp.exp(-square) * total + residue


def _normal_cdf(xp: ModuleType, x: Array) -> Array:
    """Φ(x), to full relative precision for x < 0 too."""
    tail = _erfc(xp, _minus_abs(xp, x) * -math.sqrt(0.5)) / 2  # Φ(−|x|)
    return xp.where(x.real < 0, tail, 1 - tail)


class Tanh(Function):
    """y = tanh x; see (1)."""

    def forward(self, x: Array) -> Array:
        self.y = self.xp.tanh(x)  # (1)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy * (1 - self.y * self.y),)  # (1)


def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent, in (−1, 1).

    Args:
        x: any shape; ±∞ gives ±1.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> tanh([0.0, 1.0]).data.round(4)
        array([0.    , 0.7616], dtype=float32)
    """
    return Tanh.apply(as_tensor(x))


class Sigmoid(Function):
    """y = σ(x); see (2)."""

    def forward(self, x: Array) -> Array:
        self.y = _sigmoid(self.xp, x)  # (2), (9)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy * self.y * (1 - self.y),)  # (2)


def sigmoid(x: Any) -> Tensor:
    """Logistic function 1 / (1 + e⁻ˣ), in (0, 1).

    Args:
        x: any shape.  No value overflows; −∞ gives 0 and ∞ gives 1, both with gradient 0.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> sigmoid([-1000.0, 0.0, 1000.0]).data
        array([0. , 0.5, 1. ], dtype=float32)
    """
    return Sigmoid.apply(as_tensor(x))


class Softplus(Function):
    """y = ln(1 + e^{βx}) / β; see (3)."""

    def forward(self, x: Array, *, beta: float) -> Array:
        xp = self.xp
        self.z = z = beta * x
        return (xp.maximum(z, 0) + xp.log1p(xp.exp(_minus_abs(xp, z)))) / beta  # (3), (10)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy * _sigmoid(self.xp, self.z),)  # (3)


def softplus(x: Any, beta: float = 1.0) -> Tensor:
    """Smooth, positive form of `relu`: ln(1 + e^{βx}) / β.

    Args:
        x: any shape.  No value overflows; −∞ gives 0 and ∞ gives ∞.
        beta: sharpness > 0; the distance to `relu` is at most ln 2 / β, reached at 0.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: `beta` is not > 0.

    Example:
        >>> softplus([-1000.0, 0.0, 10.0]).data.round(4)
        array([ 0.    ,  0.6931, 10.    ], dtype=float32)
    """
    beta = number("softplus", "beta", beta)
    if beta <= 0:
        raise ValueError(f"softplus: beta must be > 0, got {beta}")
    return Softplus.apply(as_tensor(x), beta=beta)


class ReLU(Function):
    """y = max(x, 0); see (4)."""

    def forward(self, x: Array) -> Array:
        self.y = self.kernels.relu(x)  # (4)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (self.kernels.relu_adjoint(gy, self.y),)  # (4)  y > 0 where x > 0; x itself need not be kept


def relu(x: Any) -> Tensor:
    """Rectifier max(x, 0).

    Args:
        x: any shape.  At 0 the gradient is 0.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> relu([-1.0, 2.0]).data
        array([0., 2.], dtype=float32)
    """
    return ReLU.apply(as_tensor(x))


class AddReLU(Function):
    """y = max(a + b, 0); see (12)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        self.y = self.kernels.add_relu(a, b)  # (12)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        g = self.kernels.relu_adjoint(gy, self.y)  # (12)
        shapes = zip(self.shapes, self.needs_grad, strict=True)
        return tuple(sum_to(g, shape) if needed else None for shape, needed in shapes)


def add_relu(a: Any, b: Any) -> Tensor:
    """Rectified sum max(a + b, 0), the end of a residual block, in one pass: not a bit differs from `relu(a + b)`.

    Args:
        a, b: shapes that broadcast, same dtype; one may be a number, which takes the dtype of the other.
            Where the sum is 0 both gradients are 0.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: float32 and float64 are mixed.

    Example:
        >>> add_relu([1.0, 2.0], [-3.0, 3.0]).data
        array([0., 5.], dtype=float32)
    """
    return AddReLU.apply(*operands("add_relu", a, b))


class LeakyReLU(Function):
    """y = x if x > 0, else a x; see (5)."""

    def forward(self, x: Array, *, negative_slope: float) -> Array:
        self.slope = self.xp.where(x.real > 0, 1, negative_slope).astype(x.real.dtype)  # [x > 0] + a [x ≤ 0]
        return self.slope * x  # (5)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (self.slope * gy,)  # (5)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """Rectifier that lets negative elements through, scaled.

    Args:
        x: any shape.  At 0 the gradient is `negative_slope`.
        negative_slope: the factor a of elements <= 0.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: `negative_slope` is not a number.

    Example:
        >>> leaky_relu([-1.0, 2.0], negative_slope=0.5).data
        array([-0.5,  2. ], dtype=float32)
    """
    negative_slope = number("leaky_relu", "negative_slope", negative_slope)
    return LeakyReLU.apply(as_tensor(x), negative_slope=negative_slope)


class SiLU(Function):
    """y = x σ(x); see (6)."""

    def forward(self, x: Array) -> Array:
        xp = self.xp
        self.x, self.s = x, _sigmoid(xp, x)
        return xp.maximum(x, -800) * self.s  # (6)  σ(−800) = 0, so that −∞ gives 0, not −∞ · 0

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        x = self.xp.clip(self.x, -800, 800)  # x (1 − s) = 0 beyond: not ∞ · 0
        return (gy * self.s * (1 + x * (1 - self.s)),)  # (6)


def silu(x: Any) -> Tensor:
    """Sigmoid linear unit x σ(x), also called swish.

    Args:
        x: any shape.  No value overflows; −∞ gives 0, its limit, and ∞ gives ∞.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> silu([-1.0, 0.0, 1.0]).data.round(4)
        array([-0.2689,  0.    ,  0.7311], dtype=float32)
    """
    return SiLU.apply(as_tensor(x))


class GELU(Function):
    """y = x Φ(x); see (7)."""

    def forward(self, x: Array) -> Array:
        self.x = self.xp.clip(x, -40, 40)  # Φ(−40) = 0 in float64 already; −∞ gives 0, its limit, not −∞ · 0
        self.cdf = _normal_cdf(self.xp, self.x)  # (11)
        return self.xp.maximum(x, -40) * self.cdf  # (7)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        density = self.xp.exp(self.x * self.x / -2) / math.sqrt(2 * math.pi)
        return (gy * (self.cdf + self.x * density),)  # (7)


class GELUTanh(Function):
    """y ≈ x Φ(x), Φ by a hyperbolic tangent; see (8)."""

    def forward(self, x: Array) -> Array:
        self.x = self.xp.clip(x, -40, 40)  # tanh u = ±1 beyond
        self.t = self.xp.tanh(math.sqrt(2 / math.pi) * (self.x + 0.044715 * self.x * self.x * self.x))
        return self.xp.maximum(x, -40) * ((1 + self.t) / 2)  # (8)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        x, t = self.x, self.t
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        return (gy * ((1 + t) / 2 + x * (1 - t * t) * slope / 2),)  # (8)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit x Φ(x), Φ the standard normal distribution function (Hendrycks and Gimpel 2016).

    Args:
        x: any shape.  −∞ gives 0, its limit, and ∞ gives ∞.
        approximate: "none" for Φ to the precision of `x`; "tanh" for the cheaper (8), within 5e-4 of it.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: `approximate` is neither.

    Example:
        >>> gelu([-1.0, 0.0, 1.0]).data.round(4)
        array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    choice("gelu", "approximate", approximate, ("none", "tanh"))
    return (GELUTanh if approximate == "tanh" else GELU).apply(as_tensor(x))
