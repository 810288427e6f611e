"""Specification of the matrix products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample


def reference_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y_{…mn} = Σ_k a_{…mk} b_{…kn}."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
    y = np.zeros((*batch, a.shape[-2], b.shape[-1]))
    for *i, m, n in np.ndindex(y.shape):
        for k in range(a.shape[-1]):
            y[(*i, m, n)] += a[(*i, m, k)] * b[(*i, k, n)]
    return y


def reference_linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """y_{…o} = b_o + Σ_k x_{…k} w_{ok}."""
    y = np.zeros((*x.shape[:-1], weight.shape[0]))
    for *i, o in np.ndindex(y.shape):
        y[(*i, o)] = 0.0 if bias is None else bias[o]
        for k in range(x.shape[-1]):
            y[(*i, o)] += x[(*i, k)] * weight[o, k]
    return y


def matmul_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for a, b in [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 1, 2, 3), (3, 3, 1)), ((2, 3), (2, 3, 4))]:
        yield Sample((rng.normal(size=a), rng.normal(size=b)))


def linear_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for lead in [(2,), (2, 4), ()]:
        yield Sample((rng.normal(size=(*lead, 3)), rng.normal(size=(5, 3)), rng.normal(size=5)))
    yield Sample((rng.normal(size=(2, 3)), rng.normal(size=(5, 3)), None))


def matmul_drawn():
    """Broadcasting batches of matrix products."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        m, k, n = (draw(st.integers(1, 4)) for _ in range(3))
        batch = draw(st.lists(st.integers(1, 3), max_size=2))
        lead_a = [1 if draw(st.booleans()) else d for d in batch]
        lead_b = [1 if draw(st.booleans()) else d for d in batch][draw(st.integers(0, len(batch))) :]
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        return Sample((rng.normal(size=(*lead_a, m, k)), rng.normal(size=(*lead_b, k, n))))

    return sample()


CASES = [
    OpCase(
        name="matmul",
        op=ops.matmul,
        samples=matmul_samples,
        reference=reference_matmul,
        equations="Y = A B",
        linear_in=(0, 1),
        errors=(
            ErrorCase(Sample((np.ones((2, 3)), np.ones((2, 3)))), ValueError, r"matmul: shapes must be .*\(2, 3\)"),
            ErrorCase(Sample((np.ones(3), np.ones((3, 2)))), ValueError, r"matmul: shapes must be .*\(3,\)"),
        ),
        draw=matmul_drawn,
    ),
    OpCase(
        name="linear",
        op=ops.linear,
        samples=linear_samples,
        reference=reference_linear,
        equations="y = x Wᵀ + b",
        linear_in=(),
        errors=(
            ErrorCase(Sample((np.ones((2, 3)), np.ones((5, 4)), None)), ValueError, r"linear: .* share K.*\(5, 4\)"),
            ErrorCase(
                Sample((np.ones((2, 3)), np.ones((5, 3)), np.ones(3))), ValueError, r"linear: bias .*\(5,\).*\(3,\)"
            ),
        ),
    ),
]
