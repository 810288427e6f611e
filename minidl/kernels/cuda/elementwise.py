"""Functions of one element (src/elementwise.cu), in one launch each, the order in memory kept.

CuPy's own would return C order for maps that lie channels last, and the next kernel would have to turn them back.
"""

from __future__ import annotations

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.array import elementwise as array
from minidl.kernels.cuda.launch import computes, launch, ring

__all__ = ["add", "add_relu", "relu", "relu_adjoint"]


def relu(x: Array) -> Array:
    """As `array.relu`."""
    if not computes(x):
        return array.relu(x)
    return _run("relu", [x])


def relu_adjoint(gy: Array, y: Array) -> Array:
    """As `array.relu_adjoint`."""
    if not computes(gy, y) or gy.shape != y.shape:
        return array.relu_adjoint(gy, y)
    return _run("relu_adjoint", [gy, y])


def add(a: Array, b: Array) -> Array:
    """As `array.add`."""
    if not computes(a, b) or a.shape != b.shape:
        return array.add(a, b)
    return _run("add", [a, b], np.bool_(False))


def add_relu(a: Array, b: Array) -> Array:
    """As `array.add_relu`."""
    if not computes(a, b) or a.shape != b.shape:
        return array.add_relu(a, b)
    return _run("add", [a, b], np.bool_(True))


def _run(name: str, arrays: list[Array], *scalars: np.generic) -> Array:
    """Kernel `name` on arrays of one shape; the result lies in memory as the last of them does, if that is dense."""
    xp, like = get_array_module(*arrays), arrays[-1]
    order = sorted(range(like.ndim), key=lambda axis: -like.strides[axis])
    dense = [xp.ascontiguousarray(a.transpose(order)) for a in arrays]
    y = xp.empty(like.transpose(order).shape, like.dtype)  # of no dimension, where `dense` has one
    launch(name, like.dtype, *ring(like.size), *dense, y, *scalars, np.int64(like.size))
    return y.transpose(sorted(range(like.ndim), key=order.__getitem__))
