"""Specification of batch, layer and group norm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample


def reference_batch_norm(
    x, running_mean, running_var, weight, bias, training=False, momentum=0.1, eps=1e-5, relu=False
):
    """y = γ (x - μ)/√(v + ε) + β, channel by channel, μ and v from the batch or given; cut at 0 with `relu`."""
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        values = [x[(n, c, *i)] for n in range(x.shape[0]) for i in np.ndindex(x.shape[2:])]
        mean, var = (None, None) if running_mean is None else (running_mean[c], running_var[c])
        if training:
            mean = sum(values) / len(values)
            var = sum((value - mean) ** 2 for value in values) / len(values)
        gamma, beta = 1.0 if weight is None else weight[c], 0.0 if bias is None else bias[c]
        for n in range(x.shape[0]):
            for i in np.ndindex(x.shape[2:]):
                y[(n, c, *i)] = gamma * (x[(n, c, *i)] - mean) / (var + eps) ** 0.5 + beta
                if relu and y[(n, c, *i)] <= 0:
                    y[(n, c, *i)] = 0
    return y


def _standardised(values: list[float], eps: float) -> list[float]:
    mean = sum(values) / len(values)
    var = sum((value - mean) ** 2 for value in values) / len(values)
    return [(value - mean) / (var + eps) ** 0.5 for value in values]


def reference_layer_norm(x, weight, bias, normalized_shape, eps=1e-5):
    """Each sample's trailing axes standardised, then γ x̂ + β."""
    shape = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
    y = np.zeros(x.shape)
    for lead in np.ndindex(x.shape[: x.ndim - len(shape)]):
        places = list(np.ndindex(*shape))
        for i, xh in zip(places, _standardised([x[(*lead, *i)] for i in places], eps), strict=True):
            y[(*lead, *i)] = (1.0 if weight is None else weight[i]) * xh + (0.0 if bias is None else bias[i])
    return y


def reference_group_norm(x, weight, bias, num_groups, eps=1e-5):
    """Each sample's groups of channels standardised, then γ x̂ + β."""
    y = np.zeros(x.shape)
    size = x.shape[1] // num_groups
    for n in range(x.shape[0]):
        for g in range(num_groups):
            places = [(c, *i) for c in range(g * size, (g + 1) * size) for i in np.ndindex(x.shape[2:])]
            for i, xh in zip(places, _standardised([x[(n, *i)] for i in places], eps), strict=True):
                c = i[0]
                y[(n, *i)] = (1.0 if weight is None else weight[c]) * xh + (0.0 if bias is None else bias[c])
    return y


def batch_norm_samples(rng: np.random.Generator) -> Iterator[Sample]:
    def draw(*shape: int, affine: bool = True, running: bool = True, **params) -> Sample:
        c = shape[1]
        mean, var = (rng.normal(size=c), rng.uniform(0.5, 2, size=c)) if running else (None, None)
        weight, bias = (rng.normal(size=c), rng.normal(size=c)) if affine else (None, None)
        return Sample((2 + 3 * rng.normal(size=shape), mean, var, weight, bias), params)

    for shape in [(5, 3), (2, 3, 4), (3, 2, 4, 5), (2, 3, 2, 1, 2)]:
        yield draw(*shape, training=True)
        yield draw(*shape)
    yield draw(4, 2, affine=False, running=False, training=True, eps=0.1)
    yield draw(4, 2, affine=False, eps=0.1)
    yield draw(2, 3, 2, training=True, momentum=0.7)
    yield draw(4, 3, 2, training=True, relu=True)
    yield draw(4, 3, 2, relu=True)
    with_bias = draw(3, 2, training=True).inputs
    yield Sample((*with_bias[:3], None, with_bias[4]), {"training": True})
    yield Sample((*with_bias[:4], None), {"training": False})


def layer_norm_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for lead, shape in [((3,), (4,)), ((2, 3), (4,)), ((2,), (3, 4)), ((), (2, 3)), ((2, 2), (1, 3))]:
        x = 1 + 2 * rng.normal(size=(*lead, *shape))
        yield Sample((x, rng.normal(size=shape), rng.normal(size=shape)), {"normalized_shape": shape})
    yield Sample((x, None, None), {"normalized_shape": 3, "eps": 0.1})
    yield Sample((x, None, rng.normal(size=3)), {"normalized_shape": 3})


def group_norm_samples(rng: np.random.Generator) -> Iterator[Sample]:
    # Groups of three elements or more: two normalise to ±1, and their gradient cancels to rounding.
    for shape, groups in [((2, 6), 2), ((2, 6, 3), 3), ((2, 4, 3, 2), 1), ((3, 4, 2, 3), 4)]:
        c = shape[1]
        x = 1 + 2 * rng.normal(size=shape)
        yield Sample((x, rng.normal(size=c), rng.normal(size=c)), {"num_groups": groups})
    yield Sample((x, None, None), {"num_groups": 2, "eps": 0.1})
    yield Sample((x, rng.normal(size=4), None), {"num_groups": 2})


