"""Dropout: the mask is the caller's, its mean is the identity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl import Tensor, nn, ops


def test_the_mean_over_masks_is_the_input() -> None:
    """Of n = 20,000 masks: y/x is 0 or 1/(1 - p), of standard deviation √(p/(1 - p)) = 0.65; five of √n's."""
    rng = np.random.default_rng(0)
    p, n = 0.3, 20_000
    x = np.array([1.0, -2.0, 3.0])
    mean = ops.dropout(np.tile(x, (n, 1)), rng.random((n, 3)) >= p, p).data.mean(axis=0)
    assert (np.abs(mean / x - 1) < 5 * np.sqrt(p / (1 - p) / n)).all()


def test_gradients_flow_where_values_do() -> None:
    x = Tensor(np.ones((2, 3, 2, 2), np.float32), requires_grad=True)
    mask = np.array([[True, False, True], [False, True, True]])[:, :, None, None]
    y = ops.dropout(x, mask, np.float64(0.75))  # a NumPy number, which would widen float32, is weak too
    y.backward(np.ones(y.shape, np.float32))
    np.testing.assert_array_equal(x.grad, y.data)
    np.testing.assert_array_equal(y.data, np.broadcast_to(np.where(mask, 4, 0), y.shape))


def test_what_is_dropped_does_not_hide_nan() -> None:
    assert np.isnan(ops.dropout([np.nan, 1.0], [False, True]).data).tolist() == [True, False]


def test_a_tensor_of_ones_and_zeros_is_no_mask() -> None:
    with pytest.raises(TypeError, match="dropout: mask must be boolean"):
        ops.dropout([1.0, 2.0], Tensor([1.0, 0.0]))


@pytest.mark.parametrize("p", [None, "half", np.nan, 1, -0.1])
def test_the_layer_refuses_what_is_no_probability(p: Any) -> None:
    with pytest.raises(ValueError, match=r"Dropout: p must be (a number|in \[0, 1\)), got "):
        nn.Dropout(p, rng=np.random.default_rng(0))
