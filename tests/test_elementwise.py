"""Edges of the elementwise ops that no formula shows: domains, infinities, precision, masks."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import Tensor, ops


def value_and_gradients(op, *inputs: np.ndarray) -> list[np.ndarray]:
    xs = [Tensor(np.asarray(x, float), requires_grad=True) for x in inputs]
    y = op(*xs)
    y.backward(np.ones(y.shape))
    return [y.data, *(x.grad for x in xs)]


def test_pow_at_zero_and_below() -> None:
    y, ga, gb = value_and_gradients(ops.pow, [0.0, 0.0, 0.0], [0.0, 1.0, 2.5])
    assert (y.tolist(), ga.tolist(), gb.tolist()) == ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0])

    x = Tensor(np.array([-2.0, -3.0]), requires_grad=True)
    y = x**3
    y.backward(np.ones(2))
    assert (y.data.tolist(), x.grad.tolist()) == ([-8.0, -27.0], [12.0, 27.0])


def test_square_of_a_tensor_that_holds_zero_has_a_finite_gradient() -> None:
    x = Tensor([0.0, -1.0], requires_grad=True)
    (x**2).sum().backward()
    assert x.grad.tolist() == [0.0, -2.0]


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda: ops.div([1.0, -1.0], 0.0), [np.inf, -np.inf]),
        (lambda: ops.log([0.0]), [-np.inf]),
        (lambda: ops.log([-1.0]), [np.nan]),
        (lambda: ops.sqrt([-1.0]), [np.nan]),
        (lambda: ops.exp([1000.0]), [np.inf]),
        (lambda: ops.pow([-1.0], 0.5), [np.nan]),
    ],
)
def test_outside_the_domain_numpy_warns(call, value) -> None:
    with pytest.warns(RuntimeWarning):
        y = call()
    np.testing.assert_array_equal(y.data, value)


def test_astype_rounds_the_value_and_widens_it_back_in_backward() -> None:
    x = Tensor(np.array([0.1]), requires_grad=True)
    y = x.astype("float32")
    assert y.data == np.float32(0.1)
    y.backward(np.array([0.3], np.float32))
    assert x.grad.dtype == np.float64
    assert x.grad == np.float32(0.3)

    z = Tensor([0.5], requires_grad=True)
    (z.astype(np.float64) * np.pi).sum().backward()
    assert z.grad.dtype == np.float32
    assert z.grad == np.float32(np.pi)


def test_where_copies_its_condition_and_stops_nan() -> None:
    condition = np.array([True, False])
    x = Tensor([4.0, np.nan], requires_grad=True)
    y = ops.where(condition, x, 0.0)
    condition[:] = ~condition
    assert y.data.tolist() == [4.0, 0.0]
    y.backward([1.0, np.nan])
    assert x.grad.tolist() == [1.0, 0.0]


def test_abs_of_either_zero_is_plus_zero() -> None:
    assert not np.signbit(ops.abs([0.0, -0.0]).data).any()


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum, ops.add, ops.mul])
def test_nan_is_passed_on(op) -> None:
    assert np.isnan(op([np.nan, 1.0], [1.0, np.nan]).data).all()


def test_infinite_bounds_and_elements() -> None:
    x = [-np.inf, 0.0, np.inf]
    assert ops.clip(x, -1.0, np.inf).data.tolist() == [-1.0, 0.0, np.inf]
    assert ops.maximum(x, x).data.tolist() == x
    assert ops.abs(x).data.tolist() == [np.inf, 0.0, np.inf]
