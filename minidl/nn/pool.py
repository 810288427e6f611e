"""Pooling layers."""

from __future__ import annotations

from minidl import ops
from minidl.autograd import Tensor
from minidl.nn.module import Module

Size = int | tuple[int, int]


class _Pool(Module):
    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
    ) -> None:
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride

    def extra_repr(self) -> str:
        ceil = ", ceil_mode=True" if self.ceil_mode else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{ceil}"


class MaxPool2d(_Pool):
    """The largest value of each window; see `ops.max_pool2d`.

    Args:
        kernel_size, padding, dilation: an integer or (vertical, horizontal).
        stride: likewise; None for the size of the kernel.
        ceil_mode: round the output size up, so that the last rows and columns are covered.

    Example:
        >>> MaxPool2d(2)
        MaxPool2d(kernel_size=2, stride=2, padding=0)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool2d(_Pool):
    """The mean of each window; see `ops.avg_pool2d`.

    Args:
        kernel_size, padding: an integer or (vertical, horizontal).
        stride: likewise; None for the size of the kernel.
        ceil_mode: round the output size up, so that the last rows and columns are covered.
        count_include_pad: whether the zeros of the padding count as samples.

    Example:
        >>> AvgPool2d(3, stride=2, padding=1)
        AvgPool2d(kernel_size=3, stride=2, padding=1)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return ops.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, count_include_pad=self.count_include_pad
        )


class AdaptiveAvgPool2d(Module):
    """The mean of windows that divide the map into a grid of `output_size`; see `ops.adaptive_avg_pool2d`.

    Args:
        output_size: an integer or (vertical, horizontal); 1 is global average pooling.

    Example:
        >>> AdaptiveAvgPool2d(1)(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).data
        array([[[[2.5]]]], dtype=float32)
    """

    def __init__(self, output_size: Size) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"{self.output_size}"
