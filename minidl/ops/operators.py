"""Python's operators and methods on Tensors: one table of which op each of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from minidl.autograd import Tensor
from minidl.ops import activation, elementwise, index, piecewise, products, reduce, shape


def _reflected(op: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    """`b + a` where only `a` is a Tensor, as Python asks for it: a.__radd__(b)."""
    return lambda a, b: op(b, a)


def _given_one_by_one(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`x.reshape(2, 3)` as well as `x.reshape((2, 3))`, `x.transpose()` as well as `x.transpose(None)`."""

    def method(x: Tensor, *values: Any) -> Tensor:
        return op(x, *values) if len(values) < 2 else op(x, values)

    method.__doc__ = op.__doc__
    return method


def _rows(x: Tensor) -> Iterator[Tensor]:
    """The slices along the first axis, for `for row in x`; a Tensor without axes has none (TypeError)."""
    return (index.getitem(x, i) for i in range(len(x)))


_BINARY = {
    "add": elementwise.add,
    "sub": elementwise.sub,
    "mul": elementwise.mul,
    "truediv": elementwise.div,
    "pow": elementwise.pow,
    "matmul": products.matmul,
}

_METHODS: dict[str, Any] = {
    "__neg__": elementwise.neg,
    "__abs__": piecewise.abs,
    "__getitem__": index.getitem,
    "__iter__": _rows,
    "abs": piecewise.abs,
    "clip": piecewise.clip,
    "exp": elementwise.exp,
    "log": elementwise.log,
    "sqrt": elementwise.sqrt,
    "astype": elementwise.astype,
    "tanh": activation.tanh,
    "sigmoid": activation.sigmoid,
    "relu": activation.relu,
    "sum": reduce.sum,
    "mean": reduce.mean,
    "max": reduce.max,
    "min": reduce.min,
    "var": reduce.var,
    "logsumexp": reduce.logsumexp,
    "reshape": _given_one_by_one(shape.reshape),
    "transpose": _given_one_by_one(shape.transpose),
    "broadcast_to": _given_one_by_one(shape.broadcast_to),
    "flatten": shape.flatten,
    "squeeze": shape.squeeze,
    "expand_dims": shape.expand_dims,
    "flip": shape.flip,
    "split": index.split,
    "take": index.take,
    "T": property(lambda x: shape.transpose(x), doc="The axes reversed."),
}

for _name, _op in _BINARY.items():
    setattr(Tensor, f"__{_name}__", _op)
    setattr(Tensor, f"__r{_name}__", _reflected(_op))
for _name, _op in _METHODS.items():
    setattr(Tensor, _name, _op)
