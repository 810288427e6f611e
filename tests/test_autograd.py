"""The engine: what a graph computes, keeps, frees and refuses."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import weakref

import numpy as np
import pytest

from minidl import Function, Tensor, no_grad
from minidl.autograd import as_tensor


class Double(Function):
    """y = 2 x."""

    def forward(self, x):
        self.kept = np.ones_like(x)  # something that backward would need
        return x + x

    def backward(self, gy):
        return (gy + gy,)


class Product(Function):
    """y = a b, of equal shapes."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward(self, gy):
        needs_ga, needs_gb = self.needs_grad
        return gy * self.b if needs_ga else None, gy * self.a if needs_gb else None


def leaf(*values: float, dtype: type = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


# What a graph computes


def test_diamond_sums_over_both_paths() -> None:
    x = leaf(2.0, 3.0)
    a = Double.apply(x)
    b = Product.apply(a, x)  # 2 x²
    y = Product.apply(a, b)  # 4 x³
    y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, 12 * x.data**2)


def test_each_function_runs_backward_once_after_all_its_users() -> None:
    calls: list[str] = []

    class Traced(Double):
        def backward(self, gy):
            calls.append(self.label)
            return super().backward(gy)

    def traced(x: Tensor, label: str) -> Tensor:
        fn = Traced()
        fn.label = label
        return fn(x)

    x = leaf(1.0)
    y = traced(x, "first")
    for i in range(4):  # y, then y y, y y y y, …: 2⁴ paths
        y = Product.apply(traced(y, f"left {i}"), traced(y, f"right {i}"))
    y.backward()
    assert sorted(calls) == sorted(["first", *(f"{side} {i}" for side in ("left", "right") for i in range(4))])
    assert calls[-1] == "first"


def test_one_tensor_as_both_inputs() -> None:
    x = leaf(3.0)
    Product.apply(x, x).backward()
    np.testing.assert_array_equal(x.grad, [6.0])


def test_gradients_accumulate_over_backwards_and_outputs() -> None:
    x = leaf(1.0)
    Double.apply(x).backward()
    Double.apply(Double.apply(x)).backward()
    np.testing.assert_array_equal(x.grad, [6.0])
    x.grad = None
    Double.apply(x).backward()
    np.testing.assert_array_equal(x.grad, [2.0])


def test_backward_of_a_leaf_is_its_cotangent() -> None:
    x = leaf(1.0, 2.0)
    x.backward([3.0, 4.0])
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])


def test_inputs_without_gradient_get_none_and_end_the_graph() -> None:
    a, b = leaf(2.0), Tensor(np.array([5.0]))
    y = Product.apply(a, b)
    assert y.grad_fn.needs_grad == (True, False)
    y.backward()
    np.testing.assert_array_equal(a.grad, [5.0])
    assert b.grad is None
    assert Double.apply(b).grad_fn is None
    assert not Double.apply(b).requires_grad


def test_a_gradient_nobody_asked_for_is_not_accumulated() -> None:
    class Generous(Product):
        def backward(self, gy):
            return gy * self.b, gy * self.a

    a, b = leaf(2.0), Tensor(np.array([5.0]))
    y = Generous.apply(a, b)
    b.requires_grad = True  # too late for this graph
    y.backward()
    assert b.grad is None


def test_absent_inputs_are_none() -> None:
    class Affine(Function):
        def forward(self, x, bias):
            return x if bias is None else x + bias

        def backward(self, gy):
            return gy, None

    x = leaf(1.0)
    y = Affine.apply(x, None)
    assert y.grad_fn.needs_grad == (True, False)
    y.backward()
    np.testing.assert_array_equal(x.grad, [1.0])


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (2, 3), (1, 1, 3), (4, 2, 3), (4, 1, 1)])
def test_broadcasting_adjoint_sums_over_what_was_repeated(shape: tuple[int, ...]) -> None:
    x, other = Tensor(np.ones(shape), requires_grad=True), np.ones((4, 2, 3))
    gy = np.random.default_rng(0).normal(size=(4, 2, 3))
    (x + other).backward(gy)
    repeated = tuple(i for i in range(3) if ((1,) * (3 - len(shape)) + shape)[i] == 1)
    np.testing.assert_allclose(x.grad, gy.sum(axis=repeated).reshape(shape), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_scalars_are_arrays(dtype: type) -> None:
    x = Tensor(dtype(3.0), requires_grad=True)
    y = Product.apply(x, Double.apply(x)) + x
    y.backward()
    assert isinstance(y.data, np.ndarray)
    assert isinstance(x.grad, np.ndarray)
    assert (x.grad.shape, x.grad.dtype, x.grad.item()) == ((), dtype, 13.0)


def test_backward_functions_see_arrays_also_of_scalars() -> None:
    class Checked(Double):
        def backward(self, gy):
            assert isinstance(gy, np.ndarray)
            return super().backward(gy)

    x = Tensor(3.0, requires_grad=True)
    a = Checked.apply(x)
    Product.apply(a, a).backward()
    assert x.grad.item() == 24.0


# What it keeps and frees


def test_retain_graph_runs_backward_again() -> None:
    x = leaf(1.0, 2.0)
    y = Product.apply(x, Double.apply(x))
    y.backward(np.ones(2), retain_graph=True)
    first = x.grad
    x.grad = None
    y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, first)


