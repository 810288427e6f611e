"""The activations where their formulas need care: tails, infinities, and the error function of our own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.ops.activation import _erfc

INFINITE = np.array([-np.inf, np.inf])
ACTIVATIONS = {
    # the limits of y, and of its derivative, at −∞ and ∞
    "tanh": (ops.tanh, [-1.0, 1.0], [0.0, 0.0]),
    "sigmoid": (ops.sigmoid, [0.0, 1.0], [0.0, 0.0]),
    "softplus": (ops.softplus, [0.0, np.inf], [0.0, 1.0]),
    "relu": (ops.relu, [0.0, np.inf], [0.0, 1.0]),
    "leaky_relu": (ops.leaky_relu, [-np.inf, np.inf], [0.01, 1.0]),
    "silu": (ops.silu, [0.0, np.inf], [0.0, 1.0]),
    "gelu": (ops.gelu, [0.0, np.inf], [0.0, 1.0]),
    "gelu_tanh": (lambda x: ops.gelu(x, "tanh"), [0.0, np.inf], [0.0, 1.0]),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinity_gives_the_limit_without_a_warning(name: str, dtype) -> None:
    op, values, derivatives = ACTIVATIONS[name]
    for big in (INFINITE, np.array([-1e30, 1e30])):
        x = Tensor(big.astype(dtype), requires_grad=True)
        y = op(x)
        y.backward(np.ones(2, dtype))
        expected = [v if np.isfinite(v) else d * end for v, d, end in zip(values, derivatives, x.data, strict=True)]
        np.testing.assert_allclose(y.data, expected, rtol=np.finfo(dtype).eps)
        np.testing.assert_array_equal(x.grad, np.array(derivatives, dtype))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_is_passed_on(name: str) -> None:
    assert np.isnan(ACTIVATIONS[name][0]([np.nan]).data).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erfc_keeps_its_relative_precision_in_the_tail(dtype) -> None:
    eps = np.finfo(dtype).eps
    z = np.concatenate([np.linspace(0, 27, 27001), 10.0 ** np.linspace(-30, 0, 301)]).astype(dtype)
    exact = np.array([math.erfc(float(v)) for v in z])
    normal = exact > np.finfo(dtype).tiny  # below it the format itself loses digits
    error = np.abs(_erfc(np, z).astype(float) - exact)[normal] / exact[normal]
    assert normal.sum() > 9000
    assert (error <= (4 + z[normal].astype(float) ** 2) * eps).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_softplus_keep_their_relative_precision_in_the_tails(dtype) -> None:
    eps = np.finfo(dtype).eps
    x = np.linspace(-80, 80, 3201).astype(dtype)
    exact = x.astype(np.longdouble)  # wider than float64 where the platform has it
    np.testing.assert_allclose(ops.sigmoid(x).data, 1 / (1 + np.exp(-exact)), rtol=4 * eps)
    softplus = np.where(exact > 0, exact, 0) + np.log1p(np.exp(-np.abs(exact)))
    np.testing.assert_allclose(ops.softplus(x).data, softplus, rtol=4 * eps)


def test_gelu_by_tanh_is_as_near_as_its_documentation_says() -> None:
    x = np.linspace(-10, 10, 20001)
    assert 4e-4 < np.abs(ops.gelu(x).data - ops.gelu(x, "tanh").data).max() < 5e-4


def test_softplus_stays_within_its_distance_of_relu() -> None:
    x = np.linspace(-3, 3, 601)
    distance = ops.softplus(x, 4.0).data - ops.relu(x).data
    assert distance.max() == pytest.approx(math.log(2) / 4)
    assert distance.argmax() == 300
