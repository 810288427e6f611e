"""Bounds beside the reference, and rounding of other precisions told apart from mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import ops
from minidl.check import compare, precision
from minidl.check.compare import find_case
from minidl.check.drawing import specified
from minidl.check.expected import DEGREES, LAMBDA, Expected, growth
from minidl.check.formats import FORMATS, representable, rounded, ulps
from minidl.check.spec import CASES
from minidl.check.truth import Truth

F32, F64, BF16 = FORMATS["float32"], FORMATS["float64"], FORMATS["bfloat16"]


def test_rounding_to_a_format_is_that_of_the_hardware() -> None:
    x = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.random.default_rng(1).integers(-3, 4, 1000)
    np.testing.assert_array_equal(rounded(x, 24), x.astype(np.float32))
    small = x[np.abs(x) > 1e-3]  # float16 keeps 11 bits down to 6e-5
    np.testing.assert_array_equal(rounded(small, 11), small.astype(np.float16))
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(
        rounded(x.astype(np.float32), 8), torch.tensor(x.astype(np.float32)).bfloat16().double()
    )


def test_special_values_survive_rounding() -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(rounded(x, 8), x)
    assert representable(x, 8) and not representable(np.array([1 + 2.0**-8]), 8)


def test_ulps_count_the_last_place() -> None:
    one = np.array([1.0, 1.5, 4.0])
    np.testing.assert_allclose(ulps(np.nextafter(one.astype(np.float32), np.float32(9)), one, F32), 1.0)
    assert ulps(np.array([np.inf]), np.array([np.inf]), F32) == 0.0


@pytest.mark.parametrize("op", sorted(DEGREES))
def test_bounds_of_sums_of_products_are_not_below_those_by_jacobians(op: str) -> None:
    """(4) and (5) of `expected` against M and |J|ᵀ|gy| element by element, and little above."""
    case = find_case(op)
    for sample in specified(case)[:4]:
        fast, slow = Expected(case, sample, F64), Truth(case, sample)
        slack = 1 + 1e-6
        assert (slow.magnitude <= fast.magnitude * slack).all()
        most = 1 + DEGREES[op]  # |y| is all of it where nothing cancels, and a bias is of degree 1
        assert (fast.magnitude <= most * slow.magnitude * slack).all()
        for i in fast.wanted:
            jacobian = slow.jacobians[i]
            by_jacobian = (np.abs(fast.gy).ravel() @ np.abs(jacobian)).reshape(slow.sample.inputs[i].shape)
            np.testing.assert_allclose(fast._absolute_gradients(fast.gy)[i], by_jacobian, rtol=1e-6)


@pytest.mark.parametrize("op", ["softmax", "gaussian_pool2d", "batch_norm", "cross_entropy"])
def test_gradients_expected_are_those_of_the_jacobian(op: str) -> None:
    case = find_case(op)
    for sample in specified(case)[:2]:
        fast, slow = Expected(case, sample, F64), Truth(case, sample)
        for i in fast.wanted:
            np.testing.assert_allclose(fast.gradient(i, fast.gy), slow.gradient(i, fast.gy), rtol=1e-9, atol=1e-12)


def test_growth_in_narrow_formats_is_kept_with_the_stated_probability() -> None:
    """Sums of n products in bfloat16: the bound of λ holds, and that of λ / 4 does not."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for n in (4, 16, 64):
        for _ in range(200):
            a, b = (rounded(rng.normal(size=n), 8) for _ in range(2))
            total = 0.0
            for u, v in zip(a, b, strict=True):
                total = float(rounded(np.array(total + float(rounded(np.array(u * v), 8))), 8))
            g = growth(n, BF16)
            worst = max(worst, abs(total - a @ b) / (g * (np.abs(a) @ np.abs(b))))
    assert 1 / LAMBDA / 4 < worst < 1
    assert growth(2**60, F64) == np.inf and growth(8, F64) == 8 * 2.0**-53 / (1 - 8 * 2.0**-53)


def test_a_call_is_rounded_to_its_format() -> None:
    case = find_case("cross_entropy")
    for sample in specified(case)[:6]:
        expected = Expected(case, sample, BF16)
        assert all(representable(x, 8) for x in expected.sample.inputs if x is not None)
        weight = expected.sample.params.get("weight")
        assert weight is None or representable(weight, 8)


