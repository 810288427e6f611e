"""Convolutions and matrix products with mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.planted import planted

grad = torch.nn.grad


def both(value):
    return value if isinstance(value, tuple) else (value, value)


def conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


@planted("conv2d", "kernel flipped")
def true_convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv2d(x, torch.flip(weight, (2, 3)), bias, stride, padding, dilation, groups)


@planted("conv2d", "stride: height and width swapped")
def steps_swapped(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    across, down = both(stride)
    return F.conv2d(x, weight, bias, (down, across), padding, dilation, groups)


@planted("conv2d", "padding: height and width swapped")
def pads_as_f_pad_does(x, weight, bias=None, stride=1, padding=0, groups=1):
    if isinstance(padding, str):
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)
    h, w = both(padding)
    return F.conv2d(F.pad(x, (h, h, w, w)), weight, bias, stride, groups=groups)  # F.pad begins with the last axis


@planted("conv2d", "padding on one side")
def pads_below_only(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str):
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    h, w = both(padding)
    return F.conv2d(F.pad(x, (0, 2 * w, 0, 2 * h)), weight, bias, stride, 0, dilation, groups)


@planted("conv2d", "padding by the edge")
def repeats_the_edge(x, weight, bias=None, stride=1, padding=0):
    if isinstance(padding, str):
        return F.conv2d(x, weight, bias, stride, padding)
    h, w = both(padding)
    return F.conv2d(F.pad(x, (w, w, h, h), mode="replicate"), weight, bias, stride)


@planted("conv2d", "stride and dilation swapped")
def arguments_out_of_order(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv2d(x, weight, bias, dilation, padding, stride, groups)


@planted("conv2d", "dilation ignored")
def dilation_not_passed_on(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv2d(x, weight, bias, stride, padding, groups=groups)


@planted("conv2d", "groups interleaved")
def channels_in_turn(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    parts = [
        F.conv2d(x[:, g::groups], w, None, stride, padding, dilation)
        for g, w in enumerate(torch.chunk(weight, groups, dim=0))
    ]
    y = torch.cat(parts, dim=1)
    return y if bias is None else y + bias[:, None, None]


@planted("conv2d", "bias ignored")
def bias_not_added(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv2d(x, weight, None, stride, padding, dilation, groups)


@planted("conv2d", "mean instead of sum")
def averages_channels(x, weight, bias=None, stride=1, padding=0, dilation=1):
    parts = [
        F.conv2d(x[:, c : c + 1], weight[:, c : c + 1], None, stride, padding, dilation) for c in range(x.shape[1])
    ]
    y = torch.stack(parts).mean(0)
    return y if bias is None else y + bias[:, None, None]


@planted("conv2d", "output size rounded up")
def one_window_too_many(x, weight, bias=None, stride=1, padding=0):
    if isinstance(padding, str):
        return F.conv2d(x, weight, bias, stride, padding)
    (h, w), (s, t) = both(padding), both(stride)
    return F.conv2d(F.pad(x, (w, w + t - 1, h, h + s - 1)), weight, bias, stride)


@planted("conv2d", "kernel transposed")
def unfolds_columns_first(x, weight, bias=None, padding=0):
    if isinstance(padding, str):
        raise NotImplementedError(padding)
    columns = F.unfold(x, (weight.shape[3], weight.shape[2]), padding=padding)
    y = weight.transpose(2, 3).reshape(len(weight), -1) @ columns
    h, w = both(padding)
    y = y.view(len(x), len(weight), x.shape[2] + 2 * h - weight.shape[3] + 1, x.shape[3] + 2 * w - weight.shape[2] + 1)
    return y if bias is None else y + bias[:, None, None]


@planted("conv2d", "mirrored adjoint", conv)
def correlates_again(gy, x, weight, bias=None, padding=0):
    """The gradient of x with the kernel not turned round."""
    if isinstance(padding, str):
        raise NotImplementedError(padding)
    gx = grad.conv2d_input(x.shape, torch.flip(weight, (2, 3)), gy, padding=padding)
    gb = None if bias is None else gy.sum((0, 2, 3))
    return gx, grad.conv2d_weight(x, weight.shape, gy, padding=padding), gb


@planted("conv2d", "not summed over the batch", conv)
def bias_of_the_last_image(gy, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str):
        raise NotImplementedError(padding)
    at = (stride, padding, dilation, groups)
    gb = None
    for image in gy:
        gb = image.sum((1, 2))  # = for +=
    return grad.conv2d_input(x.shape, weight, gy, *at), grad.conv2d_weight(x, weight.shape, gy, *at), gb


@planted("conv2d", "mean instead of sum", conv)
def weight_averaged_over_the_batch(gy, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str):
        raise NotImplementedError(padding)
    at = (stride, padding, dilation, groups)
    gw = grad.conv2d_weight(x, weight.shape, gy, *at) / len(x)
    return grad.conv2d_input(x.shape, weight, gy, *at), gw, gy.sum((0, 2, 3))


@planted("conv2d", "overlapping windows overwrite", conv)
def assigns_in_col2im(gy, x, weight, bias=None, stride=1, padding=0):
    if isinstance(padding, str):
        raise NotImplementedError(padding)
    (s, t), (h, w) = both(stride), both(padding)
    gx = torch.zeros_like(F.pad(x, (w, w, h, h)))
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            shares = torch.einsum("noij,oc->ncij", gy, weight[:, :, u, v])
            gx[:, :, u : u + s * gy.shape[2] : s, v : v + t * gy.shape[3] : t] = shares
    gx = gx[:, :, h : h + x.shape[2], w : w + x.shape[3]]
    return gx, grad.conv2d_weight(x, weight.shape, gy, stride, padding), gy.sum((0, 2, 3))


@planted("conv_transpose2d", "output_padding ignored")
def smaller_output(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    return F.conv_transpose2d(x, weight, bias, stride, padding, 0, groups, dilation)


@planted("conv_transpose2d", "kernel flipped")
def turned_stamp(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    return F.conv_transpose2d(x, weight.flip(-1).flip(-2), bias, stride, padding, output_padding, groups, dilation)


@planted("conv_transpose2d", "padding ignored")
def border_not_cut(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    return F.conv_transpose2d(x, weight, bias, stride, 0, output_padding, groups, dilation)


@planted("linear", "gradient transposed", F.linear)
def weight_gradient_the_wrong_way_round(gy, x, weight, bias=None):
    rows, g = x.reshape(-1, x.shape[-1]), gy.reshape(-1, gy.shape[-1])
    return gy @ weight, rows.T @ g, None if bias is None else g.sum(0)


@planted("linear", "bias added twice")
def adds_the_bias_again(x, weight, bias=None):
    y = F.linear(x, weight, bias)
    return y if bias is None else y + bias


@planted("matmul", "not summed over broadcast axes", torch.matmul)
def keeps_the_batch(gy, a, b):
    return gy @ b.transpose(-1, -2), a.transpose(-1, -2) @ gy


@planted("matmul", "gradients swapped", torch.matmul)
def answers_in_the_wrong_order(gy, a, b):
    ga, gb = gy @ b.transpose(-1, -2), a.transpose(-1, -2) @ gy
    while ga.ndim > a.ndim:
        ga = ga.sum(0)
    while gb.ndim > b.ndim:
        gb = gb.sum(0)
    for axis, n in enumerate(a.shape):
        ga = ga.sum(axis, keepdim=True) if n == 1 else ga
    for axis, n in enumerate(b.shape):
        gb = gb.sum(axis, keepdim=True) if n == 1 else gb
    return gb, ga
