"""Mistakes that stand in no list, and two at once: they must be found, and may stay without a name."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tests.planted import planted


def both(value):
    return value if isinstance(value, tuple) else (value, value)


@planted("conv2d", None)
def last_row_of_the_kernel_skipped(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    kept = weight.clone()
    kept[:, :, -1, -1] = 0
    return F.conv2d(x, kept, bias, stride, padding, dilation, groups)


@planted("conv2d", None)
def flipped_and_without_bias(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv2d(x, weight.flip(2, 3), None, stride, padding, dilation, groups)


@planted("conv2d", None)
def bias_along_the_columns(x, weight, bias=None, stride=1, padding=0):
    y = F.conv2d(x, weight, None, stride, padding)
    if bias is None:
        return y
    if len(bias) == y.shape[3]:
        return y + bias  # broadcasts along the width where that happens to be the number of channels
    return y + bias[:, None, None]


@planted("conv2d", None)
def first_image_for_all(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv2d(x[:1].expand_as(x), weight, bias, stride, padding, dilation, groups)


@planted("max_pool2d", None)
def border_never_wins(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    inner = x.clone()
    inner[:, :, 0] = inner[:, :, 0] - 100
    return F.max_pool2d(inner, kernel_size, stride, padding, dilation, ceil_mode) + 0 * x.sum()


@planted("avg_pool2d", None)
def one_too_many_in_the_divisor(x, kernel_size, stride=None, padding=0):
    h, w = both(kernel_size)
    return F.avg_pool2d(x, kernel_size, stride, padding, divisor_override=h * w + 1)


@planted("softmax", None)
def temperature_of_a_draft(x, axis=-1):
    return torch.softmax(1.01 * x, axis)


@planted("softmax", None)
def small_constant_in_the_divisor(x, axis=-1):
    e = torch.exp(x - x.amax(axis, keepdim=True))
    return e / (e.sum(axis, keepdim=True) + 1e-8)


@planted("layer_norm", None)
def weight_added_to_one(x, weight=None, bias=None, normalized_shape=None, eps=1e-5):
    shape = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
    return F.layer_norm(x, shape, None if weight is None else 1 + weight, bias, eps)


@planted("gelu", None)
def normal_density_without_its_half(x, approximate="none"):
    if approximate == "tanh":
        return F.gelu(x, approximate="tanh")
    return 0.5 * x * (1 + torch.erf(x / 1.4142))


@planted("cross_entropy", None)
def clipped_logarithm(logits, target, reduction="mean"):
    if target.is_floating_point() or logits.ndim != 2 or (target < 0).any():
        raise NotImplementedError("labels of rows only")
    p = torch.softmax(logits, 1).clamp(min=0.05)
    return F.nll_loss(torch.log(p), target, reduction=reduction)


@planted("linear", None, F.linear)
def dense_backward_with_a_stray_scale(gy, x, weight, bias=None):
    rows, g = x.reshape(-1, x.shape[-1]), gy.reshape(-1, gy.shape[-1])
    return gy @ weight, g.T @ rows / math.sqrt(x.shape[-1]), None if bias is None else g.sum(0)


@planted("batch_norm", None)
def momentum_leaks_into_the_output(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1):
    if not training or running_mean is None:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training)
    axes = (0, *range(2, x.ndim))
    mean = (1 - momentum) * running_mean + momentum * x.mean(axes)
    var = (1 - momentum) * running_var + momentum * x.var(axes, unbiased=False)
    return F.batch_norm(x, mean.detach(), var.detach(), weight, bias, False)


@planted("gaussian_pool2d", None)
def deviation_of_the_whole_map(x, eta, kernel_size, stride=None, padding=0, count_include_pad=False, eps=1e-6):
    mean = F.avg_pool2d(x, kernel_size, stride, padding, False, count_include_pad)
    v = x.var((2, 3), unbiased=False, keepdim=True)
    return mean + eta * torch.sqrt(v.clamp(min=eps))


@planted("tanh", None, torch.tanh)
def gradient_of_its_series(gy, x):
    return gy * (1 - x**2 + 2 * x**4 / 3)
