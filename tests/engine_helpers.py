"""Two small Functions, and leaves, for the tests of the engine."""

from __future__ import annotations

import numpy as np

from minidl import Function, Tensor


class Double(Function):
    """y = 2 x."""

    def forward(self, x):
        self.kept = np.ones_like(x)  # something that backward would need
        return x + x

    def backward(self, gy):
        return (gy + gy,)


class Product(Function):
    """y = a b, of equal shapes."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward(self, gy):
        needs_ga, needs_gb = self.needs_grad
        return gy * self.b if needs_ga else None, gy * self.a if needs_gb else None


def leaf(*values: float, dtype: type = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)
