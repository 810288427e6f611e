"""Properties that hold of every op in the specification, on every sample of it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from minidl import Tensor
from minidl.check.derivative import central_difference, complex_step
from minidl.check.spec import CASES, OpCase, Sample

SAMPLES = [
    pytest.param(case, sample, id=f"{case.name}-{i}")
    for case in CASES
    for i, sample in enumerate(case.samples(np.random.default_rng(0)))
]


def tensors(case: OpCase, sample: Sample, dtype=np.float64) -> list[Tensor | None]:
    return [
        None if x is None else Tensor(x.astype(dtype), requires_grad=i not in case.constants)
        for i, x in enumerate(sample.inputs)
    ]


def cotangent(y: Tensor) -> np.ndarray:
    return np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)


def gradients(case: OpCase, sample: Sample, dtype=np.float64) -> tuple[Tensor, list[np.ndarray | None]]:
    xs = tensors(case, sample, dtype)
    y = case.op(*xs, **sample.params)
    y.backward(cotangent(y))
    return y, [None if x is None else x.grad for x in xs]


@pytest.mark.parametrize(("case", "sample"), SAMPLES)
def test_forward_equals_the_formula(case: OpCase, sample: Sample) -> None:
    y = case.op(*tensors(case, sample), **sample.params)
    np.testing.assert_allclose(y.data, case.reference(*sample.inputs, **sample.params), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("case", "sample"), SAMPLES)
def test_backward_equals_a_numerical_derivative(case: OpCase, sample: Sample) -> None:
    y, gxs = gradients(case, sample)
    gy = cotangent(y)
    for i, x in enumerate(sample.inputs):
        if x is None or i in case.constants:
            continue

        def loss(z: np.ndarray, i: int = i) -> complex:
            inputs = [z if k == i else v for k, v in enumerate(sample.inputs)]
            return (gy * case.op(*[None if v is None else Tensor(v) for v in inputs], **sample.params).data).sum()

        if case.analytic:
            expected, tolerance = complex_step(loss, x), 1e-11
        else:
            expected, tolerance = central_difference(loss, x), 1e-7
        np.testing.assert_allclose(gxs[i], expected, rtol=tolerance, atol=tolerance, err_msg=f"input {i}")


@pytest.mark.parametrize(("case", "sample"), SAMPLES)
def test_adjoint_identity(case: OpCase, sample: Sample) -> None:
    y, gxs = gradients(case, sample)
    for i in case.linear_in:
        assert np.vdot(y.data, cotangent(y)) == pytest.approx(np.vdot(sample.inputs[i], gxs[i]), rel=1e-12)


@pytest.mark.parametrize(("case", "sample"), SAMPLES)
def test_backward_twice_gives_the_same_bits_and_writes_to_nothing(case: OpCase, sample: Sample) -> None:
    xs = tensors(case, sample)
    y = case.op(*xs, **sample.params)
    gy = cotangent(y)
    gy.flags.writeable = False  # the inputs are read-only already
    first, second = y.grad_fn.backward(gy), y.grad_fn.backward(gy)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("case", "sample"), SAMPLES)
def test_float32_stays_float32(case: OpCase, sample: Sample) -> None:
    y, gxs = gradients(case, sample, np.float32)
    assert y.dtype == np.float32
    assert {g.dtype for g in gxs if g is not None} <= {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("case", "error"), [pytest.param(c, e, id=f"{c.name}-{i}") for c in CASES for i, e in enumerate(c.errors)]
)
def test_declared_errors(case: OpCase, error) -> None:
    with pytest.raises(error.exception, match=error.message):
        case.op(*tensors(case, error.sample), **error.sample.params)


@pytest.mark.parametrize(
    ("case", "kink"), [pytest.param(c, k, id=f"{c.name}: {k.where}") for c in CASES for k in c.kinks]
)
def test_subgradient_at_a_kink_is_the_stated_one(case: OpCase, kink) -> None:
    xs = tensors(case, kink.sample)
    y = case.op(*xs, **kink.sample.params)
    y.backward(np.ones_like(y.data))
    for x, expected in zip(xs, kink.gradients, strict=True):
        if expected is not None:
            np.testing.assert_array_equal(x.grad, expected)


def test_every_public_op_has_a_case() -> None:
    from minidl import ops

    public = {name for name, value in vars(ops).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert {case.name for case in CASES} == public
