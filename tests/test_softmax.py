"""Softmax and log_softmax: against PyTorch, and where exp would overflow or round to 0."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import Tensor, ops


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "axis"), [((4,), 0), ((3, 4), 1), ((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -3)])
def test_equals_pytorch(name, shape, axis) -> None:
    torch = pytest.importorskip("torch")
    x, gy = 3 * np.random.default_rng(0).normal(size=(2, *shape))
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, t = getattr(ops, name)(ours, axis), getattr(torch.nn.functional, name)(theirs, axis)
    y.backward(gy)
    t.backward(torch.tensor(gy))
    np.testing.assert_allclose(y.data, t.detach().numpy(), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype) -> None:
    x = np.array([[1e30, 1e30, -1e30], [-1e30, -1e30, -1e30]], dtype)
    np.testing.assert_allclose(ops.softmax(x).data, [[0.5, 0.5, 0], [1 / 3] * 3], rtol=np.finfo(dtype).eps)
    np.testing.assert_allclose(ops.log_softmax(x).data[0], [-np.log(2), -np.log(2), -2e30], rtol=np.finfo(dtype).eps)


def test_saturated_gradients_are_exact_where_probabilities_underflow() -> None:
    """p = (1, 0, 0) to rounding: the softmax is flat, its logarithm is not."""
    x = Tensor([0.0, -1000.0, -2000.0], requires_grad=True)
    y = ops.softmax(x)
    y.backward(np.float32([3.0, 5.0, 7.0]))
    np.testing.assert_array_equal(x.grad, 0)
    x.grad = None
    ops.log_softmax(x).backward(np.float32([3.0, 5.0, 7.0]))
    np.testing.assert_array_equal(x.grad, [-12, 5, 7])


def test_rows_sum_to_one_and_a_shift_changes_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(5, 7))
    p = ops.softmax(x).data
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-15)
    np.testing.assert_allclose(ops.softmax(x + 100).data, p, rtol=1e-13)
    np.testing.assert_allclose(np.exp(ops.log_softmax(x).data), p, rtol=1e-14)


def test_minus_infinity_is_probability_zero_and_nan_is_not_hidden() -> None:
    np.testing.assert_array_equal(ops.softmax([0.0, -np.inf, 0.0]).data, [0.5, 0, 0.5])
    assert np.isnan(ops.softmax([0.0, np.nan]).data).all()
    assert np.isnan(ops.log_softmax([0.0, np.nan]).data).all()
