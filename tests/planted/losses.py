"""Losses with mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.planted import planted


def reduced(losses, reduction):
    return {"mean": losses.mean, "sum": losses.sum, "none": losses.clone}[reduction]()


@planted("cross_entropy", "sum instead of mean")
def sums_the_batch(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    how = "sum" if reduction == "mean" else reduction
    return F.cross_entropy(logits, target, weight, ignore_index=ignore_index, reduction=how,
                           label_smoothing=label_smoothing)  # fmt: skip


@planted("cross_entropy", "label smoothing over K − 1")
def smooths_over_the_others(logits, target, reduction="mean", label_smoothing=0.0):
    if target.is_floating_point() or (target < 0).any() or logits.ndim == 1:
        raise NotImplementedError("labels of a batch only")
    classes = logits.shape[1]
    q = F.one_hot(target, classes).movedim(-1, 1).to(logits)
    q = (1 - label_smoothing) * q + label_smoothing / (classes - 1) * (1 - q)
    return reduced(-(q * torch.log_softmax(logits, 1)).sum(1), reduction)


@planted("cross_entropy", "class weights not in the divisor")
def divides_by_the_batch(logits, target, weight=None, reduction="mean"):
    if target.is_floating_point() or (target < 0).any():
        raise NotImplementedError("labels only")
    losses = F.cross_entropy(logits, target, weight, reduction="none")
    return reduced(losses, reduction)


@planted("cross_entropy", "ignored labels counted")
def counts_every_label(logits, target, ignore_index=-100, reduction="mean"):
    if target.is_floating_point():
        raise NotImplementedError("labels only")
    return reduced(F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="none"), reduction)


@planted("cross_entropy", "softmax applied twice")
def expects_probabilities(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    p = torch.softmax(logits, min(1, logits.ndim - 1))
    return F.cross_entropy(p, target, weight, ignore_index=ignore_index, reduction=reduction,
                           label_smoothing=label_smoothing)  # fmt: skip


@planted("cross_entropy", "logarithm to base 2")
def in_bits(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    nats = F.cross_entropy(logits, target, weight, ignore_index=ignore_index, reduction=reduction,
                           label_smoothing=label_smoothing)  # fmt: skip
    return nats / torch.log(torch.tensor(2.0, dtype=nats.dtype))


@planted("cross_entropy", "sum instead of mean", lambda logits, target: F.cross_entropy(logits, target))
def gradient_not_averaged(gy, logits, target):
    if target.is_floating_point() or logits.ndim != 2 or (target < 0).any():
        raise NotImplementedError("labels of rows only")
    return gy * (torch.softmax(logits, 1) - F.one_hot(target, logits.shape[1]))


@planted("mse_loss", "factor 2")
def half_the_square(x, target, reduction="mean"):
    return reduced((x - target) ** 2 / 2, reduction)


@planted("mse_loss", "sign", F.mse_loss)
def same_gradient_for_both(gy, x, target, reduction="mean"):
    g = 2 * (x - target) * gy
    g = g / x.numel() if reduction == "mean" else g
    return g, g


@planted("binary_cross_entropy_with_logits", "pos_weight ignored")
def forgets_pos_weight(x, target, weight=None, pos_weight=None, reduction="mean"):
    return F.binary_cross_entropy_with_logits(x, target, weight, reduction=reduction)


@planted("binary_cross_entropy_with_logits", "pos_weight on both terms")
def weighs_both_terms(x, target, weight=None, pos_weight=None, reduction="mean"):
    losses = F.binary_cross_entropy_with_logits(x, target, weight, reduction="none")
    return reduced(losses if pos_weight is None else losses * pos_weight, reduction)


@planted("binary_cross_entropy_with_logits", "exponential overflows")
def logarithm_of_the_sigmoid(x, target, weight=None, pos_weight=None, reduction="mean"):
    p = 1 / (1 + torch.exp(-x))
    positive = target if pos_weight is None else pos_weight * target
    losses = -positive * torch.log(p) - (1 - target) * torch.log(1 - p)
    return reduced(losses if weight is None else losses * weight, reduction)
