"""Specification of the smooth elementwise functions, and what the specifications of other elementwise ops share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample

Domain = tuple[float, float]  # values are drawn uniformly from this interval
ANY: Domain = (-3.0, 3.0)
POSITIVE: Domain = (0.3, 3.0)  # away from 0, where log and powers are singular


def one_by_one(f: Callable[..., float]) -> Callable[..., np.ndarray]:
    """The reference of y = f(a, …): one element at a time, inputs read at the index that broadcasting gives them."""

    def reference(*inputs: np.ndarray, **params: Any) -> np.ndarray:
        y = np.zeros(np.broadcast_shapes(*(x.shape for x in inputs)))
        for i in np.ndindex(y.shape):
            values = [
                x[tuple(0 if n == 1 else j for n, j in zip(x.shape, i[len(i) - x.ndim :], strict=True))] for x in inputs
            ]
            y[i] = f(*map(float, values), **params)
        return y

    return reference


def unary_samples(domain: Domain, *params: dict[str, Any]) -> Callable[[np.random.Generator], Iterator[Sample]]:
    """Samples of one input: a matrix, a scalar and no element at all; each with every one of `params`."""

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for p in params or ({},):
            for shape in [(2, 5), (), (3, 0)]:
                yield Sample((rng.uniform(*domain, shape),), p)

    return samples


def binary_samples(a: Domain, b: Domain) -> Callable[[np.random.Generator], Iterator[Sample]]:
    """Samples of two inputs: equal shapes, every way to broadcast, and no element at all."""

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for shape_a, shape_b in [
            ((2, 3), (2, 3)),
            ((2, 3), (3,)),
            ((), (2, 3)),
            ((2, 1), (1, 3)),
            ((4, 1, 3), (2, 1)),
            ((0, 3), (1, 3)),
        ]:
            yield Sample((rng.uniform(*a, shape_a), rng.uniform(*b, shape_b)))

    return samples


def broadcasting_drawn(*domains: Domain) -> Callable[[], Any]:
    """A hypothesis strategy of Samples whose inputs broadcast, one input per domain."""

    def drawn():
        from hypothesis import strategies as st

        @st.composite
        def sample(draw) -> Sample:
            full = draw(st.lists(st.integers(0, 3), max_size=3))
            shapes = [
                [1 if draw(st.booleans()) else n for n in full][draw(st.integers(0, len(full))) :] for _ in domains
            ]
            rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
            return Sample(tuple(rng.uniform(*d, s) for d, s in zip(domains, shapes, strict=True)))

        return sample()

    return drawn


def shapes_refused(name: str) -> ErrorCase:
    """The error of a binary op whose shapes do not broadcast."""
    sample = Sample((np.ones((2, 3)), np.ones(2)))
    return ErrorCase(sample, ValueError, rf"{name}: shapes must broadcast, got \(2, 3\) and \(2,\)")


def binary(name: str, f: Callable[..., float], equations: str, a: Domain = ANY, b: Domain = ANY, **rest: Any) -> OpCase:
    """The case of a broadcasting op y = f(a, b)."""
    return OpCase(
        name=name,
        op=getattr(ops, name),
        samples=binary_samples(a, b),
        reference=one_by_one(f),
        equations=equations,
        errors=(shapes_refused(name),),
        draw=broadcasting_drawn(a, b),
        **rest,
    )


def unary(name: str, f: Callable[..., float], equations: str, domain: Domain = ANY, **rest: Any) -> OpCase:
    """The case of an op y = f(x)."""
    return OpCase(
        name=name,
        op=getattr(ops, name),
        samples=unary_samples(domain),
        reference=one_by_one(f),
        equations=equations,
        **rest,
    )


def reference_astype(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """y = x, rounded to nearest."""
    y = np.zeros(x.shape, dtype)
    for i in np.ndindex(x.shape):
        y[i] = x[i]
    return y


def pow_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from binary_samples(POSITIVE, ANY)(rng)
    yield Sample((rng.uniform(*POSITIVE, (2, 3)), np.array([-1.0, 0.0, 2.0])))


CASES = [
    binary("add", lambda a, b: a + b, "y = a + b"),
    binary("sub", lambda a, b: a - b, "y = a − b"),
    binary("mul", lambda a, b: a * b, "y = a b", linear_in=(0, 1)),
    binary("div", lambda a, b: a / b, "y = a / b", b=POSITIVE, linear_in=(0,)),
    OpCase(
        name="pow",
        op=ops.pow,
        samples=pow_samples,
        reference=one_by_one(math.pow),
        equations="y = aᵇ",
        kinks=(
            Kink(
                "a = 0: 0 · ∞ is 0",
                Sample((np.zeros(3), np.array([0.0, 1.0, 2.0]))),
                (np.array([0.0, 1.0, 0.0]), np.zeros(3)),
            ),
        ),
        errors=(shapes_refused("pow"),),
        draw=broadcasting_drawn(POSITIVE, ANY),
    ),
    unary("neg", lambda x: -x, "y = −x", linear_in=(0,)),
    unary("exp", math.exp, "y = eˣ"),
    unary("log", math.log, "y = ln x", POSITIVE),
    unary("sqrt", math.sqrt, "y = √x", POSITIVE),
    OpCase(
        name="astype",
        op=ops.astype,
        samples=unary_samples(ANY, {"dtype": "float32"}, {"dtype": "float64"}),
        reference=reference_astype,
        equations="y = x",
        errors=(
            ErrorCase(Sample((np.ones(2),), {"dtype": "int64"}), TypeError, "astype: dtype must be .* got 'int64'"),
            ErrorCase(Sample((np.ones(2),), {"dtype": None}), TypeError, "astype: dtype must be .* got None"),
            ErrorCase(Sample((np.ones(2),), {"dtype": "real"}), TypeError, "astype: dtype must be .* got 'real'"),
        ),
    ),
]
