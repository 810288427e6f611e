"""Specification of the losses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample


def _reduced(losses: np.ndarray, reduction: str, divisor: float) -> np.ndarray:
    if reduction == "none":
        return losses
    total = sum(losses.flat)
    return np.asarray(total / divisor if reduction == "mean" else total)


def reference_cross_entropy(
    logits, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0
) -> np.ndarray:
    """ℓ_i = -Σ_c w_c [(1 - s) q_ic + s/C] log p_ic, 0 where ignored."""
    axis = min(1, logits.ndim - 1)
    classes = logits.shape[axis]
    rows = logits.shape[:axis] + logits.shape[axis + 1 :]
    losses, divisor = np.zeros(rows), 0.0
    for i in np.ndindex(*rows):
        places = [(*i[:axis], c, *i[axis:]) for c in range(classes)]
        log_total = math.log(sum(math.exp(logits[at]) for at in places))
        if target.dtype.kind == "f":
            q = [target[at] for at in places]
            divisor += 1
        elif target[i] == ignore_index:
            continue
        else:
            q = [1.0 if c == target[i] else 0.0 for c in range(classes)]
            divisor += 1.0 if weight is None else weight[target[i]]
        for c, at in enumerate(places):
            smooth = (1 - label_smoothing) * q[c] + label_smoothing / classes
            losses[i] -= (1.0 if weight is None else weight[c]) * smooth * (logits[at] - log_total)
    return _reduced(losses, reduction, divisor)


def reference_mse_loss(x: np.ndarray, target: np.ndarray, *, reduction: str = "mean") -> np.ndarray:
    """ℓ = (x - t)²."""
    losses = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        losses[i] = (x[i] - target[i]) ** 2
    return _reduced(losses, reduction, x.size)


def reference_binary_cross_entropy_with_logits(
    x, target, weight=None, pos_weight=None, *, reduction="mean"
) -> np.ndarray:
    """ℓ = -w [p t log σ(x) + (1 - t) log(1 - σ(x))]."""
    losses = np.zeros(x.shape)
    w = np.broadcast_to(1.0 if weight is None else weight, x.shape)
    p = np.broadcast_to(1.0 if pos_weight is None else pos_weight, x.shape)
    for i in np.ndindex(x.shape):
        positive, negative = 1 / (1 + math.exp(-x[i])), 1 / (1 + math.exp(x[i]))
        losses[i] = -w[i] * (p[i] * target[i] * math.log(positive) + (1 - target[i]) * math.log(negative))
    return _reduced(losses, reduction, x.size)


def cross_entropy_samples(rng: np.random.Generator) -> Iterator[Sample]:
    def labels(shape: tuple[int, ...], classes: int = 4, ignored: int | None = None, **params) -> Sample:
        target = rng.integers(classes, size=shape)
        if ignored is not None:
            target.flat[0] = ignored
        logits = 2 * rng.normal(size=(*shape[:1], classes, *shape[1:]))
        return Sample((logits,), {"target": target, **params})

    def probabilities(*shape: int, weighted: bool = False, **params) -> Sample:
        axis = min(1, len(shape) - 1)
        q = rng.uniform(0.1, 1, size=shape)
        weight = rng.uniform(0.5, 2, size=shape[axis]) if weighted else None
        return Sample((rng.normal(size=shape), q / q.sum(axis=axis, keepdims=True), weight), params)

    weight = rng.uniform(0.5, 2, size=4)
    for reduction in ("mean", "sum", "none"):
        yield labels((3,), reduction=reduction)
        yield labels((3,), reduction=reduction, ignored=-100, weight=weight, label_smoothing=0.1)
        yield labels((3, 2), reduction=reduction, ignored=1, ignore_index=1, weight=weight)
        yield probabilities(3, 4, reduction=reduction, label_smoothing=0.2, weighted=True)
    yield labels((2, 3, 2), ignored=7, ignore_index=7, label_smoothing=0.3)
    yield Sample((rng.normal(size=4),), {"target": np.array(2), "label_smoothing": 0.1})
    yield Sample((rng.normal(size=4),), {"target": np.array(3), "reduction": "none", "weight": weight})
    yield labels((3,), label_smoothing=1.0)
    yield probabilities(3, 4)
    yield probabilities(2, 4, 3, weighted=True)
    yield probabilities(4)


def mse_loss_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for reduction in ("mean", "sum", "none"):
        yield Sample((rng.normal(size=(2, 3)), rng.normal(size=(2, 3))), {"reduction": reduction})
    yield Sample((rng.normal(size=()), rng.normal(size=())))
    yield Sample((rng.normal(size=(2, 1, 3)), rng.normal(size=(2, 1, 3))))


def binary_cross_entropy_samples(rng: np.random.Generator) -> Iterator[Sample]:
    def draw(*shape: int, weight=None, pos_weight=None, **params) -> Sample:
        factors = (None if f is None else rng.uniform(0.5, 3, size=f) for f in (weight, pos_weight))
        return Sample((2 * rng.normal(size=shape), rng.random(shape), *factors), params)

    for reduction in ("mean", "sum", "none"):
        yield draw(3, 4, reduction=reduction)
        yield draw(3, 4, weight=(3, 1), pos_weight=(4,), reduction=reduction)
    yield draw(2, 3, 2, weight=(), pos_weight=(3, 1))
    yield Sample((np.array([0.0, 1.0]), np.array([0.0, 1.0]), None, None))  # x = 0, where the two branches meet


def binary_cross_entropy_drawn():
    """Weights that broadcast in any way."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

        def factor() -> np.ndarray:
            drawn = [1 if draw(st.booleans()) else n for n in shape][draw(st.integers(0, len(shape))) :]
            return np.asarray(rng.uniform(0.5, 3, size=drawn))

        reduction = draw(st.sampled_from(["mean", "sum", "none"]))
        return Sample((3 * rng.normal(size=shape), rng.random(shape), factor(), factor()), {"reduction": reduction})

    return sample()


