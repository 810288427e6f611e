"""Tensors: what they hold, and what they and the engine refuse."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from minidl import Function, Tensor, ops
from minidl.autograd import as_tensor
from tests.engine_helpers import Double, Product, leaf

# What it refuses


def test_second_derivatives_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="backward: second derivatives are not supported"):
        Double.apply(leaf(1.0)).backward(create_graph=True)


def test_backward_without_anything_to_differentiate() -> None:
    for y in (Tensor([1.0]), Double.apply(Tensor([1.0]))):
        with pytest.raises(ValueError, match=r"backward: .* no tensor with requires_grad=True"):
            y.backward()


@pytest.mark.parametrize(
    ("grad_output", "message"),
    [
        (None, r"backward: a tensor of shape \(2,\) needs grad_output"),
        (np.ones(3, np.float32), r"backward: grad_output must be float32\(2,\), got float32\(3,\)"),
        (np.ones((1, 2), np.float32), r"got float32\(1, 2\)"),
        (np.float32(1.0), r"got float32\(\)"),
        (np.ones(2), r"must be float32\(2,\), got float64\(2,\)"),
        (np.ones(2, int), r"got int64\(2,\)"),
        ([1.0], r"got float32\(1,\)"),
        (Tensor(np.ones(2)), r"got float64\(2,\)"),
    ],
)
def test_cotangents_of_another_shape_or_dtype_are_refused(grad_output: object, message: str) -> None:
    y = Double.apply(leaf(1.0, 2.0, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        y.backward(grad_output)


@pytest.mark.parametrize("grad_output", [[1.0, 3.0], (1, 3), Tensor([1.0, 3.0]), np.array([1, 3], np.float32)])
def test_cotangents_are_lists_arrays_or_tensors(grad_output: object) -> None:
    x = leaf(1.0, 2.0, dtype=np.float32)
    Double.apply(x).backward(grad_output)
    np.testing.assert_array_equal(x.grad, [2.0, 6.0])
    assert x.grad.dtype == np.float32


def test_the_callers_cotangent_stays_the_callers() -> None:
    class Same(Function):
        def forward(self, x):
            return x

        def backward(self, gy):
            return (gy,)

    x, gy = leaf(1.0, 2.0), np.array([3.0, 4.0])
    Same.apply(x).backward(gy)
    gy[0] = 100.0
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])


def test_a_missing_gradient_names_op_and_argument() -> None:
    class Half(Function):
        def forward(self, x, scale):
            return x * scale

        def backward(self, gy):
            return gy, None

    y = Half.apply(leaf(1.0), leaf(2.0))
    with pytest.raises(NotImplementedError, match=r"Half: no gradient is defined for argument 1 \(scale\)"):
        y.backward()


def test_a_missing_gradient_of_one_of_many_names_them_all() -> None:
    class Total(Function):
        def forward(self, first, *others):
            return first + sum(others)

        def backward(self, gy):
            return gy, gy, None

    y = Total.apply(leaf(1.0), leaf(2.0), leaf(3.0))
    with pytest.raises(NotImplementedError, match=r"Total: no gradient is defined for argument 2 \(others\)"):
        y.backward()


def test_a_missing_backward_or_forward_names_the_op() -> None:
    class Round(Function):
        def forward(self, x):
            return np.round(x)

    with pytest.raises(NotImplementedError, match="Round: backward is not defined; this operation has no gradient"):
        Round.apply(leaf(1.0)).backward()

    class Nothing(Function):
        pass

    with pytest.raises(NotImplementedError, match="Nothing: forward is not defined"):
        Nothing.apply(leaf(1.0))


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ((np.ones(3),), r"Wrong.backward: gradient 0 must be float64\(2,\), got float64\(3,\)"),
        ((np.ones(2, np.float32),), r"Wrong.backward: gradient 0 must be float64\(2,\), got float32\(2,\)"),
        ((np.ones(2), np.ones(2)), r"Wrong.backward: must return a tuple of 1 gradients, got 2"),
        ((), r"Wrong.backward: must return a tuple of 1 gradients, got 0"),
        (np.ones(2), r"Wrong.backward: must return a tuple of 1 gradients, got a ndarray"),
        (None, r"Wrong.backward: must return a tuple of 1 gradients, got a NoneType"),
    ],
)
def test_gradients_of_another_shape_dtype_or_number_are_refused(gradients: object, message: str) -> None:
    class Wrong(Function):
        def forward(self, x):
            return x + 1

        def backward(self, gy):
            return gradients

    with pytest.raises(ValueError, match=message):
        Wrong.apply(leaf(1.0, 2.0)).backward(np.ones(2))


def test_an_instance_is_one_application() -> None:
    """A second call would overwrite what the first one's backward needs."""
    fn = Product()
    y = fn(leaf(1.0), leaf(2.0))
    with pytest.raises(RuntimeError, match="Product: an instance is one application"):
        fn(leaf(3.0), leaf(4.0))
    y.backward()
    with pytest.raises(RuntimeError, match="Product: an instance is one application"):
        fn(leaf(3.0), leaf(4.0))


def test_mixed_precision_is_refused_and_astype_mends_it() -> None:
    single, double = leaf(1.0, dtype=np.float32), leaf(2.0)
    with pytest.raises(TypeError, match="Product: inputs must share one dtype, got float32 and float64"):
        Product.apply(single, double)
    (single.astype(np.float64) * double).backward()
    assert single.grad.dtype == np.float32
    np.testing.assert_array_equal(single.grad, [2.0])


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, np.float32),
        (1.5, np.float32),
        (True, np.float32),
        ([1, 2], np.float32),
        ([[1.0], [2.0]], np.float32),
        (np.arange(3), np.float32),
        (np.array([True, False]), np.float32),
        (np.arange(3, dtype=np.uint8), np.float32),
        (np.ones(2, np.float32), np.float32),
        (np.ones(2), np.float64),
        (np.float32(1.0), np.float32),
        (np.float64(1.0), np.float64),
        (np.ones(2, np.complex128), np.complex128),
        (Tensor(np.ones(2)), np.float64),
    ],
)
def test_dtype_of_data(value: object, dtype: type) -> None:
    x = Tensor(value)
    assert x.dtype == dtype
    assert isinstance(x.data, np.ndarray)
    np.testing.assert_array_equal(x.data, value.data if isinstance(value, Tensor) else value)


