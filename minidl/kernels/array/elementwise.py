"""Functions of one element that large feature maps go through at every layer."""

from __future__ import annotations

from minidl.device import Array, get_array_module

__all__ = ["add", "add_relu", "relu", "relu_adjoint"]


def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    return get_array_module(x).maximum(x, 0)


def relu_adjoint(gy: Array, y: Array) -> Array:
    """gx = gy where y > 0, else 0.  As x > 0 where y > 0, x need not be kept."""
    return get_array_module(y).where(y > 0, gy, 0)


def add(a: Array, b: Array) -> Array:
    """a + b."""
    return a + b


def add_relu(a: Array, b: Array) -> Array:
    """max(a + b, 0)."""
    return relu(a + b)
