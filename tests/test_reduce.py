"""Reductions at infinities, NaN and in float32, and what a gradient must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import Tensor, ops

INF = np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logsumexp_does_not_overflow(dtype) -> None:
    x = np.array([[1e4, 1e4], [-1e4, -1e4], [0.0, 1e30], [-INF, 1.0]], dtype)
    y = ops.logsumexp(x, axis=1)
    np.testing.assert_allclose(y.data, [1e4 + np.log(2), -1e4 + np.log(2), 1e30, 1.0], rtol=np.finfo(dtype).eps)


def test_logsumexp_of_nothing_but_minus_infinity() -> None:
    x = Tensor(np.array([[-INF, -INF], [-INF, 2.0]]), requires_grad=True)
    y = ops.logsumexp(x, axis=1)
    y.backward(np.ones(2))
    assert y.data.tolist() == [-INF, 2.0]
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_logsumexp_of_plus_infinity_has_no_gradient_there_and_says_so() -> None:
    x = Tensor(np.array([INF, 1.0]), requires_grad=True)
    y = ops.logsumexp(x)
    assert y.item() == INF
    with pytest.warns(RuntimeWarning):
        y.backward()
    np.testing.assert_array_equal(x.grad, [np.nan, 0.0])


@pytest.mark.parametrize("op", [ops.max, ops.min])
def test_nan_is_the_extreme(op) -> None:
    x = Tensor(np.array([[1.0, np.nan], [1.0, 2.0]]), requires_grad=True)
    y = op(x, axis=1)
    assert np.isnan(y.data).tolist() == [True, False]
    with pytest.warns(RuntimeWarning):
        y.backward(np.ones(2))
    assert np.isnan(x.grad[0]).all()
    assert x.grad[1].sum() == 1.0


def test_infinite_extremes() -> None:
    x = Tensor(np.array([INF, INF, -INF]), requires_grad=True)
    ops.max(x).backward()
    assert x.grad.tolist() == [0.5, 0.5, 0.0]


def test_the_gradient_of_max_adds_up_to_the_cotangent_whatever_ties() -> None:
    rng = np.random.default_rng(0)
    x = Tensor(rng.integers(0, 3, (50, 8)).astype(float), requires_grad=True)
    gy = rng.normal(size=50)
    ops.max(x, axis=1).backward(gy)
    np.testing.assert_allclose(x.grad.sum(axis=1), gy, rtol=1e-14)


def test_variance_is_not_lost_to_a_large_mean() -> None:
    x = np.float32(1e4) + np.array([-1.0, 0.0, 1.0], np.float32)
    assert ops.var(x).item() == pytest.approx(2 / 3, rel=1e-6)  # E x² − (E x)² gives 0 or worse


def test_an_empty_sum_is_zero_and_its_gradient_empty() -> None:
    x = Tensor(np.zeros((3, 0)), requires_grad=True)
    y = x.sum(axis=1)
    assert y.data.tolist() == [0.0] * 3
    y.backward(np.ones(3))
    assert x.grad.shape == (3, 0)


def test_float64_correction_does_not_widen_float32() -> None:
    assert ops.var(np.ones(3, np.float32), correction=np.float64(0.5)).dtype == np.float32