@pytest.mark.parametrize(
    "value",
    ["text", None, {}, object(), np.array(["a"]), np.ones(2, np.float16), np.ones(2, np.complex64), [None, 1.0]],
)
def test_data_that_are_no_numbers_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="Tensor: data must be float32 or float64, got dtype"):
        Tensor(value)


def test_data_are_copied_and_read_only() -> None:
    source = np.array([1.0, 2.0])
    x = Tensor(source)
    source[0] = 100.0
    np.testing.assert_array_equal(x.data, [1.0, 2.0])
    y = Double.apply(leaf(1.0))
    for array in (x.data, x.numpy(), np.asarray(x), y.data, x.detach().data):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        x.data += 1.0
    with pytest.raises(AttributeError):
        x.dtype = np.float32


def test_a_new_value_is_copied_too() -> None:
    x, new = leaf(1.0), np.array([2.0])
    x.data = new
    new[0] = 100.0
    np.testing.assert_array_equal(x.data, [2.0])
    x.data = Tensor([4.0])
    assert x.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 5.0


def test_gradients_are_read_only() -> None:
    x = leaf(1.0)
    for _ in range(2):
        Double.apply(x).backward()
        with pytest.raises(ValueError, match="read-only"):
            x.grad[0] = 5.0


def test_memory_order_is_kept() -> None:
    nchw = np.zeros((2, 3, 4, 5))
    chwn = np.moveaxis(np.zeros((3, 4, 5, 2)), -1, 0)
    assert Tensor(nchw).data.strides == nchw.strides
    assert Tensor(chwn).data.strides == chwn.strides


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.0, np.float32(2.0), np.float64(2.0), np.int64(2), np.array(2.0), True])
def test_numbers_are_weak(dtype: type, number: object) -> None:
    x = leaf(1.0, 2.0, dtype=dtype)
    for y in (x * number, number * x, x + number, number - x, x / number, number**x):
        assert isinstance(y, Tensor)
        assert y.dtype == dtype
    y.backward(np.ones(2, dtype))
    assert x.grad.dtype == dtype


def test_numpy_arrays_on_the_left_leave_the_operator_to_tensor() -> None:
    x, a = leaf(1.0, 2.0), np.array([3.0, 4.0])
    for y, value in [(a + x, [4.0, 6.0]), (a - x, [2.0, 2.0]), (a * x, [3.0, 8.0]), (a / x, [3.0, 2.0])]:
        assert isinstance(y, Tensor)
        assert y.requires_grad
        np.testing.assert_array_equal(y.data, value)


def test_as_tensor_takes_dtype_from_its_neighbour() -> None:
    like = leaf(1.0)
    assert as_tensor(like) is like
    assert as_tensor(2.0, like).dtype == np.float64
    assert as_tensor([1, 2], like).dtype == np.float64
    assert as_tensor(np.arange(2), like).dtype == np.float64
    assert as_tensor(np.ones(2, np.float32), like).dtype == np.float32  # then refused by the op: arrays are not weak
    assert as_tensor(2.0).dtype == np.float32
    with pytest.raises(TypeError, match="data must be numbers, got 'text'"):
        as_tensor("text", like)


def test_complex_tensors_mix_with_real_ones() -> None:
    z = Tensor(np.array([1.0 + 1e-20j]))
    y = Product.apply(z, leaf(3.0))
    assert y.dtype == np.complex128
    assert y.data.imag[0] == pytest.approx(3e-20)


def test_what_a_tensor_says_of_itself() -> None:
    x = Tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    assert (x.shape, x.ndim, x.size, len(x)) == ((1, 3), 2, 3, 1)
    assert Tensor(2.5).item() == 2.5
    assert isinstance(Tensor(2.5).item(), float)
    assert repr(x) == "Tensor([[1. 2. 3.]], float32, requires_grad=True)"
    assert repr(Double.apply(x)) == "Tensor([[2. 4. 6.]], float32, grad_fn=Double)"
    assert repr(x.detach()) == "Tensor([[1. 2. 3.]], float32)"
    np.testing.assert_array_equal(np.array(x), x.data)
    assert np.array(x, dtype=np.float64).dtype == np.float64


def test_deep_copies_of_leaves_are_leaves_and_of_intermediates_are_refused() -> None:
    x = leaf(1.0)
    y = copy.deepcopy(x)
    assert y is not x
    assert y.requires_grad
    assert not y.data.flags.writeable
    y.data = np.array([2.0])
    np.testing.assert_array_equal(x.data, [1.0])
    with pytest.raises(TypeError, match=r"Tensor: only a leaf can be copied; use \.detach\(\)"):
        copy.deepcopy(Double.apply(x))


@pytest.mark.parametrize("nested", [lambda t: [t, 1.0], lambda t: [[0.0, t]], lambda t: (t, t)])
def test_a_list_of_tensors_is_refused_since_their_graph_would_be_lost(nested) -> None:
    x = Tensor(1.0, requires_grad=True)
    for take in (Tensor, lambda value: ops.exp(value), lambda value: x * value):
        with pytest.raises(TypeError, match=r"Tensor: a list of Tensors would lose their graph; use ops\.stack"):
            take(nested(x * 2))
