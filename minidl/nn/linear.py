"""Fully connected layers."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.nn import init
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.ops import _check


class Linear(Module):
    """y = x Wᵀ + b on the last axis; see `ops.linear`.

    Args:
        in_features: K.
        out_features: O.
        bias: whether b is there.
        rng: where the initial values come from.
        weight_init, bias_init: functions of `nn.init`; by default uniform on ±1/√K, as in PyTorch.

    Attributes:
        weight: shape (O, K).
        bias: shape (O,), or None.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> layer = Linear(3, 2, rng=np.random.default_rng(0))
        >>> layer, layer(Tensor(np.ones((5, 3), np.float32))).shape
        (Linear(3, 2), (5, 2))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        weight_init: init.Initializer = init.fan_in_uniform,
        bias_init: init.Initializer | None = None,
    ) -> None:
        self.in_features = _check.integer("Linear", "in_features", in_features, minimum=1)
        self.out_features = _check.integer("Linear", "out_features", out_features, minimum=1)
        bias_init = bias_init or partial(init.fan_in_uniform, fan_in=in_features)
        self.weight = Parameter.owning(weight_init((out_features, in_features), rng=rng))
        self.bias = Parameter.owning(bias_init((out_features,), rng=rng)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """K for every output."""
        return math.prod(y_shape) * self.in_features

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"