def test_a_freed_graph_says_so_before_any_gradient_changes() -> None:
    x = leaf(1.0)
    shared = Double.apply(x)
    y, z = Double.apply(shared), Product.apply(shared, x)
    y.backward()
    before = x.grad
    for again in (y, z):
        with pytest.raises(RuntimeError, match="backward: an earlier backward freed part .* retain_graph=True"):
            again.backward()
    assert x.grad is before


def test_backward_frees_what_forward_kept_though_the_output_lives() -> None:
    x = leaf(1.0)
    y = Double.apply(x)
    kept = weakref.ref(y.grad_fn.kept)
    y.backward()
    assert kept() is None


def test_memory_is_freed_by_reference_count_alone() -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        a = Double.apply(x)
        a.retain_grad()
        y = Product.apply(a, a)
        alive = [weakref.ref(o) for o in (a, y, a.grad_fn, y.grad_fn, a.grad_fn.kept)]
        del a, y
        assert [ref() for ref in alive] == [None] * 5

        loss = Product.apply(Double.apply(x), x)
        alive = [weakref.ref(o) for o in (loss, loss.grad_fn)]
        loss.backward()
        del loss
        assert [ref() for ref in alive] == [None] * 2
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_chain_of_100_000_ops_needs_no_recursion() -> None:
    class Same(Function):
        def forward(self, x):
            return x

        def backward(self, gy):
            return (gy,)

    x = leaf(1.0)

    def chain() -> Tensor:
        y = x
        for _ in range(100_000):
            y = Same.apply(y)
        return y

    limit = sys.getrecursionlimit()
    assert limit < 100_000
    y = chain()
    y.backward()
    np.testing.assert_array_equal(x.grad, [1.0])
    del y
    unused = chain()
    last = weakref.ref(unused)
    del unused  # a graph that never ran backward goes at once too
    assert last() is None


def test_a_parameter_assigned_between_forward_and_backward_changes_no_gradient() -> None:
    a, b = leaf(2.0), leaf(5.0)
    y = Product.apply(a, b)
    b.data = np.array([100.0])
    y.backward()
    np.testing.assert_array_equal(a.grad, [5.0])


def test_retain_grad_keeps_the_gradient_of_an_intermediate() -> None:
    x = leaf(3.0)
    a, b = Double.apply(x), Double.apply(x)
    a.retain_grad()
    Product.apply(a, b).backward()
    np.testing.assert_array_equal(a.grad, [6.0])
    assert b.grad is None
    assert not a.grad.flags.writeable


def test_retain_grad_of_the_output_itself_and_of_a_leaf() -> None:
    x = leaf(3.0)
    x.retain_grad()
    y = Double.apply(x)
    y.retain_grad()
    y.backward([5.0])
    np.testing.assert_array_equal(y.grad, [5.0])
    np.testing.assert_array_equal(x.grad, [10.0])


# no_grad, detach


def test_no_grad_records_nothing_and_ends_with_its_block() -> None:
    x = leaf(1.0)
    with no_grad():
        assert Double.apply(x).grad_fn is None
        with no_grad():
            pass
        assert not Double.apply(x).requires_grad
    assert Double.apply(x).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert Double.apply(x).requires_grad


def test_no_grad_decorates() -> None:
    @no_grad()
    def infer(x: Tensor) -> Tensor:
        return Double.apply(x)

    x = leaf(1.0)
    assert not infer(x).requires_grad
    assert not infer(x).requires_grad
    assert Double.apply(x).requires_grad


def test_no_grad_is_of_its_own_thread() -> None:
    x = leaf(1.0)
    inside, done = threading.Event(), threading.Event()
    seen: dict[str, bool] = {}

    def quiet() -> None:
        with no_grad():
            inside.set()
            done.wait(10)
            seen["quiet"] = Double.apply(x).requires_grad

    thread = threading.Thread(target=quiet)
    thread.start()
    assert inside.wait(10)
    seen["other"] = Double.apply(x).requires_grad
    done.set()
    thread.join()
    assert seen == {"quiet": False, "other": True}


def test_threads_differentiate_their_own_graphs() -> None:
    results: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        x = leaf(float(i))
        y = x
        for _ in range(200):
            y = Product.apply(y, Tensor(np.array([1.0])))
        Product.apply(y, x).backward()
        results[i] = x.grad

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {i: g.item() for i, g in results.items()} == {i: 2.0 * i for i in range(8)}


def test_detach_cuts_the_graph_and_shares_the_value() -> None:
    x = leaf(3.0)
    a = Double.apply(x)
    cut = a.detach()
    assert cut.grad_fn is None
    assert not cut.requires_grad
    assert np.shares_memory(cut.data, a.data)
    Product.apply(a, cut).backward()
    np.testing.assert_array_equal(x.grad, [12.0])


# What it refuses


def test_second_derivatives_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="backward: second derivatives are not supported"):
        Double.apply(leaf(1.0)).backward(create_graph=True)


def test_backward_without_anything_to_differentiate() -> None:
    for y in (Tensor([1.0]), Double.apply(Tensor([1.0]))):
        with pytest.raises(ValueError, match="backward: .* no tensor with requires_grad=True"):
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


# Data


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
