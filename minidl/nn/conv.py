"""Convolution layers."""

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

Size = int | tuple[int, int]


class _Conv(Module):
    """What both directions of convolution share: the arguments, and the parameters."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str,
        dilation: Size,
        groups: int,
        bias: bool,
        *,
        rng: np.random.Generator,
        weight_init: init.Initializer,
        bias_init: init.Initializer | None,
        transposed: bool,
    ) -> None:
        name = type(self).__name__
        self.in_channels = _check.integer(name, "in_channels", in_channels, minimum=1)
        self.out_channels = _check.integer(name, "out_channels", out_channels, minimum=1)
        self.kernel_size = _check.pair(name, "kernel_size", kernel_size, minimum=1)
        self.stride = _check.pair(name, "stride", stride, minimum=1)
        self.padding = padding if isinstance(padding, str) else _check.pair(name, "padding", padding, minimum=0)
        self.dilation = _check.pair(name, "dilation", dilation, minimum=1)
        self.groups = _check.integer(name, "groups", groups, minimum=1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups must divide in_channels and out_channels, got groups={groups}, "
                f"in_channels={in_channels}, out_channels={out_channels}"
            )
        rows, columns = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (rows, columns // groups, *self.kernel_size)
        bias_init = bias_init or partial(init.fan_in_uniform, fan_in=init.fans(shape)[0])
        self.weight = Parameter.owning(weight_init(shape, rng=rng))
        self.bias = Parameter.owning(bias_init((out_channels,), rng=rng)) if bias else None

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        parts += [f"padding={self.padding}"] if self.padding != (0, 0) else []
        parts += [f"dilation={self.dilation}"] if self.dilation != (1, 1) else []
        parts += [f"groups={self.groups}"] if self.groups != 1 else []
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join(parts)


class Conv2d(_Conv):
    """Two-dimensional convolution; see `ops.conv2d`.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size, stride, padding, dilation: an integer or (vertical, horizontal); padding also "same" or "valid".
        groups: G, which divides C and O.
        bias: whether each output channel has one.
        rng: where the initial values come from.
        weight_init, bias_init: functions of `nn.init`; by default uniform on ±1/√fan_in, as in PyTorch.

    Attributes:
        weight: shape (O, C/G, kh, kw).
        bias: shape (O,), or None.

    Example:
        >>> layer = Conv2d(3, 16, kernel_size=3, padding=1, bias=False, rng=np.random.default_rng(0))
        >>> layer
        Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
        >>> layer(Tensor(np.ones((2, 3, 8, 8), np.float32))).shape
        (2, 16, 8, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        weight_init: init.Initializer = init.fan_in_uniform,
        bias_init: init.Initializer | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            rng=rng,
            weight_init=weight_init,
            bias_init=bias_init,
            transposed=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        return ops.conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """C/G·kh·kw for every output."""
        return math.prod(y_shape) * math.prod(self.weight.shape[1:])


class ConvTranspose2d(_Conv):
    """Transposed two-dimensional convolution, the adjoint of `Conv2d` in x; see `ops.conv_transpose2d`.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size, stride, padding, dilation: an integer or (vertical, horizontal).
        output_padding: rows and columns added to the output at the bottom and right, less than the stride or dilation.
        groups: G, which divides C and O.
        bias: whether each output channel has one.
        rng: where the initial values come from.
        weight_init, bias_init: functions of `nn.init`; by default uniform on ±1/√fan_in, as in PyTorch.

    Attributes:
        weight: shape (C, O/G, kh, kw).
        bias: shape (O,), or None.

    Raises:
        ValueError: a number is out of its range, or `groups` divides not both numbers of channels.

    Example:
        >>> layer = ConvTranspose2d(8, 4, kernel_size=2, stride=2, rng=np.random.default_rng(0))
        >>> layer(Tensor(np.ones((1, 8, 5, 5), np.float32))).shape
        (1, 4, 10, 10)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        *,
        rng: np.random.Generator,
        weight_init: init.Initializer = init.fan_in_uniform,
        bias_init: init.Initializer | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            rng=rng,
            weight_init=weight_init,
            bias_init=bias_init,
            transposed=True,
        )
        self.output_padding = _check.pair("ConvTranspose2d", "output_padding", output_padding, minimum=0)

    def forward(self, x: Tensor) -> Tensor:
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,  # type: ignore[arg-type]  # never a str: see __init__
            output_padding=self.output_padding,
            groups=self.groups,
            dilation=self.dilation,
        )

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """O/G·kh·kw for every input."""
        return math.prod(x_shape) * math.prod(self.weight.shape[1:])
