"""The two kinds of Tensor that a Module owns."""

from __future__ import annotations

from typing import Any, cast

from minidl.autograd import Tensor
from minidl.device import Array
from minidl.guards import frozen


class Parameter(Tensor):
    """A Tensor that an optimizer trains: an attribute of a Module, requires_grad by default.

    Args:
        data: array or nested list of numbers, of any shape; copied, as by `Tensor`.
        requires_grad: whether it has a gradient; False freezes it.

    Example:
        >>> Parameter([1.0, 2.0])
        Parameter([1. 2.], float32, requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, *, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)

    @classmethod
    def owning(cls, array: Array) -> Parameter:
        """A Parameter around a floating-point array that nobody else will write to: no copy."""
        self = cast(Parameter, cls._owning(array))
        self.requires_grad = True
        return self

    def adopt(self, array: Array) -> None:
        """Make `array`, of this parameter's shape, its data without a copy: nobody may write to it from now on."""
        self._data = frozen(array)

    def __repr__(self) -> str:
        return super().__repr__().replace("Tensor(", "Parameter(", 1)


class Buffer(Tensor):
    """A Tensor that belongs to a Module's state but is not trained: BatchNorm's running mean, say.

    Example:
        >>> Buffer([0.0]).requires_grad
        False
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__().replace("Tensor(", "Buffer(", 1)
