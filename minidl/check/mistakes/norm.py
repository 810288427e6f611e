"""Mistakes in normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minidl.check.mistakes.call import Call, Mistake, flag

BATCH, LAYER, GROUP = "batch_norm", "layer_norm", "group_norm"
ALL = (BATCH, LAYER, GROUP)
Root = Callable[[np.ndarray, float, int], np.ndarray]  # of (variance, ε, number of values)


def _right_root(v: np.ndarray, eps: float, n: int) -> np.ndarray:
    return np.sqrt(v + eps)


def _grouped(c: Call) -> tuple[np.ndarray, tuple[int, ...]]:
    """x in a shape in which it is standardised over the given axes."""
    x = c["x"]
    if c.case.name == BATCH:
        return x, (0, *range(2, x.ndim))
    if c.case.name == LAYER:
        shape = c["normalized_shape"]
        n = len(shape) if isinstance(shape, (tuple, list)) else 1
        return x, tuple(range(x.ndim - n, x.ndim))
    return x.reshape(len(x), c["num_groups"], -1), (2,)


def _affine(c: Call, name: str, otherwise: float) -> Any:
    """weight or bias, shaped to act on x."""
    value = c[name]
    if value is None:
        return otherwise
    return value if c.case.name == LAYER else value.reshape(-1, *[1] * (c["x"].ndim - 2))


def _with_weight(c: Call, xh: np.ndarray) -> np.ndarray:
    return _affine(c, "weight", 1.0) * xh + _affine(c, "bias", 0.0)


def _statistics_of_batch(c: Call) -> bool:
    return c.case.name != BATCH or bool(c["training"])


def _standardised(c: Call, root: Root, mean: bool = True) -> np.ndarray:
    """The output with another root, or without subtracting the mean."""
    x, axes = _grouped(c)
    if _statistics_of_batch(c):
        mu, v = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    else:
        mu, v = (c[n].reshape(-1, *[1] * (x.ndim - 2)) for n in ("running_mean", "running_var"))
    n = x.size // max(v.size, 1)
    xh = (x - mu if mean else x) / root(v, c["eps"], n)
    return _with_weight(c, xh.reshape(c["x"].shape))


def _unbiased(v: np.ndarray, eps: float, n: int) -> np.ndarray:
    return np.sqrt(v * n / max(n - 1, 1) + eps)


def _over(c: Call, axes_of: Callable[[int], tuple[int, ...]]) -> np.ndarray | None:
    """The output with statistics over other axes."""
    if not _statistics_of_batch(c):
        return None
    x = c["x"]
    axes = axes_of(x.ndim)
    xh = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + c["eps"])
    return _with_weight(c, xh)


def _interleaved_groups(c: Call) -> np.ndarray:
    """Channels dealt out to the groups in turn."""
    x, groups = c["x"], c["num_groups"]
    order = np.arange(x.shape[1]).reshape(-1, groups).T.ravel()
    xh = c(x=x[:, order], weight=None, bias=None)[:, np.argsort(order)]
    return _with_weight(c, xh)


def _parts(c: Call) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """gx̂, x̂, r and the axes, grouped."""
    x, axes = _grouped(c)
    r = 1 / np.sqrt(x.var(axes, keepdims=True) + c["eps"])
    gxh = (c.gy * _affine(c, "weight", 1.0)).reshape(x.shape)
    return gxh, (x - x.mean(axes, keepdims=True)) * r, r, axes


def _gradient(c: Call, with_mean: bool, with_variance: bool, with_r: bool = True) -> Mapping[str, np.ndarray]:
    """gx with some of its terms."""
    if not _statistics_of_batch(c):
        return {}
    gxh, xh, r, axes = _parts(c)
    g = gxh
    if with_mean:
        g = g - gxh.mean(axes, keepdims=True)
    if with_variance:
        g = g - xh * (gxh * xh).mean(axes, keepdims=True)
    return {"x": (g * r if with_r else g).reshape(c["x"].shape)}


def _of_raw_x(c: Call) -> Mapping[str, np.ndarray]:
    """gγ with x in the place of x̂."""
    if c["weight"] is None:
        return {}
    x = c["x"]
    if c.case.name == LAYER:
        lead = tuple(range(x.ndim - c["weight"].ndim))
        return {"weight": (c.gy * x).sum(lead)}
    return {"weight": (c.gy * x).sum((0, *range(2, x.ndim)))}


def _changed(**changes: Any) -> Callable[[Call], np.ndarray]:
    return lambda c: c(**changes)


def _moved(c: Call, biased: bool = False, momentum: float | None = None) -> Mapping[str, np.ndarray]:
    """What training leaves of the running statistics."""
    if c["running_mean"] is None:
        return {}
    x, m = c["x"], c["momentum"] if momentum is None else momentum
    axes = (0, *range(2, x.ndim))
    batch = {"running_mean": x.mean(axes), "running_var": x.var(axes, ddof=0 if biased else 1)}
    return {name: (1 - m) * c[name] + m * new for name, new in batch.items()}


def _training(c: Call, value: bool) -> np.ndarray | None:
    if c["running_mean"] is None or bool(c["training"]) == value:
        return None
    return c(**flag(c, "training"))


MISTAKES = [
    Mistake(
        "biased or unbiased variance",
        ALL,
        "the variance is divided by n − 1; normalisation divides by n",
        lambda c: _standardised(c, _unbiased) if _statistics_of_batch(c) else None,
    ),
    Mistake(
        "ε outside the root",
        ALL,
        "x is divided by √v + ε; it is √(v + ε)",
        lambda c: _standardised(c, lambda v, eps, n: np.sqrt(v) + eps),
    ),
    Mistake(
        "ε ignored", ALL, "x is divided by √v; it is √(v + ε)", lambda c: _standardised(c, lambda v, eps, n: np.sqrt(v))
    ),
    Mistake(
        "variance instead of deviation",
        ALL,
        "x is divided by v + ε; it is √(v + ε)",
        lambda c: _standardised(c, lambda v, eps, n: v + eps),
    ),
    Mistake(
        "mean not subtracted",
        ALL,
        "x is divided by its deviation, but its mean is not subtracted",
        lambda c: _standardised(c, _right_root, mean=False),
    ),
    Mistake(
        "running statistics in training",
        (BATCH,),
        "training=True standardises by the batch; here by the running statistics",
        lambda c: _training(c, False),
    ),
    Mistake(
        "statistics of the batch in evaluation",
        (BATCH,),
        "training=False takes the running statistics; here those of the batch",
        lambda c: _training(c, True),
    ),
    Mistake(
        "statistics over the wrong axes",
        (BATCH,),
        "mean and variance are over the batch alone; all places of a channel share them",
        lambda c: _over(c, lambda n: (0,)),
    ),
    Mistake(
        "statistics over the wrong axes",
        (BATCH,),
        "mean and variance are of each image; a channel's are over the batch too",
        lambda c: _over(c, lambda n: tuple(range(2, n))) if c["x"].ndim > 2 else None,
    ),
    Mistake(
        "statistics over the wrong axes",
        (BATCH,),
        "mean and variance are over the channels; each channel has its own",
        lambda c: _over(c, lambda n: (1,)),
    ),
    Mistake(
        "statistics over the wrong axes",
        (LAYER,),
        "mean and variance are over the last axis alone, not over all of normalized_shape",
        lambda c: _over(c, lambda n: (n - 1,)),
    ),
    Mistake(
        "statistics over the wrong axes",
        (LAYER,),
        "mean and variance are over all axes but the first",
        lambda c: _over(c, lambda n: tuple(range(1, n))),
    ),
    Mistake(
        "statistics over the wrong axes",
        (GROUP,),
        "mean and variance are over all channels of an image, as with one group",
        _changed(num_groups=1),
    ),
    Mistake(
        "statistics over the wrong axes",
        (GROUP,),
        "mean and variance are of each channel",
        lambda c: c(num_groups=c["x"].shape[1]),
    ),
    Mistake(
        "statistics over the wrong axes",
        ALL,
        "mean and variance are over the whole array",
        lambda c: _over(c, lambda n: tuple(range(n))),
    ),
    Mistake(
        "groups interleaved",
        (GROUP,),
        "groups are blocks of neighbouring channels; here channels go to the groups in turn",
        _interleaved_groups,
    ),
    Mistake("weight ignored", ALL, "the output is not multiplied by weight", _changed(weight=None)),
    Mistake("bias ignored", ALL, "the output lacks the bias", _changed(bias=None)),
    Mistake(
        "weight and bias ignored",
        ALL,
        "the output is standardised, without weight and bias",
        _changed(weight=None, bias=None),
    ),
    Mistake(
        "weight and bias swapped",
        ALL,
        "weight is added and bias multiplied",
        lambda c: None if c["weight"] is None or c["bias"] is None else c(weight=c["bias"], bias=c["weight"]),
    ),
    Mistake(
        "statistics taken for constants",
        ALL,
        "gx = γ r gy; mean and variance depend on x too, and their terms are missing",
        gradient=lambda c: _gradient(c, False, False),
    ),
    Mistake(
        "variance taken for constant",
        ALL,
        "gx lacks the term of the variance, − x̂ Σ gx̂ x̂ / n",
        gradient=lambda c: _gradient(c, True, False),
    ),
    Mistake(
        "mean taken for constant",
        ALL,
        "gx lacks the term of the mean, − Σ gx̂ / n",
        gradient=lambda c: _gradient(c, False, True),
    ),
    Mistake(
        "not divided by the deviation",
        ALL,
        "gx is not multiplied by r = 1/√(v + ε)",
        gradient=lambda c: _gradient(c, True, True, with_r=False),
    ),
    Mistake(
        "weight missing in the gradient",
        ALL,
        "gx is that of weight = 1",
        gradient=lambda c: {} if c["weight"] is None else {"x": c.pull(weight=np.ones_like(c["weight"]))["x"]},
    ),
    Mistake("x instead of x̂", ALL, "the gradient of weight is Σ gy x; it is Σ gy x̂", gradient=_of_raw_x),
    Mistake(
        "biased running variance",
        (BATCH,),
        "running_var moves towards the variance over n; it is that over n − 1",
        left=lambda c: _moved(c, biased=True),
    ),
    Mistake(
        "momentum the wrong way round",
        (BATCH,),
        "the old value is weighted by momentum; it is 1 − momentum",
        left=lambda c: _moved(c, momentum=1 - c["momentum"]),
    ),
    Mistake(
        "running statistics replaced",
        (BATCH,),
        "running statistics are set to those of the batch; they move towards them by momentum",
        left=lambda c: _moved(c, momentum=1.0),
    ),
    Mistake(
        "running statistics moved in evaluation",
        (BATCH,),
        "training=False leaves the running statistics alone",
        left=lambda c: {} if c["training"] else _moved(c),
    ),
]