def _batch_norm_error(shape: tuple[int, ...], message: str, exception=ValueError, at=(), **params) -> ErrorCase:
    """A call that is right but for its shape, its params and the inputs `at` = ((index, value), …)."""
    inputs = [np.ones(shape), *(np.ones(shape[1] if len(shape) > 1 else 1) for _ in range(4))]
    for index, value in at:
        inputs[index] = value
    return ErrorCase(Sample(tuple(inputs), {"training": True} | params), exception, message)


CASES = [
    OpCase(
        name="batch_norm",
        op=ops.batch_norm,
        samples=batch_norm_samples,
        reference=reference_batch_norm,
        equations="y = γ (x - μ)/√(v + ε) + β, μ and v of each channel",
        constants=(1, 2),
        errors=(
            _batch_norm_error((3,), r"batch_norm: x must have shape \(N, C, …\), got \(3,\)"),
            _batch_norm_error((0, 3), r"batch_norm: x must not be empty, got shape \(0, 3\)"),
            _batch_norm_error((1, 3), r"batch_norm: training needs more than one value a channel.*\(1, 3\)"),
            _batch_norm_error(
                (1, 3, 1, 1), r"batch_norm: training needs more than one value a channel.*\(1, 3, 1, 1\)"
            ),
            _batch_norm_error(
                (2, 3), r"batch_norm: running_mean must have shape \(3,\), got \(2,\)", at=[(1, np.ones(2))]
            ),
            _batch_norm_error(
                (2, 3), r"batch_norm: weight must have shape \(3,\), got \(1, 3\)", at=[(3, np.ones((1, 3)))]
            ),
            _batch_norm_error((2, 3), r"batch_norm: bias must have shape \(3,\), got \(4,\)", at=[(4, np.ones(4))]),
            _batch_norm_error(
                (2, 3), r"batch_norm: running_mean and running_var must be given together", at=[(2, None)]
            ),
            _batch_norm_error(
                (2, 3), r"batch_norm: evaluation needs running_mean", at=[(1, None), (2, None)], training=False
            ),
            _batch_norm_error((2, 3), r"batch_norm: momentum must be in \[0, 1\], got 1.5", momentum=1.5),
            _batch_norm_error((2, 3), r"batch_norm: eps must be > 0, got 0.0", eps=0.0),
        ),
    ),
    OpCase(
        name="layer_norm",
        op=ops.layer_norm,
        samples=layer_norm_samples,
        reference=reference_layer_norm,
        equations="y = γ x̂ + β, x̂ standardised over the trailing axes",
        errors=(
            ErrorCase(
                Sample((np.ones((2, 3)), None, None), {"normalized_shape": 2}),
                ValueError,
                r"layer_norm: x must end in the axes normalized_shape=\(2,\), got shape \(2, 3\)",
            ),
            ErrorCase(
                Sample((np.ones((2, 3)), None, None), {"normalized_shape": ()}), ValueError, r"layer_norm: .*=\(\)"
            ),
            ErrorCase(
                Sample((np.ones((2, 3)), np.ones(2), None), {"normalized_shape": 3}),
                ValueError,
                r"layer_norm: weight must have shape \(3,\), got \(2,\)",
            ),
            ErrorCase(
                Sample((np.ones((2, 3)), None, np.ones((1, 3))), {"normalized_shape": 3}),
                ValueError,
                r"layer_norm: bias must have shape \(3,\), got \(1, 3\)",
            ),
            ErrorCase(
                Sample((np.ones((0, 3)), None, None), {"normalized_shape": 3}), ValueError, r"layer_norm: .* \(0, 3\)"
            ),
            ErrorCase(
                Sample((np.ones((2, 3)), None, None), {"normalized_shape": 3, "eps": -1.0}),
                ValueError,
                r"layer_norm: eps must be > 0, got -1.0",
            ),
        ),
    ),
    OpCase(
        name="group_norm",
        op=ops.group_norm,
        samples=group_norm_samples,
        reference=reference_group_norm,
        equations="y = γ x̂ + β, x̂ standardised over each group of channels",
        errors=(
            ErrorCase(
                Sample((np.ones((2, 4)), None, None), {"num_groups": 3}),
                ValueError,
                r"group_norm: num_groups must divide the channels, got 3 and 4 channels",
            ),
            ErrorCase(
                Sample((np.ones((2, 4)), None, None), {"num_groups": 0}), ValueError, r"group_norm: num_groups .* 0"
            ),
            ErrorCase(
                Sample((np.ones((2, 4)), np.ones(2), None), {"num_groups": 2}),
                ValueError,
                r"group_norm: weight must have shape \(4,\), got \(2,\)",
            ),
            ErrorCase(Sample((np.ones(4), None, None), {"num_groups": 1}), ValueError, r"group_norm: x must .*\(4,\)"),
            ErrorCase(
                Sample((np.ones((2, 0)), None, None), {"num_groups": 1}), ValueError, r"group_norm: x must not be empty"
            ),
        ),
    ),
]
