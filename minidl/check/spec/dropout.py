"""Specification of dropout."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample


def reference_dropout(x: np.ndarray, mask: np.ndarray, p: float = 0.5) -> np.ndarray:
    """y = x / (1 - p) where the mask, aligned at the last axis, is true; else 0."""
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        aligned = i[x.ndim - mask.ndim :]
        kept = mask[tuple(0 if n == 1 else j for j, n in zip(aligned, mask.shape, strict=True))]
        y[i] = x[i] / (1 - p) if kept else 0.0
    return y


def samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.normal(size=(3, 4)),), {"mask": rng.random((3, 4)) >= 0.5})
    yield Sample((rng.normal(size=(2, 3, 2, 2)),), {"mask": rng.random((2, 3, 1, 1)) >= 0.3, "p": 0.3})
    yield Sample((rng.normal(size=(2, 4)),), {"mask": np.array([True, False, True, True]), "p": 0.9})
    yield Sample((rng.normal(size=5),), {"mask": np.ones(5, bool), "p": 0.0})


def drawn():
    """Masks that broadcast in any way."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        mask = [1 if draw(st.booleans()) else n for n in shape][draw(st.integers(0, len(shape))) :]
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        p = draw(st.floats(0, 0.95))
        return Sample((rng.normal(size=shape),), {"mask": np.asarray(rng.random(mask) >= p), "p": p})

    return sample()


def _error(message: str, exception: type[Exception] = ValueError, mask=None, **params) -> ErrorCase:
    mask = np.ones(3, bool) if mask is None else mask
    return ErrorCase(Sample((np.ones((2, 3)),), {"mask": mask, **params}), exception, message)


CASES = [
    OpCase(
        name="dropout",
        op=ops.dropout,
        samples=samples,
        reference=reference_dropout,
        equations="y = x m / (1 - p)",
        linear_in=(0,),
        errors=(
            _error(r"dropout: p must be in \[0, 1\), got 1.0", p=1.0),
            _error(r"dropout: p must be in \[0, 1\), got -0.1", p=-0.1),
            _error(r"dropout: p must be a number, got nan", p=float("nan")),
            _error(r"dropout: mask must broadcast to shape \(2, 3\), got \(2,\)", mask=np.ones(2, bool)),
            _error(r"dropout: mask must broadcast to shape \(2, 3\), got \(1, 2, 3\)", mask=np.ones((1, 2, 3), bool)),
            _error(r"dropout: mask must be boolean, .* got dtype float64", TypeError, mask=np.ones(3)),
        ),
        draw=drawn,
    ),
]
