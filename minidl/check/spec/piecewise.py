"""Specification of the functions in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample
from minidl.check.spec.elementwise import ANY, binary, binary_samples, broadcasting_drawn, one_by_one, unary

EQUAL = Sample((np.array([1.0, 2.0]), np.array([1.0, 2.0])))
HALF = (np.full(2, 0.5), np.full(2, 0.5))
BOUNDS: tuple[dict[str, Any], ...] = ({"min": -1.0, "max": 1.5}, {"min": 0.5}, {"max": 0.5}, {"min": 1, "max": 1})


def reference_clip(x: float, min: float | None = None, max: float | None = None) -> float:
    if min is not None and x < min:
        return min
    return max if max is not None and x > max else x


def clip_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for bounds in BOUNDS:
        for shape in [(2, 5), (), (3, 0)]:
            yield Sample((rng.uniform(*ANY, shape),), bounds)


def reference_where(a: np.ndarray, b: np.ndarray, condition: np.ndarray) -> np.ndarray:
    return one_by_one(lambda c, a, b: a if c else b)(np.asarray(condition), a, b)


def where_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for sample in binary_samples(ANY, ANY)(rng):
        a, b = sample.inputs
        assert a is not None and b is not None
        yield Sample((a, b), {"condition": rng.random(np.broadcast_shapes(a.shape, b.shape)) < 0.5})
    yield Sample((rng.normal(size=(2, 1)), rng.normal(size=())), {"condition": np.array([[[True], [False]]])})


def where_drawn() -> Any:
    """A condition and two inputs that broadcast."""

    def with_condition(sample: Sample) -> Sample:
        c, a, b = sample.inputs
        assert c is not None
        return Sample((a, b), {"condition": c > 0})

    return broadcasting_drawn(ANY, ANY, ANY)().map(with_condition)


CASES = [
    unary(
        "abs", lambda x: x if x > 0 else -x, "y = |x|", kinks=(Kink("x = 0", Sample((np.zeros(2),)), (np.zeros(2),)),)
    ),
    OpCase(
        name="clip",
        op=ops.clip,
        samples=clip_samples,
        reference=one_by_one(reference_clip),
        equations="y = min(max(x, lo), hi)",
        kinks=(
            Kink("x at a bound: 1", Sample((np.array([-1.0, 0.0, 2.0]),), {"min": -1.0, "max": 2.0}), (np.ones(3),)),
        ),
        errors=(
            ErrorCase(Sample((np.ones(2),)), ValueError, "clip: min or max must be given, got None for both"),
            ErrorCase(
                Sample((np.ones(2),), {"min": 2, "max": 1}),
                ValueError,
                r"clip: min must be <= max, got min=2\.0, max=1\.0",
            ),
            ErrorCase(Sample((np.ones(2),), {"max": np.nan}), ValueError, "clip: max must be a number, got nan"),
            ErrorCase(Sample((np.ones(2),), {"min": "0"}), ValueError, "clip: min must be a number, got '0'"),
        ),
    ),
    binary(
        "maximum",
        lambda a, b: a if a > b else b,
        "y = max(a, b)",
        kinks=(Kink("a = b: half each", EQUAL, HALF),),
    ),
    binary(
        "minimum",
        lambda a, b: a if a < b else b,
        "y = min(a, b)",
        kinks=(Kink("a = b: half each", EQUAL, HALF),),
    ),
    OpCase(
        name="where",
        op=lambda a, b, condition: ops.where(condition, a, b),
        samples=where_samples,
        reference=reference_where,
        equations="y = a if c, else b",
        errors=(
            ErrorCase(
                Sample((np.ones(2), np.ones(2)), {"condition": np.ones(2)}),
                TypeError,
                "where: condition must be boolean, got dtype float64",
            ),
            ErrorCase(
                Sample((np.ones(2), np.ones(3)), {"condition": np.array([True])}),
                ValueError,
                r"where: shapes must broadcast, got \(2,\) and \(3,\)",
            ),
            ErrorCase(
                Sample((np.ones(2), np.ones(2)), {"condition": np.array([True, False, True])}),
                ValueError,
                r"where: shapes must broadcast, got \(3,\), \(2,\) and \(2,\)",
            ),
        ),
        draw=where_drawn,
    ),
]
