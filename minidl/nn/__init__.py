"""Layers: parameters with names, and nothing else; the mathematics is in `minidl.ops`.

Arguments, parameter names and initial distributions are PyTorch's, so that state dicts go back and forth.
Where values are drawn, the generator is an argument: `Conv2d(3, 16, 3, rng=rng)`.
"""

from minidl.nn import init
from minidl.nn.activation import GELU, LeakyReLU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh, after_norm, after_sum
from minidl.nn.container import Flatten, Identity, ModuleList, Sequential
from minidl.nn.conv import Conv2d, ConvTranspose2d
from minidl.nn.dropout import Dropout
from minidl.nn.linear import Linear
from minidl.nn.module import Module
from minidl.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from minidl.nn.parameter import Buffer, Parameter
from minidl.nn.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "after_norm",
    "after_sum",
    "init",
]