def _labels_error(
    message: str, exception: type[Exception] = ValueError, logits=None, reads: bool = False, **params
) -> ErrorCase:
    """A call with labels 0 and 1 for two rows of three zeros, but for what is given."""
    logits = np.zeros((2, 3)) if logits is None else logits
    return ErrorCase(Sample((logits,), {"target": np.array([0, 1])} | params), exception, message, reads)


def _bce_error(message: str, *inputs: np.ndarray | None, **params) -> ErrorCase:
    message = f"binary_cross_entropy_with_logits: {message}"
    return ErrorCase(Sample((np.zeros((2, 3)), *inputs), params), ValueError, message)


CASES = [
    OpCase(
        name="cross_entropy",
        op=ops.cross_entropy,
        samples=cross_entropy_samples,
        reference=reference_cross_entropy,
        equations="ℓ = -Σ_c w_c [(1 - s) q_c + s/C] log softmax(z)_c",
        constants=(2,),
        errors=(
            _labels_error(r"cross_entropy: labels must be in \[0, 3\), got 3 at row 1", target=np.array([0, 3])),
            _labels_error(r"cross_entropy: labels must be in \[0, 3\), got -1 at row 0", target=np.array([-1, 5])),
            _labels_error(
                r"cross_entropy: labels must be in \[0, 3\), got 9 at row \(1, 0\)",
                logits=np.zeros((2, 3, 2)),
                target=np.array([[0, 1], [9, 9]]),
            ),
            _labels_error(r"cross_entropy: every label is ignore_index=-100", target=np.array([-100, -100])),
            _labels_error(r"cross_entropy: target must have shape \(2,\), got \(1,\)", target=np.array([0])),
            _labels_error(
                r"cross_entropy: target must be integers of shape \(2,\) or .* \(2, 3\), got float64 of shape \(2,\)",
                target=np.array([0.0, 1.0]),
            ),
            _labels_error(
                r"cross_entropy: target must be >= 0, got nan",
                reads=True,
                target=np.array([[0.5, 0.5, 0.0], [np.nan, 1.0, 0.0]]),
            ),
            _labels_error(
                r"cross_entropy: target must be >= 0, got -0.5",
                reads=True,
                target=np.array([[0.5, 0.5, 0.0], [-0.5, 1.5, 0.0]]),
            ),
            _labels_error(
                r"cross_entropy: target must be integers, got dtype bool", TypeError, target=np.array([True, False])
            ),
            _labels_error(
                r"cross_entropy: ignore_index needs integer labels, got ignore_index=0",
                target=np.full((2, 3), 1 / 3),
                ignore_index=0,
            ),
            _labels_error(
                r"cross_entropy: the batch must not be empty, got shape \(0, 3\)",
                logits=np.zeros((0, 3)),
                target=np.zeros(0, int),
            ),
            _labels_error(r"cross_entropy: logits must have shape .*, got \(\)", logits=np.zeros(())),
            _labels_error(r"cross_entropy: weight must have shape \(3,\), got \(2,\)", weight=np.ones(2)),
            _labels_error(r"cross_entropy: label_smoothing must be in \[0, 1\], got 1.1", label_smoothing=1.1),
            _labels_error(r"cross_entropy: reduction must be one of 'mean', 'sum', 'none', got 'avg'", reduction="avg"),
        ),
    ),
    OpCase(
        name="mse_loss",
        op=ops.mse_loss,
        samples=mse_loss_samples,
        reference=reference_mse_loss,
        equations="ℓ = (x - t)²",
        errors=(
            ErrorCase(
                Sample((np.zeros((2, 3)), np.zeros((2, 1)))),
                ValueError,
                r"mse_loss: target must have x's shape \(2, 3\), got \(2, 1\)",
            ),
            ErrorCase(Sample((np.zeros(0), np.zeros(0))), ValueError, r"mse_loss: the batch must not be empty"),
            ErrorCase(
                Sample((np.zeros(2), np.zeros(2)), {"reduction": None}), ValueError, r"mse_loss: reduction .* got None"
            ),
        ),
    ),
    OpCase(
        name="binary_cross_entropy_with_logits",
        op=ops.binary_cross_entropy_with_logits,
        samples=binary_cross_entropy_samples,
        reference=reference_binary_cross_entropy_with_logits,
        equations="ℓ = -w [p t log σ(x) + (1 - t) log(1 - σ(x))]",
        constants=(2, 3),
        errors=(
            _bce_error(r"target must have x's shape \(2, 3\), got \(3,\)", np.zeros(3)),
            _bce_error(r"weight must broadcast to shape \(2, 3\), got \(2,\)", np.zeros((2, 3)), np.ones(2)),
            _bce_error(
                r"pos_weight must broadcast to shape \(2, 3\), got \(4, 2, 3\)",
                np.zeros((2, 3)),
                None,
                np.ones((4, 2, 3)),
            ),
            _bce_error(r"reduction must be one of .*, got 'max'", np.zeros((2, 3)), reduction="max"),
            ErrorCase(
                Sample((np.zeros((0, 2)), np.zeros((0, 2)))),
                ValueError,
                r"binary_cross_entropy_with_logits: the batch must not be empty, got shape \(0, 2\)",
            ),
        ),
        draw=binary_cross_entropy_drawn,
    ),
]
