"""Reductions, rearrangements and indexing with mistakes."""

from __future__ import annotations

import numpy as np
import torch

from tests.planted import planted


def axes_of(axis, n):
    return tuple(range(n)) if axis is None else tuple(a % n for a in ((axis,) if isinstance(axis, int) else axis))


@planted("var", "biased or unbiased variance")
def bessel_always(x, axis=None, keepdims=False, correction=0):
    if x.numel() == 0 or not axes_of(axis, x.ndim):
        raise NotImplementedError("nothing to reduce")
    return torch.var(x, axes_of(axis, x.ndim), correction=1, keepdim=keepdims)


def mean(x, axis=None, keepdims=False):
    if not axes_of(axis, x.ndim):
        raise NotImplementedError("nothing to reduce")
    return torch.mean(x, axes_of(axis, x.ndim), keepdim=keepdims)


@planted("mean", "not divided", mean)
def hands_down_the_whole(gy, x, axis=None, keepdims=False):
    for a in sorted(axes_of(axis, x.ndim)):
        gy = gy if keepdims else gy.unsqueeze(a)
    return gy.expand_as(x)


def largest(x, axis=None, keepdims=False):
    if not axes_of(axis, x.ndim):
        raise NotImplementedError("nothing to reduce")
    return torch.amax(x, axes_of(axis, x.ndim), keepdim=keepdims)


@planted("max", "given to every element", largest)
def everybody_wins(gy, x, axis=None, keepdims=False):
    for a in sorted(axes_of(axis, x.ndim)):
        gy = gy if keepdims else gy.unsqueeze(a)
    return gy.expand_as(x)


@planted("logsumexp", "mean of exponentials")
def log_mean_exp(x, axis=None, keepdims=False):
    axes = axes_of(axis, x.ndim)
    if not axes or not x.numel():
        raise NotImplementedError("nothing to reduce")
    n = int(np.prod([x.shape[a] for a in axes]))
    return torch.logsumexp(x, axes, keepdim=keepdims) - float(np.log(n))


@planted("sum", "keepdims ignored")
def always_squeezes(x, axis=None, keepdims=False):
    axes = axes_of(axis, x.ndim)
    return torch.sum(x, axes) if axes else x.clone()


@planted("transpose", "axes not inverted", lambda x, axes=None: x.permute(axes or tuple(range(x.ndim))[::-1]))
def permutes_once_more(gy, x, axes=None):
    return gy.permute(axes or tuple(range(x.ndim))[::-1])


@planted("flip", "not reversed", lambda x, axis=None: torch.flip(x, axes_of(axis, x.ndim)))
def leaves_it(gy, x, axis=None):
    return gy.clone()


@planted("reshape", "column-major order")
def reads_columns(x, shape):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    target = torch.reshape(x, shape).shape
    return x.permute(tuple(range(x.ndim))[::-1]).reshape(tuple(target)[::-1]).permute(tuple(range(len(target)))[::-1])


@planted(
    "take", "repeated indices overwrite", lambda x, indices, axis=0: x[(slice(None),) * (axis % x.ndim) + (indices,)]
)
def last_one_stays(gy, x, indices, axis=0):
    gx = torch.zeros_like(x)
    gx[(slice(None),) * (axis % x.ndim) + (indices,)] = gy
    return gx


@planted("broadcast_to", "not summed over broadcast axes", lambda x, shape: x.broadcast_to(shape))
def one_copy_is_enough(gy, x, shape):
    padded = (1,) * (gy.ndim - x.ndim) + tuple(x.shape)
    return gy[tuple(slice(0, 1) if n == 1 else slice(None) for n in padded)].reshape(x.shape)


@planted("concat", "order reversed")
def joins_backwards(tensors, axis=0):
    return torch.cat(tensors[::-1], axis)


@planted("pad", "before and after swapped")
def pads_after_before(x, pad_width, mode="constant", value=0.0):
    if mode != "constant" or x.ndim == 0:
        raise NotImplementedError(mode)
    pairs = pad_width if isinstance(pad_width, (list, tuple)) else [pad_width] * x.ndim
    widths = [w if isinstance(w, (list, tuple)) else (w, w) for w in pairs]
    flat = [n for before, after in reversed(widths) for n in (after, before)]
    return torch.nn.functional.pad(x, flat, value=value)
