"""Python's operators and methods on Tensors: that each is the op it should be, and what may stand beside a Tensor."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from minidl import Tensor, ops

A, B = np.array([[1.5, -2.0, 0.5]], np.float32), np.array([[2.0], [3.0]], np.float32)

BINARY = {
    "add": (operator.add, ops.add),
    "sub": (operator.sub, ops.sub),
    "mul": (operator.mul, ops.mul),
    "truediv": (operator.truediv, ops.div),
    "pow": (operator.pow, ops.pow),
}

METHODS = {
    "abs": lambda x: x.abs(),
    "astype": lambda x: x.astype(np.float64),
    "clip": lambda x: x.clip(-1.0, 1.0),
    "exp": lambda x: x.exp(),
    "neg": lambda x: -x,
    "relu": lambda x: x.relu(),
    "sigmoid": lambda x: x.sigmoid(),
    "tanh": lambda x: x.tanh(),
    "sum": lambda x: x.sum(axis=1, keepdims=True),
    "mean": lambda x: x.mean(axis=0),
    "max": lambda x: x.max(axis=0),
    "min": lambda x: x.min(axis=0),
    "var": lambda x: x.var(axis=1, correction=1),
    "logsumexp": lambda x: x.logsumexp(axis=1),
    "expand_dims": lambda x: x.expand_dims(0),
    "squeeze": lambda x: x.squeeze(),
    "flip": lambda x: x.flip(1),
    "take": lambda x: x.take([1, 0], axis=1),
}


def expected(name: str, x: np.ndarray) -> np.ndarray:
    """The same with NumPy."""
    return {
        "abs": lambda: np.abs(x),
        "astype": lambda: x.astype(np.float64),
        "clip": lambda: x.clip(-1, 1),
        "exp": lambda: np.exp(x),
        "neg": lambda: -x,
        "relu": lambda: np.maximum(x, 0),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "tanh": lambda: np.tanh(x),
        "sum": lambda: x.sum(axis=1, keepdims=True),
        "mean": lambda: x.mean(axis=0),
        "max": lambda: x.max(axis=0),
        "min": lambda: x.min(axis=0),
        "var": lambda: x.var(axis=1, ddof=1),
        "logsumexp": lambda: np.log(np.exp(x).sum(axis=1)),
        "expand_dims": lambda: x[None],
        "squeeze": lambda: x.squeeze(),
        "flip": lambda: x[:, ::-1],
        "take": lambda: x[:, [1, 0]],
    }[name]()


@pytest.mark.parametrize("name", BINARY)
def test_operator_is_its_op_whatever_stands_beside_the_tensor(name: str) -> None:
    python, op = BINARY[name]
    a = np.abs(A) if name == "pow" else A
    for left, right in [(Tensor(a), Tensor(B)), (Tensor(a), B), (a, Tensor(B))]:
        y = python(left, right)
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.data, op(a, B).data)
        np.testing.assert_allclose(y.data, python(a, B), rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("number", [2, 2.0, np.float64(2), np.int64(2), np.array(2.0), [2], np.array([2])])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_take_the_precision_of_the_tensor(name: str, number, dtype) -> None:
    python, _ = BINARY[name]
    x = np.array([0.5, 3.0], dtype)
    for y, plain in [
        (python(Tensor(x), number), python(x, dtype(2))),
        (python(number, Tensor(x)), python(dtype(2), x)),
    ]:
        assert isinstance(y, Tensor)
        assert y.dtype == dtype
        np.testing.assert_allclose(y.data, plain, rtol=4 * np.finfo(dtype).eps)


def test_a_number_is_rounded_once_to_the_precision_of_the_tensor() -> None:
    assert (Tensor(np.zeros(1)) + 0.1).item() == 0.1  # not by way of float32


@pytest.mark.parametrize("other", [None, "1", "a", object(), [None]])
def test_what_is_no_number_is_refused(other) -> None:
    for call in (lambda: Tensor([1.0]) + other, lambda: other * Tensor([1.0])):
        with pytest.raises(TypeError, match="data must be"):
            call()


def test_mixed_precision_is_refused_in_one_line() -> None:
    with pytest.raises(TypeError, match="Mul: inputs must share one dtype, got float32 and float64"):
        Tensor(A) * B.astype(np.float64)


def test_matmul() -> None:
    a, b = Tensor(np.ones((2, 3))), np.ones((3, 4))
    np.testing.assert_array_equal((a @ b).data, np.full((2, 4), 3.0))
    np.testing.assert_array_equal((b.T @ Tensor(np.ones((3, 2)))).data, np.full((4, 2), 3.0))


def test_comparisons_are_refused_and_equality_is_identity() -> None:
    x = Tensor([1.0])
    with pytest.raises(TypeError):
        x < 2  # noqa: B015
    assert x == x
    assert x != Tensor([1.0])
    assert len({x, x}) == 1


def test_augmented_assignment_makes_a_new_tensor() -> None:
    x = y = Tensor([1.0], requires_grad=True)
    y += 1.0
    y *= 3.0
    assert x.item() == 1.0
    y.backward()
    assert x.grad == [3.0]


def test_an_operand_used_twice_gets_both_gradients() -> None:
    x = Tensor([2.0, 3.0], requires_grad=True)
    (x * x - x / x + 2.0**x).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.data + np.log(2) * 2**x.data, rtol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_method_is_its_op(name: str) -> None:
    x = np.array([[1.5, -2.0, 0.5], [3.0, 1.0, -1.0]], np.float32)
    y = METHODS[name](Tensor(x))
    np.testing.assert_allclose(y.data, expected(name, x), rtol=1e-6)


def test_log_and_sqrt() -> None:
    np.testing.assert_allclose(Tensor([4.0]).log().data, np.log([4.0]), rtol=1e-6)
    np.testing.assert_allclose(Tensor([4.0]).sqrt().data, [2.0])


def test_shapes_may_be_given_one_by_one_or_together() -> None:
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert x.reshape(3, 2).shape == x.reshape((3, 2)).shape == x.reshape([3, -1]).shape == (3, 2)
    assert x.reshape(-1).shape == x.reshape(6).shape == x.flatten().shape == (6,)
    assert x.transpose().shape == x.transpose(1, 0).shape == x.transpose((1, 0)).shape == x.T.shape == (3, 2)
    assert x.broadcast_to(4, 2, 3).shape == x.broadcast_to((4, 2, 3)).shape == (4, 2, 3)


def test_split_method() -> None:
    first, second = Tensor([1.0, 2.0, 3.0]).split([1, 2])
    assert (first.data.tolist(), second.data.tolist()) == ([1.0], [2.0, 3.0])


def test_iteration_gives_rows_and_their_gradients() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = x
    (first + 10.0 * second).sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0], [10.0, 10.0]]
    with pytest.raises(TypeError):
        iter(Tensor(1.0))


def test_named_methods_keep_their_documentation() -> None:
    assert Tensor.reshape.__doc__ == ops.reshape.__doc__
    assert Tensor.sum is ops.sum
