"""Activations as layers."""

from __future__ import annotations

from minidl import ops
from minidl.autograd import Tensor
from minidl.nn.module import Module
from minidl.nn.norm import BatchNorm1d, BatchNorm2d


class ReLU(Module):
    """max(x, 0); see `ops.relu`.  What comes before it can take it along in the same pass: `after_norm`, `after_sum`.

    Both give what the layers one after the other give, to the last bit, and run them one after the other where a
    forward hook watches one of them.

    Example:
        >>> ReLU()(Tensor([-1.0, 2.0])).data
        array([0., 2.], dtype=float32)
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


def after_norm(relu: Module, norm: Module, x: Tensor) -> Tensor:
    """relu(norm(x)), in one pass where the two layers are plain.

    Args:
        relu: an activation.
        norm: a normalisation.
        x: what it takes.

    Returns:
        Tensor of the shape of `x`.

    Example:
        >>> after_norm(ReLU(), BatchNorm1d(1), Tensor([[-1.0], [1.0]])).data.round(3)
        array([[0.],
               [1.]], dtype=float32)
    """
    joined = type(norm) in (BatchNorm1d, BatchNorm2d) and type(relu) is ReLU
    return norm(x, relu=True) if joined and not (norm.is_watched or relu.is_watched) else relu(norm(x))


def after_sum(relu: Module, a: Tensor, b: Tensor) -> Tensor:
    """relu(a + b), in one pass where `relu` is a plain `ReLU`.

    Args:
        relu: an activation.
        a, b: of one shape.

    Returns:
        Tensor of that shape.

    Example:
        >>> after_sum(ReLU(), Tensor([1.0, 2.0]), Tensor([-3.0, 3.0])).data
        array([0., 5.], dtype=float32)
    """
    return ops.add_relu(a, b) if type(relu) is ReLU and not relu.is_watched else relu(a + b)


class ReLU6(Module):
    """min(max(x, 0), 6), MobileNet's.

    Example:
        >>> ReLU6()(Tensor([-1.0, 2.0, 9.0])).data
        array([0., 2., 6.], dtype=float32)
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.clip(x, 0.0, 6.0)


class LeakyReLU(Module):
    """x where positive, `negative_slope`·x elsewhere; see `ops.leaky_relu`.

    Args:
        negative_slope: the slope below 0.

    Example:
        >>> LeakyReLU(0.5)(Tensor([-1.0, 2.0])).data
        array([-0.5,  2. ], dtype=float32)
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, negative_slope=self.negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope:g}"


class SiLU(Module):
    """x·sigmoid(x); see `ops.silu`.

    Example:
        >>> SiLU()(Tensor([0.0, 1.0])).data.round(4)
        array([0.    , 0.7311], dtype=float32)
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.silu(x)


class GELU(Module):
    """x·Φ(x); see `ops.gelu`.

    Args:
        approximate: "none", or "tanh" for the approximation by a hyperbolic tangent.

    Example:
        >>> GELU()(Tensor([0.0, 1.0])).data.round(4)
        array([0.    , 0.8413], dtype=float32)
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return ops.gelu(x, approximate=self.approximate)


class Sigmoid(Module):
    """1/(1 + e⁻ˣ); see `ops.sigmoid`.

    Example:
        >>> Sigmoid()(Tensor([0.0])).data
        array([0.5], dtype=float32)
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


class Tanh(Module):
    """tanh x; see `ops.tanh`.

    Example:
        >>> Tanh()(Tensor([0.0, 1.0])).data.round(4)
        array([0.    , 0.7616], dtype=float32)
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


class Softplus(Module):
    """ln(1 + e^βx)/β; see `ops.softplus`.

    Args:
        beta: β > 0; the larger, the nearer to `ReLU`.

    Example:
        >>> Softplus()(Tensor([0.0])).data.round(4)
        array([0.6931], dtype=float32)
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return ops.softplus(x, beta=self.beta)
