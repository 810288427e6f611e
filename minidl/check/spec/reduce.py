"""Specification of the reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample


def group_by_group(f: Callable[..., float]) -> Callable[..., np.ndarray]:
    """The reference of y_r = f([x_r1, x_r2, …]): the elements are dealt out to their groups one at a time."""

    def reference(x: np.ndarray, axis: Any = None, keepdims: bool = False, **params: Any) -> np.ndarray:
        chosen = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
        reduced = {a if a >= 0 else a + x.ndim for a in chosen}
        groups: dict[tuple[int, ...], list[float]] = {
            r: [] for r in np.ndindex(*(1 if a in reduced else n for a, n in enumerate(x.shape)))
        }
        for i in np.ndindex(x.shape):
            groups[tuple(0 if a in reduced else j for a, j in enumerate(i))].append(float(x[i]))
        y = np.zeros([1 if a in reduced else n for a, n in enumerate(x.shape)])
        for r, elements in groups.items():
            y[r] = f(elements, **params)
        return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in reduced])

    return reference


def variance(elements: list[float], correction: float = 0) -> float:
    mean = math.fsum(elements) / len(elements)
    return math.fsum((x - mean) ** 2 for x in elements) / (len(elements) - correction)


def logarithm_of_sum(elements: list[float]) -> float:
    """ln Σ eˣ with the largest term taken out: ln eˣ of a small x alone would lose its digits."""
    *rest, largest = sorted(elements)
    if largest == -math.inf:
        return largest
    return largest + math.log1p(math.fsum(math.exp(x - largest) for x in rest))


def reduction_samples(*params: dict[str, Any]) -> Callable[[np.random.Generator], Iterator[Sample]]:
    """Every way to name axes, each with every one of `params`."""

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for p in params or ({},):
            yield Sample((rng.normal(size=(2, 3, 4)),), p)
            for axis in [0, -1, (0, 2), (1, -1), [0, 1, 2]]:
                yield Sample((rng.normal(size=(2, 3, 4)),), {**p, "axis": axis})
                yield Sample((rng.normal(size=(2, 3, 4)),), {**p, "axis": axis, "keepdims": True})
            yield Sample((rng.normal(size=(0, 3)),), {**p, "axis": 1})  # no group at all

    return samples


def sum_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from reduction_samples()(rng)
    yield Sample((rng.normal(size=(3, 0)),), {"axis": 1})  # groups without elements
    yield Sample((rng.normal(size=(2, 3)),), {"axis": ()})
    yield Sample((np.asarray(rng.normal()),))


def reduction_drawn() -> Any:
    """Reductions of any shape along any axes."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape = draw(st.lists(st.integers(2, 4), max_size=4))
        axes = draw(st.sets(st.sampled_from(range(len(shape))))) if shape else set()
        axis = draw(st.sampled_from([None, tuple(axes), tuple(a - len(shape) for a in axes)]))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        return Sample((rng.normal(size=shape),), {"axis": axis, "keepdims": draw(st.booleans())})

    return sample()


def errors(name: str) -> tuple[ErrorCase, ...]:
    """What every reduction refuses."""
    x = (np.ones((2, 3)),)
    return (
        ErrorCase(Sample(x, {"axis": 2}), ValueError, rf"{name}: axis must be in \[-2, 2\), got 2"),
        ErrorCase(Sample(x, {"axis": (0, -2)}), ValueError, rf"{name}: axis must name each axis once, got \(0, -2\)"),
        ErrorCase(Sample(x, {"axis": 1.0}), TypeError, rf"{name}: axis must be an integer, got 1\.0"),
    )


def empty(name: str) -> tuple[ErrorCase, ...]:
    """What the reductions refuse that have no value for no elements."""
    rule = rf"{name}: needs at least one element along axis \(0,\), got shape \(0, 3\)"
    return (*errors(name), ErrorCase(Sample((np.ones((0, 3)),), {"axis": 0}), ValueError, rule))


TIES = (np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 2.0]]),)

CASES = [
    OpCase(
        name="sum",
        op=ops.sum,
        samples=sum_samples,
        reference=group_by_group(math.fsum),
        equations="y = Σ_i x_i",
        linear_in=(0,),
        errors=errors("sum"),
        draw=reduction_drawn,
    ),
    OpCase(
        name="mean",
        op=ops.mean,
        samples=reduction_samples(),
        reference=group_by_group(lambda elements: math.fsum(elements) / len(elements)),
        equations="y = Σ_i x_i / n",
        linear_in=(0,),
        errors=empty("mean"),
        draw=reduction_drawn,
    ),
    OpCase(
        name="max",
        op=ops.max,
        samples=reduction_samples(),
        reference=group_by_group(lambda elements: sorted(elements)[-1]),
        equations="y = max_i x_i",
        kinks=(
            Kink(
                "the maximum is reached k times: 1/k each",
                Sample(TIES, {"axis": 1}),
                (np.array([[1 / 4, 1 / 4, 1 / 4, 1 / 4], [0, 1 / 2, 0, 1 / 2]]),),
            ),
        ),
        errors=empty("max"),
        draw=reduction_drawn,
    ),
    OpCase(
        name="min",
        op=ops.min,
        samples=reduction_samples(),
        reference=group_by_group(lambda elements: sorted(elements)[0]),
        equations="y = min_i x_i",
        kinks=(
            Kink(
                "the minimum is reached k times: 1/k each",
                Sample(TIES, {"axis": 1}),
                (np.array([[1 / 4, 1 / 4, 1 / 4, 1 / 4], [1 / 2, 0, 1 / 2, 0]]),),
            ),
        ),
        errors=empty("min"),
        draw=reduction_drawn,
    ),
    OpCase(
        name="var",
        op=ops.var,
        samples=reduction_samples({}, {"correction": 1}),
        reference=group_by_group(variance),
        equations="y = Σ_i (x_i − x̄)² / (n − c)",
        errors=(
            *empty("var"),
            ErrorCase(
                Sample((np.ones((2, 3)),), {"axis": 0, "correction": 2}),
                ValueError,
                r"var: correction must be in \[0, n\) with n=2 elements along axis \(0,\), got 2",
            ),
            ErrorCase(
                Sample((np.ones(3),), {"correction": -1}), ValueError, r"var: correction must be in \[0, n\).* got -1"
            ),
        ),
        draw=reduction_drawn,
    ),
    OpCase(
        name="logsumexp",
        op=ops.logsumexp,
        samples=reduction_samples(),
        reference=group_by_group(logarithm_of_sum),
        equations="y = ln Σ_i exp x_i",
        kinks=(Kink("every x = −∞: 0", Sample((np.full(3, -np.inf),)), (np.zeros(3),)),),
        errors=empty("logsumexp"),
        draw=reduction_drawn,
    ),
]
