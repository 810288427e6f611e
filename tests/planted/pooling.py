"""Pooling with mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.planted import planted


def both(value):
    return value if isinstance(value, tuple) else (value, value)


@planted("max_pool2d", "padding with zeros")
def pads_the_map_with_zeros(x, kernel_size, stride=None, padding=0):
    h, w = both(padding)
    return F.max_pool2d(F.pad(x, (w, w, h, h)), kernel_size, stride)


@planted("max_pool2d", "ceil_mode ignored")
def always_rounds_down(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return F.max_pool2d(x, kernel_size, stride, padding, dilation)


@planted("max_pool2d", "default stride 1")
def slides_by_one(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return F.max_pool2d(x, kernel_size, stride or 1, padding, dilation, ceil_mode)


@planted("max_pool2d", "kernel_size: height and width swapped")
def window_lies_down(x, kernel_size, stride=None, padding=0):
    h, w = both(kernel_size)
    return F.max_pool2d(x, (w, h), kernel_size if stride is None else stride, padding)


@planted("max_pool2d", "overlapping windows overwrite", F.max_pool2d)
def scatters_without_adding(gy, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    _, index = F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    gx = torch.zeros_like(x).flatten(2)
    return gx.scatter(2, index.flatten(2), gy.flatten(2)).view_as(x)


@planted("max_pool2d", "cotangent ignored", F.max_pool2d)
def gradient_is_the_mask(gy, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    _, index = F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    gx = torch.zeros_like(x).flatten(2)
    return gx.scatter_add(2, index.flatten(2), torch.ones_like(gy).flatten(2)).view_as(x)


@planted("avg_pool2d", "count_include_pad")
def never_counts_padding(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, not count_include_pad)


@planted("avg_pool2d", "sum instead of mean")
def forgets_to_divide(x, kernel_size, stride=None, padding=0):
    return F.avg_pool2d(x, kernel_size, stride, padding, divisor_override=1)


@planted("avg_pool2d", "window beyond the padding counted")
def divides_by_the_whole_kernel(x, kernel_size, stride=None, padding=0, ceil_mode=False):
    h, w = both(kernel_size)
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, divisor_override=h * w)


@planted("avg_pool2d", "cotangent given to the whole window", F.avg_pool2d)
def gradient_not_divided(gy, x, kernel_size, stride=None, padding=0):
    h, w = both(kernel_size)
    columns = gy.reshape(len(x) * x.shape[1], 1, -1).expand(-1, h * w, -1)
    step = kernel_size if stride is None else stride
    return F.fold(columns, x.shape[2:], kernel_size, padding=padding, stride=step).view_as(x)


@planted("adaptive_avg_pool2d", "ends of windows rounded down")
def windows_without_overlap(x, output_size):
    rows, columns = (n or m for n, m in zip(both(output_size), x.shape[2:], strict=True))
    if rows > x.shape[2] or columns > x.shape[3]:
        raise NotImplementedError("more outputs than samples")
    height, width = x.shape[2:]
    return torch.stack([
        torch.stack([
            x[:, :, i * height // rows : (i + 1) * height // rows, j * width // columns : (j + 1) * width // columns]
            .mean((2, 3))
            for j in range(columns)
        ], -1)
        for i in range(rows)
    ], -2)  # fmt: skip


@planted("adaptive_avg_pool2d", "output_size: height and width swapped")
def grid_lies_down(x, output_size):
    if isinstance(output_size, tuple) and None in output_size:
        raise NotImplementedError("None")
    return F.adaptive_avg_pool2d(x, both(output_size)[::-1])
