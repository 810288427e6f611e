"""Normalisation and softmax with mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.planted import planted


def per_channel(value, x, otherwise):
    return otherwise if value is None else value.view(-1, *[1] * (x.ndim - 2))


def normalised(x, running_mean, running_var, weight, bias, training, root):
    axes = (0, *range(2, x.ndim))
    if training:
        mean, var = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
    else:
        mean, var = per_channel(running_mean, x, 0), per_channel(running_var, x, 1)
    return (x - mean) / root(var) * per_channel(weight, x, 1) + per_channel(bias, x, 0)


@planted("batch_norm", "biased or unbiased variance")
def torch_var_as_it_comes(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = (0, *range(2, x.ndim))
    mean, var = x.mean(axes, keepdim=True), x.var(axes, keepdim=True)
    return (x - mean) / (var + eps).sqrt() * per_channel(weight, x, 1) + per_channel(bias, x, 0)


@planted("batch_norm", "ε outside the root")
def adds_eps_to_the_deviation(x, running_mean, running_var, weight=None, bias=None, training=False, eps=1e-5):
    return normalised(x, running_mean, running_var, weight, bias, training, lambda v: v.sqrt() + eps)


@planted("batch_norm", "variance instead of deviation")
def forgets_the_root(x, running_mean, running_var, weight=None, bias=None, training=False, eps=1e-5):
    return normalised(x, running_mean, running_var, weight, bias, training, lambda v: v + eps)


@planted("batch_norm", "running statistics in training")
def always_evaluates(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if running_mean is None:
        return F.batch_norm(x, None, None, weight, bias, True, momentum, eps)
    return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)


@planted("batch_norm", "statistics over the wrong axes")
def statistics_of_each_image(x, running_mean, running_var, weight=None, bias=None, training=False, eps=1e-5):
    if not training or x.ndim < 3:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, 0.1, eps)
    return F.instance_norm(x, None, None, weight, bias, True, 0.1, eps)


@planted("batch_norm", "statistics taken for constants")
def detaches_its_statistics(x, running_mean, running_var, weight=None, bias=None, training=False, eps=1e-5):
    axes = (0, *range(2, x.ndim))
    if training:
        running_mean, running_var = x.detach().mean(axes), x.detach().var(axes, unbiased=False)
    return F.batch_norm(x, running_mean, running_var, weight, bias, False, 0.1, eps)


@planted("batch_norm", "variance taken for constant")
def detaches_the_variance(x, running_mean, running_var, weight=None, bias=None, training=False, eps=1e-5):
    return normalised(x, running_mean, running_var, weight, bias, training, lambda v: (v.detach() + eps).sqrt())


@planted("layer_norm", "statistics over the wrong axes")
def last_axis_only(x, weight=None, bias=None, normalized_shape=None, eps=1e-5):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    y = (x - mean) / (var + eps).sqrt()
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


@planted("layer_norm", "mean not subtracted")
def divides_only(x, weight=None, bias=None, normalized_shape=None, eps=1e-5):
    shape = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
    axes = tuple(range(-len(shape), 0))
    y = x / (x.var(axes, unbiased=False, keepdim=True) + eps).sqrt()
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


@planted("group_norm", "groups interleaved")
def reshapes_channels_the_wrong_way(x, weight=None, bias=None, num_groups=1, eps=1e-5):
    n, c = x.shape[:2]
    grouped = x.reshape(n, c // num_groups, num_groups, -1).transpose(1, 2)  # (N, C/G, G, …): channel c in group c % G
    axes = (2, 3)
    mean, var = grouped.mean(axes, keepdim=True), grouped.var(axes, unbiased=False, keepdim=True)
    y = ((grouped - mean) / (var + eps).sqrt()).transpose(1, 2).reshape(x.shape)
    return y * per_channel(weight, x, 1) + per_channel(bias, x, 0)


@planted("softmax", "exponential overflows")
def softmax_by_definition(x, axis=-1):
    e = torch.exp(x)
    return e / e.sum(axis, keepdim=True)


@planted("softmax", "wrong axis")
def always_the_first_axis(x, axis=-1):
    return torch.softmax(x, 0)


@planted("softmax", "diagonal of the Jacobian alone", lambda x, axis=-1: torch.softmax(x, axis))
def softmax_as_if_elementwise(gy, x, axis=-1):
    p = torch.softmax(x, axis)
    return gy * p * (1 - p)


@planted("log_softmax", "sum forgotten", lambda x, axis=-1: torch.log_softmax(x, axis))
def right_for_one_hot_cotangents(gy, x, axis=-1):
    return gy - torch.softmax(x, axis)


@planted("log_softmax", "writes to its input")
def shifts_in_place(x, axis=-1):
    with torch.no_grad():
        x -= x.amax(axis, keepdim=True)
    return x - torch.log(torch.exp(x).sum(axis, keepdim=True))


def moving(x, running_mean, running_var, weight, bias, training, momentum, unbiased, eps=1e-5):
    """Batch norm that moves its running statistics in place."""
    axes = (0, *range(2, x.ndim))
    if training and running_mean is not None:
        with torch.no_grad():
            running_mean += momentum * (x.mean(axes) - running_mean)
            running_var += momentum * (x.var(axes, unbiased=unbiased) - running_var)
    if training:
        return F.batch_norm(x, None, None, weight, bias, True, momentum, eps)
    return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)


@planted("batch_norm", "biased running variance")
def moves_towards_the_biased(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    return moving(x, running_mean, running_var, weight, bias, training, momentum, unbiased=False, eps=eps)


@planted("batch_norm", "momentum the wrong way round")
def forgets_too_fast(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    return moving(x, running_mean, running_var, weight, bias, training, 1 - momentum, unbiased=True, eps=eps)
