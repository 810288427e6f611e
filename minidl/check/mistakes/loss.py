"""Mistakes in losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from minidl.check.mistakes.call import Call, Mistake, run

CE, MSE, BCE = ("cross_entropy",), ("mse_loss",), ("binary_cross_entropy_with_logits",)
ALL = (*CE, *MSE, *BCE)


def _logits(c: Call) -> np.ndarray:
    return c.sample.inputs[0]  # type: ignore[return-value]


def _axis(c: Call) -> int:
    return min(1, _logits(c).ndim - 1)


def _rows(c: Call) -> int:
    z = _logits(c)
    return z.size // z.shape[_axis(c)] if c.case.name == "cross_entropy" else z.size


def _labels(c: Call) -> bool:
    return np.asarray(c["target"]).dtype.kind in "iu"


def _kept(c: Call) -> int:
    return int((np.asarray(c["target"]) != c["ignore_index"]).sum()) if _labels(c) else _rows(c)


def _divided(c: Call, by: float) -> np.ndarray | None:
    """The sum of the losses over another number."""
    return c(reduction="sum") / by if c["reduction"] == "mean" and by else None


def _smoothed_over_others(c: Call, keep_own: bool) -> np.ndarray | None:
    """Smoothing spread over the K − 1 other classes."""
    s, axis = c["label_smoothing"], _axis(c)
    classes = _logits(c).shape[axis]
    if not s or classes < 2:
        return None
    plain = c(label_smoothing=0.0)
    whole = c(label_smoothing=1.0)  # Σ over all classes / K
    if keep_own:
        return (1 - s) * plain + s * (classes * whole - plain) / (classes - 1)
    return (1 - s) * plain + s * whole * classes / (classes - 1)


def _of_probabilities(c: Call, f: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """The loss with other logarithms: given log p, cross_entropy returns −log p as it is normalised already."""
    z, axis = _logits(c), _axis(c)
    return c(logits=f(z, axis))


def _softmax_twice(c: Call) -> np.ndarray:
    return _of_probabilities(c, lambda z, axis: run("softmax", z, axis=axis))


def _one_hot_forgotten(c: Call) -> Mapping[str, np.ndarray]:
    """gz = p/N, the target not subtracted."""
    z, axis = _logits(c), _axis(c)
    if not _labels(c) or c["weight"] is not None:
        return {}
    p = run("softmax", z, axis=axis)
    kept = np.expand_dims(np.asarray(c["target"]) != c["ignore_index"], axis)
    gy = c.gy if c["reduction"] == "none" else np.broadcast_to(c.gy, kept.squeeze(axis).shape)
    gz = p * kept * np.expand_dims(gy, axis)
    return {"logits": gz / _kept(c) if c["reduction"] == "mean" else gz}


def _positive_weight_everywhere(c: Call) -> np.ndarray | None:
    if c["pos_weight"] is None:
        return None
    plain = c(pos_weight=None, reduction="none") * c["pos_weight"]
    return {"none": plain, "sum": plain.sum(), "mean": plain.mean()}[c["reduction"]]


MISTAKES = [
    Mistake(
        "sum instead of mean",
        ALL,
        "reduction='mean' returns the sum",
        lambda c: c(reduction="sum") if c["reduction"] == "mean" else None,
    ),
    Mistake(
        "mean instead of sum",
        ALL,
        "reduction='sum' returns the mean",
        lambda c: c(reduction="mean") if c["reduction"] == "sum" else None,
    ),
    Mistake("reduction ignored", ALL, "the output is the mean whatever reduction says", lambda c: c(reduction="mean")),
    Mistake(
        "label smoothing over K − 1",
        CE,
        "smoothing spreads s over all K classes, s/K each; here over the K − 1 others",
        lambda c: _smoothed_over_others(c, True),
    ),
    Mistake(
        "label smoothing over K − 1",
        CE,
        "smoothing adds s/K to each class; here s/(K − 1)",
        lambda c: _smoothed_over_others(c, False),
    ),
    Mistake("label smoothing ignored", CE, "the output is that of label_smoothing=0", lambda c: c(label_smoothing=0.0)),
    Mistake("class weight ignored", CE, "the output is that of weight=None", lambda c: c(weight=None)),
    Mistake(
        "class weights not in the divisor",
        CE,
        "the mean is over the sum of the labels' weights; here over their number",
        lambda c: _divided(c, _kept(c)) if c["weight"] is not None else None,
    ),
    Mistake(
        "ignored labels counted",
        CE,
        "the mean is over the labels that are not ignored; here over all",
        lambda c: _divided(c, _rows(c)),
    ),
    Mistake("logarithm to base 2", CE, "the logarithm is to base 2; it is the natural one", lambda c: c.y / np.log(2)),
    Mistake(
        "logarithm to base 10", CE, "the logarithm is to base 10; it is the natural one", lambda c: c.y / np.log(10)
    ),
    Mistake(
        "softmax applied twice", CE, "logits are expected; here softmax is applied to probabilities", _softmax_twice
    ),
    Mistake("sign", CE, "the sign is missing: the loss is −log p", lambda c: -c.y),
    Mistake("one-hot not subtracted", CE, "gz = p/N; it is (p − target)/N", gradient=_one_hot_forgotten),
    Mistake("factor 2", MSE, "the loss is (x − t)²/2; it is (x − t)²", lambda c: c.y / 2),
    Mistake(
        "absolute error",
        MSE,
        "the loss is |x − t|; it is (x − t)²",
        lambda c: _reduced(c, np.abs(c["x"] - c["target"])),
    ),
    Mistake(
        "mean over the batch alone",
        (*MSE, *BCE),
        "the mean is over all elements; here the sum is divided by the images",
        lambda c: _divided(c, len(c["x"])) if c["x"].ndim else None,
    ),
    Mistake("pos_weight ignored", BCE, "the output is that of pos_weight=None", lambda c: c(pos_weight=None)),
    Mistake("weight ignored", BCE, "the output is that of weight=None", lambda c: c(weight=None)),
    Mistake(
        "pos_weight on both terms",
        BCE,
        "pos_weight multiplies the term of t alone; here both",
        _positive_weight_everywhere,
    ),
    Mistake("target inverted", BCE, "the output is that of 1 − t", lambda c: c(target=1 - c["target"])),
    Mistake(
        "sigmoid applied twice",
        BCE,
        "logits are expected; here sigmoid is applied to probabilities",
        lambda c: c(x=run("sigmoid", c["x"])),
    ),
    Mistake("logarithm to base 2", BCE, "the logarithm is to base 2; it is the natural one", lambda c: c.y / np.log(2)),
    Mistake(
        "sum instead of mean",
        ALL,
        "the gradient is that of reduction='sum': it is not divided by the number of losses",
        gradient=lambda c: c.pull(reduction="sum") if c["reduction"] == "mean" else c.pull(),
    ),
    Mistake(
        "reduction ignored",
        CE,
        "the gradient is divided by the number of labels whatever reduction says",
        gradient=lambda c: {n: g / _kept(c) if c["reduction"] != "mean" else g for n, g in c.pull().items()},
    ),
]


def _reduced(c: Call, losses: np.ndarray) -> np.ndarray:
    return {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[c["reduction"]]
