"""The proof machinery itself: for each property, an op that breaks it, and one that breaks none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from minidl import Function
from minidl.autograd import as_tensor
from minidl.check import properties as p
from minidl.check.bounds import gamma, roundings
from minidl.check.derivative import complex_step, richardson
from minidl.check.spec import OpCase, Sample
from minidl.check.truth import Truth, difference


class Scale(Function):
    """y = a b m, m a parameter: right in every respect, the base of the faulty ones."""

    def forward(self, a, b, mask):
        self.a, self.b, self.mask = a, b, mask.astype(a.real.dtype)
        return a * b * self.mask

    def backward(self, gy):
        needs_ga, needs_gb = self.needs_grad
        return gy * self.b * self.mask if needs_ga else None, gy * self.a * self.mask if needs_gb else None


def case_of(function: type[Function], **changes: Any) -> OpCase:
    def samples(rng: np.random.Generator):
        for shape in [(2, 3), (2, 1, 3, 2)]:
            mask = np.ones(shape)
            mask.flat[0] = 0.0
            yield Sample((rng.uniform(1, 2, shape), rng.uniform(1, 2, shape)), {"mask": mask})

    def op(a, b, mask):
        return function.apply(as_tensor(a), as_tensor(b), mask=mask)

    return OpCase(
        **{
            "name": "scale",
            "op": op,
            "samples": samples,
            "reference": lambda a, b, mask: a * b * mask,
            "equations": "y = a b m",
            "linear_in": (0, 1),
        }
        | changes
    )


def test_the_right_op_breaks_no_property() -> None:
    assert p.violations(case_of(Scale)) == []
    assert p.violations(case_of(Scale, analytic=False)) == []


class WrongForward(Scale):
    def forward(self, a, b, mask):
        return super().forward(a, b, mask) * (1 + 1e-12)


class WrongSign(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return ga, None if gb is None else -gb


class WrongByALittle(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return ga, None if gb is None else gb * (1 + 1e-7)


class CotangentIgnored(Scale):
    def backward(self, gy):
        return super().backward(np.ones_like(gy))


class Swapped(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return gb, ga


class OneElementMissed(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        if ga is not None:
            ga.flat[-1] = 0.0
        return ga, gb


class AnotherMultiple(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return None if ga is None else 2 * ga, gb


class WritesToItsParameter(Scale):
    def forward(self, a, b, mask):
        y = super().forward(a, b, mask)
        mask[...] = 0.0
        return y


class FreezesItsParameter(Scale):
    def forward(self, a, b, mask):
        mask.flags.writeable = False
        return super().forward(a, b, mask)


class WritesToWhatItSaved(Scale):
    def backward(self, gy):
        gradients = super().backward(gy)
        self.mask *= 2
        return gradients


class DrawsNumbers(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return None if ga is None else ga + 1e-300 * np.random.random(ga.shape), gb  # noqa: NPY002


class ReusesItsOutput(Scale):
    shared: ClassVar[dict[Any, np.ndarray]] = {}

    def forward(self, a, b, mask):
        y = super().forward(a, b, mask)
        buffer = self.shared.setdefault((y.shape, y.dtype), y.copy())
        buffer[...] = y
        return buffer.view()


class Doubles(Scale):
    def forward(self, a, b, mask):
        y = super().forward(a, b, mask)
        return y if y.dtype.kind == "c" else y.astype(np.float64)

    def backward(self, gy):
        return super().backward(gy.astype(self.a.dtype))


class HalfPrecisionInside(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return ga, None if gb is None else gb.astype(np.float16).astype(gb.dtype) if gb.dtype == np.float32 else gb


class ReadsMemoryOrder(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return None if ga is None else (gy.ravel("K") * (self.b * self.mask).ravel("K")).reshape(gy.shape), gb


class ComputesWhatNobodyNeeds(Scale):
    def backward(self, gy):
        return gy * self.b * self.mask, gy * self.a * self.mask


class NeedsBoth(Scale):
    def backward(self, gy):
        ga, gb = super().backward(gy)
        return ga, None if gb is None else gb if ga is not None else 2 * gb


class KeepsTheCallersArray(Scale):
    def forward(self, a, b, mask):
        y = super().forward(a, b, mask)
        self.mask = mask
        return y


class OneFormOfTheKernels(Scale):
    def forward(self, a, b, mask):
        y = super().forward(a, b, mask)
        return y * 2 if self.kernels.__name__.endswith("array") else y


class HidesNaN(Scale):
    def forward(self, a, b, mask):
        y = super().forward(a, b, mask)
        return np.where(np.isnan(y), 0.0, y)


class HidesNaNInBackward(Scale):
    def backward(self, gy):
        return super().backward(np.where(np.isnan(gy), 0.0, gy))


class RefersToItself(Scale):
    def forward(self, a, b, mask):
        self.me = self
        return super().forward(a, b, mask)


@pytest.mark.parametrize(
    ("function", "broken"),
    [
        (WrongForward, p.forward_equals_the_reference),
        (WrongSign, p.gradients_equal_numerical_derivatives),
        (WrongByALittle, p.gradients_equal_numerical_derivatives),
        (CotangentIgnored, p.gradients_equal_numerical_derivatives),
        (Swapped, p.gradients_equal_numerical_derivatives),
        (OneElementMissed, p.gradients_equal_numerical_derivatives),
        (AnotherMultiple, p.adjoint_identity_holds),
        (WritesToItsParameter, p.nothing_is_written_to),
        (FreezesItsParameter, p.nothing_is_written_to),
        (WritesToWhatItSaved, p.backward_repeats),
        (DrawsNumbers, p.backward_repeats),
        (ReusesItsOutput, p.backward_repeats),
        (Doubles, p.float32_stays_float32),
        (HalfPrecisionInside, p.float32_stays_float32),
        (ReadsMemoryOrder, p.memory_layout_is_indifferent),
        (ComputesWhatNobodyNeeds, p.every_subset_of_gradients_can_be_asked_for),
        (NeedsBoth, p.every_subset_of_gradients_can_be_asked_for),
        (KeepsTheCallersArray, p.edits_by_the_caller_change_no_gradient),
        (OneFormOfTheKernels, p.kernel_forms_agree),
        (HidesNaN, p.nan_is_not_hidden),
        (HidesNaNInBackward, p.nan_is_not_hidden),
        (RefersToItself, p.memory_is_freed_by_reference_count),
    ],
    ids=lambda value: value.__name__,
)
def test_a_broken_property_is_reported(function: type[Function], broken: p.Property) -> None:
    case = case_of(function)
    if function is OneElementMissed:  # by central differences too
        assert p.violations(case_of(function, analytic=False), properties=[broken])
    found = p.violations(case, properties=[broken])
    assert found
    assert all(line.startswith(("scale(2×3 ", "scale(2×1×3×2 ")) for line in found)
    assert all(f" {broken.__name__}: " in line for line in found)


def test_every_property_is_tested_here() -> None:
    (parametrize,) = [m for m in test_a_broken_property_is_reported.pytestmark if m.name == "parametrize"]
    assert {broken for _, broken in parametrize.args[1]} == set(p.PROPERTIES)


class WritesToItsCotangent(Scale):
    def backward(self, gy):
        gy *= 2
        return super().backward(gy)


class WritesToItsInput(Scale):
    def forward(self, a, b, mask):
        a *= 2
        return super().forward(a, b, mask)


@pytest.mark.parametrize("function", [WritesToItsCotangent, WritesToItsInput])
def test_the_engine_itself_refuses_writes(function: type[Function]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        p.violations(case_of(function))


def relu_case(x: np.ndarray) -> OpCase:
    class Relu(Function):
        def forward(self, x):
            self.positive = x > 0
            return x * self.positive

        def backward(self, gy):
            return (gy * self.positive,)

    return OpCase(
        name="relu",
        op=lambda x: Relu.apply(as_tensor(x)),
        samples=lambda rng: [Sample((x,))],
        reference=lambda x: np.maximum(x, 0),
        equations="y = max(x, 0)",
        analytic=False,
    )


def test_a_kink_within_the_step_is_reported_and_not_tolerated() -> None:
    checks = [p.gradients_equal_numerical_derivatives]
    assert p.violations(relu_case(np.array([0.5, -0.5])), properties=checks) == []
    (line, *_) = p.violations(relu_case(np.array([0.5, 1e-6])), properties=checks)
    assert "input 0, element 1: a kink lies within 6e-05 of this sample; move it away" in line


@pytest.mark.parametrize("f", [np.exp, np.sin, lambda x: x**3 - x, lambda x: x])
def test_numerical_derivatives_bound_their_error(f: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(0).normal(size=5)
    exact = np.diag(complex_step(f, x))
    estimate, error = richardson(f, x)
    rounding = 2 * 6 * 2.0**-53 * np.abs(f(x)) * 2.0**14
    assert (np.abs(np.diag(estimate) - exact) <= np.diag(error) + rounding).all()
    assert error.max() < 1e-9


def test_numerical_derivatives_of_empty_and_scalar_arrays() -> None:
    assert complex_step(lambda x: x, np.ones((0, 2))).shape == (0, 2, 0, 2)
    assert richardson(lambda x: x, np.ones((0, 2)))[0].shape == (0, 2, 0, 2)
    assert complex_step(lambda x: x * x, np.array(3.0)) == 6.0
    assert richardson(lambda x: x * x, np.array(3.0))[0] == pytest.approx(6.0)


def test_bounds_hold_for_sums_of_products() -> None:
    """γ_k Σ|a||b| against the exact sum, in float32, with heavy cancellation."""
    rng = np.random.default_rng(0)
    for n in (1, 10, 1000):
        a, b = (rng.normal(size=n).astype(np.float32) for _ in range(2))
        exact = float(np.dot(a.astype(np.float64), b.astype(np.float64)))
        magnitude = float(np.abs(a).astype(np.float64) @ np.abs(b))
        total = np.float32(0.0)
        for u, v in zip(a, b, strict=True):
            total += u * v
        assert abs(float(total) - exact) <= gamma(n, np.float32) * magnitude
    assert gamma(2**24, np.float32) == np.inf
    assert roundings([np.ones(3), None, np.ones((2, 2))]) == 7 + 64


def test_magnitude_of_a_matrix_product_is_twice_its_absolute_product() -> None:
    from minidl.check.spec import CASES

    case = next(case for case in CASES if case.name == "matmul")
    a, b = np.array([[1.0, -2.0]]), np.array([[2.0], [1.0]])
    truth = Truth(case, Sample((a, b)))
    assert truth.y == 0.0
    np.testing.assert_allclose(truth.magnitude, 2 * (np.abs(a) @ np.abs(b)))  # once for a, once for b
    np.testing.assert_array_equal(truth.gradient(0, np.array([[3.0]])), 3 * b.T)


@pytest.mark.parametrize(
    ("actual", "says"),
    [
        (np.float64(1.0), "is a float64, not an array"),
        (None, "is a NoneType, not an array"),
        (np.ones(3), r"is float64(3,), not float64(2,)"),
        (np.ones(2, np.float32), r"is float32(2,), not float64(2,)"),
        (np.array([1.0, 2.5]), "[1] is 2.5, not 2: 5 × the rounding bound 0.1"),
        (np.array([np.nan, 2.0]), "[0] is nan, not 1: inf × the rounding bound 0.1"),
        (np.array([1.05, 2.0]), None),
    ],
)
def test_difference_says_how_and_where(actual: object, says: str | None) -> None:
    assert difference(actual, np.array([1.0, 2.0]), np.full(2, 0.1)) == says


def test_infinities_are_equal_to_themselves() -> None:
    inf = np.array([np.inf, -np.inf])
    assert difference(inf, inf, np.full(2, 0.1)) is None
    assert difference(-inf, inf, np.full(2, 0.1)) is not None
