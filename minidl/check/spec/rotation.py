"""Specification of the statistically rotated logits."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample


def reference_stat_rot_linear(x, weight, noise, angle=math.pi / 4) -> np.ndarray:
    """One logit at a time: mean w·x cos α, deviation |x| |w⊥| sin α / √(D′ − 1) with w⊥ = w − x (w·x)/|x|²."""
    y = np.zeros(noise.shape)
    for n, k in np.ndindex(y.shape):
        z = sum(x[n, d] * weight[k, d] for d in range(x.shape[1]))
        length2 = sum(x[n, d] ** 2 for d in range(x.shape[1]))
        across = [weight[k, d] - x[n, d] * z / length2 if length2 else 0.0 for d in range(x.shape[1])]
        deviation = math.sqrt(length2 * sum(a * a for a in across) / (min(weight.shape) - 1))
        y[n, k] = z * math.cos(angle) + noise[n, k] * deviation * math.sin(angle)
    return y


def stat_rot_linear_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for n, d, k, angle in [(3, 7, 5, math.pi / 4), (2, 3, 6, 0.3), (2, 2, 2, -2.0), (1, 4, 3, 0)]:
        inputs = rng.normal(size=(n, d)), rng.normal(size=(k, d)), rng.normal(size=(n, k))
        yield Sample(inputs, {"angle": angle})
    yield Sample((rng.normal(size=(2, 4)), rng.normal(size=(3, 4)), rng.normal(size=(2, 3))))


def refused(message: str, x: tuple, weight: tuple, noise: tuple, **params) -> ErrorCase:
    return ErrorCase(
        Sample((np.ones(x), np.ones(weight), np.ones(noise)), params), ValueError, f"^stat_rot_linear: {message}"
    )


CASES = [
    OpCase(
        name="stat_rot_linear",
        op=ops.stat_rot_linear,
        samples=stat_rot_linear_samples,
        reference=reference_stat_rot_linear,
        equations="z̃ = z cos α + e √(|x|²|w|² − z²) sin α / √(D′ − 1), z = x Wᵀ",
        constants=(2,),
        kinks=(
            Kink(
                "x parallel to w, or 0: the root does not act",
                Sample((np.zeros((1, 2)), np.array([[1.0, 2.0], [-1.0, -2.0]]), np.ones((1, 2)))),
                (np.zeros((1, 2)), np.zeros((2, 2)), None),
            ),
        ),
        errors=(
            refused(r"x \(N, D\) and weight \(K, D\) must share D, got \(2, 3\) and \(4, 2\)", (2, 3), (4, 2), (2, 4)),
            refused(r"x \(N, D\) and weight \(K, D\) must share D, got \(3,\) and \(4, 3\)", (3,), (4, 3), (4,)),
            refused(r"weight \(K, D\) must have K >= 2 and D >= 2, got \(1, 3\)", (2, 3), (1, 3), (2, 1)),
            refused(r"weight \(K, D\) must have K >= 2 and D >= 2, got \(4, 1\)", (2, 1), (4, 1), (2, 4)),
            refused(r"noise must have shape \(2, 4\), got \(1, 4\)", (2, 3), (4, 3), (1, 4)),
            refused("angle must be a number, got nan", (2, 3), (4, 3), (2, 4), angle=math.nan),
            refused("angle must be finite, got inf", (2, 3), (4, 3), (2, 4), angle=math.inf),
        ),
    ),
]
