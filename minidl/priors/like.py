"""A new layer among old ones."""

from __future__ import annotations

import numpy as np

from minidl.autograd import Tensor
from minidl.device import CPU, Device, get_array_module
from minidl.nn import Module

__all__ = ["like"]


def like(layer: Module, weight: Tensor) -> None:
    """Give `layer` the dtype and the device of `weight`."""
    xp = get_array_module(weight.data)
    layer.astype(weight.dtype).to(CPU if xp is np else Device("gpu", xp))