def products(bits_in: int, bits_sum: int = 53, bits_out: int = 53):
    """A linear layer that rounds its factors, its partial sums and its result."""

    def linear(x, weight, bias=None):
        x, weight = rounded(x, bits_in), rounded(weight, bits_in)
        y = np.zeros((*x.shape[:-1], len(weight)))
        for k in range(x.shape[-1]):
            y = rounded(y + x[..., k, None] * weight[:, k], bits_sum)
        y = y if bias is None else rounded(y + rounded(bias, bits_in), bits_sum)
        return rounded(y, bits_out).astype(np.float32)

    return linear


@pytest.mark.parametrize(
    ("fn", "looks"),
    [
        (products(11, 24, 24), "TF32: products of inputs rounded to 10 bits"),
        (products(8, 24, 24), "bfloat16 inputs"),
        (products(24, 11, 11), "result rounded to float16"),
        (products(24, 8, 8), "result rounded to bfloat16"),
    ],
)
def test_rounding_of_another_precision_is_called_by_its_name(fn, looks: str) -> None:
    verdict = compare(fn, "linear", dtype="float32", drawn=16)
    assert not verdict.ok and verdict.diagnosis is None
    assert verdict.precision.startswith(looks) and "of another precision than float32" in verdict.reason


def test_float32_within_float64_is_found() -> None:
    verdict = compare(lambda x: np.tanh(x.astype(np.float32)).astype(np.float64), "tanh", dtype="float64", drawn=8)
    assert not verdict.ok and verdict.precision.startswith("result rounded to float32")
    declared = compare(lambda x: np.tanh(x.astype(np.float32)), "tanh", drawn=8)
    assert declared.ok and declared.dtype == "float32"
    assert "it returns float32 for float64, and is judged as float32" in declared.details
    asked = compare(lambda x: np.tanh(x.astype(np.float32)), "tanh", dtype="float64", drawn=8)
    assert not asked.ok and "output is float32 where the inputs are float64" in asked.reason


def test_a_small_mistake_is_not_taken_for_rounding() -> None:
    """Off by 1e-6 of its value: of the size of float32's rounding, but always to the same side."""
    verdict = compare(
        lambda x, weight, bias=None: (x @ weight.T + (0 if bias is None else bias)) * (1 + 1e-6), "linear", drawn=16
    )
    assert not verdict.ok and verdict.precision == precision.NOT_ROUNDING


def test_a_mistake_is_found_under_the_width_of_bfloat16() -> None:
    """Relative to bfloat16's bound a flipped kernel is small; on whole numbers nothing rounds and it shows."""
    torch = pytest.importorskip("torch")
    conv2d = torch.nn.functional.conv2d

    def flipped(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return conv2d(x, weight.flip(2, 3), bias, stride, padding, dilation, groups)

    wrong = compare(flipped, "conv2d", dtype="bfloat16", drawn=4)
    assert wrong.diagnosis.name == "kernel flipped"
    right = compare(conv2d, "conv2d", dtype="bfloat16", drawn=12)
    assert right.ok and right.precision == "float32 sums, rounded once to bfloat16"


@pytest.mark.parametrize("op", ["softmax", "gelu", "layer_norm", "max_pool2d"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_pytorch_passes_in_other_precisions(op: str, dtype: str) -> None:
    pytest.importorskip("torch")
    from minidl.check.peers import lines

    (line,) = lines("torch", dtype, drawn=6, only=(op,))
    assert line.verdict.ok, str(line.verdict)


def test_nothing_rounds_on_whole_numbers() -> None:
    for case in CASES:
        for sample in specified(case)[:3]:
            whole = precision.whole_numbers(case, sample, BF16)
            assert (whole is not None) <= (case.name in DEGREES and case.name not in precision.DIVIDING)
            if whole is not None:
                assert representable(whole.y, 8)


def test_our_float32_is_of_the_order_of_summation() -> None:
    assert compare(ops.conv2d, "conv2d", dtype="float32", drawn=6).precision == "float32, order of summation"
