"""Specification of softmax and log_softmax."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample


def reference_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(x_i) / Σ_j exp(x_j) along `axis`."""
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        row = list(i)
        total = 0.0
        for j in range(x.shape[axis]):
            row[axis] = j
            total += math.exp(x[tuple(row)])
        y[i] = math.exp(x[i]) / total
    return y


def reference_log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """x_i - log Σ_j exp(x_j) along `axis`."""
    y = np.zeros(x.shape)
    for i, p in np.ndenumerate(reference_softmax(x, axis)):
        y[i] = math.log(p)
    return y


def samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((2 * rng.normal(size=(3, 4)),))
    yield Sample((rng.normal(size=5),))
    yield Sample((rng.normal(size=(2, 1)),))
    for axis in (0, 1, -1):
        yield Sample((rng.normal(size=(2, 3, 4)),), {"axis": axis})


def drawn():
    """Any shape, any axis."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        return Sample((rng.normal(size=shape),), {"axis": axis})

    return sample()


def _errors(op: str) -> tuple[ErrorCase, ...]:
    return (
        ErrorCase(Sample((np.ones((2, 3)),), {"axis": 2}), ValueError, rf"{op}: axis must be in \[-2, 2\), got 2"),
        ErrorCase(Sample((np.ones(()),)), ValueError, rf"{op}: axis must be absent"),
        ErrorCase(Sample((np.ones((2, 0)),)), ValueError, rf"{op}: axis 1 must not be empty, .*\(2, 0\)"),
        ErrorCase(Sample((np.ones((2, 3)),), {"axis": 1.0}), TypeError, rf"{op}: axis must be an integer, got 1.0"),
    )


CASES = [
    OpCase(
        name="softmax",
        op=ops.softmax,
        samples=samples,
        reference=reference_softmax,
        equations="p = exp(x) / Σ exp(x)",
        errors=_errors("softmax"),
        draw=drawn,
    ),
    OpCase(
        name="log_softmax",
        op=ops.log_softmax,
        samples=samples,
        reference=reference_log_softmax,
        equations="ℓ = x - log Σ exp(x)",
        errors=_errors("log_softmax"),
        draw=drawn,
    ),
]
