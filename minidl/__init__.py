"""minidl: a readable, proved reference for deep-learning gradients, in plain NumPy and CuPy."""

from minidl import ops
from minidl.autograd import Function, Tensor, no_grad

__all__ = ["Function", "Tensor", "no_grad", "ops"]
__version__ = "0.1.0"
