"""The windows of a pooling: where they lie, and by how much their sums are divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd import Tensor
from minidl.kernels.geometry import Pair, output_length, taps_inside
from minidl.ops import _check


@dataclass(frozen=True)
class Windows:
    """Sliding windows on a map of `size`, everything as (vertical, horizontal)."""

    size: Pair
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    output_size: Pair

    @property
    def place(self) -> tuple[Pair, Pair, Pair]:
        """What the adjoints of the windowed kernels ask for, in their order."""
        return self.kernel_size, self.stride, self.padding

    def inside(self) -> np.ndarray:
        """How many taps of each window lie on the map, (Ho, Wo)."""
        rows, columns = (
            _count_inside(*axis) for axis in zip(self.size, self.output_size, *self.place, self.dilation, strict=True)
        )
        return np.outer(rows, columns)

    def counted(self) -> np.ndarray:
        """How many taps of each window lie on the map or its padding, (Ho, Wo).

        Under `ceil_mode` the last window may reach beyond the padding, which is not counted.
        """
        rows, columns = (
            np.minimum(np.arange(count) * stride - padding + kernel, length + padding)
            - (np.arange(count) * stride - padding)
            for length, count, kernel, stride, padding in zip(self.size, self.output_size, *self.place, strict=True)
        )
        return np.outer(rows, columns)


def windows(
    op: str,
    x: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Windows:
    """The windows of `op` on `x` (N, C, H, W), or a ValueError that says why there are none."""
    _check.ndim(op, "x", x.shape, "NCHW")
    kernel = _check.pair(op, "kernel_size", kernel_size, minimum=1)
    step = kernel if stride is None else _check.pair(op, "stride", stride, minimum=1)
    pad = _check.pair(op, "padding", padding, minimum=0)
    spread = _check.pair(op, "dilation", dilation, minimum=1)
    if any(p > k // 2 for p, k in zip(pad, kernel, strict=True)):
        raise ValueError(f"{op}: padding must be at most half of kernel_size, got padding={pad}, kernel_size={kernel}")
    height, width = (
        _output_length(*axis, ceil_mode) for axis in zip(x.shape[2:], kernel, step, pad, spread, strict=True)
    )
    if min(height, width, *x.shape[2:]) < 1:
        raise ValueError(
            f"{op}: the map with its padding must hold one window, got x {x.shape}, kernel_size={kernel}, "
            f"padding={pad}, dilation={spread}"
        )
    found = Windows((x.shape[2], x.shape[3]), kernel, step, pad, spread, (height, width))
    if spread != (1, 1) and not found.inside().all():
        raise ValueError(
            f"{op}: every window must reach the map, got one wholly in the padding: x {x.shape}, "
            f"kernel_size={kernel}, padding={pad}, dilation={spread}"
        )
    return found


def _output_length(length: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows there are: with `ceil_mode` also one that is cut off, if it begins on the map or before it."""
    count = output_length(length, kernel, stride, (padding, padding + (stride - 1 if ceil_mode else 0)), dilation)
    if ceil_mode and (count - 1) * stride >= length + padding:
        count -= 1
    return count


def _count_inside(length: int, count: int, kernel: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    inside = np.zeros(count, int)
    for _, outputs, _ in taps_inside(length, count, kernel, stride, padding, dilation):
        inside[outputs] += 1
    return inside
