"""The engine: what a graph computes, keeps and frees."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

from minidl import Function, Tensor, no_grad
from tests.engine_helpers import Double, Product, leaf

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
        with pytest.raises(RuntimeError, match=r"backward: an earlier backward freed part .* retain_graph=True"):
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
