"""Normalisation: against PyTorch, running statistics, rounding where the mean is large, and the kernels' forms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Tensor, no_grad, ops
from minidl.kernels import array, cpu, reference
from minidl.kernels.cpu.threads import use_threads

SHAPES = [(6, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 1, 3)]


def draw(*shape: int, seed: int = 0, dtype=np.float64) -> np.ndarray:
    return (2 + 3 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def gradients(op, inputs: list[np.ndarray | None], **params) -> list[np.ndarray]:
    """y and the gradients of `inputs` for a fixed random cotangent."""
    xs = [None if x is None else Tensor(x, requires_grad=True) for x in inputs]
    y = op(*xs, **params)
    y.backward(draw(*y.shape, seed=9, dtype=y.dtype))
    return [y.data, *(x.grad for x in xs if x is not None)]


def pytorch_gradients(torch, op, inputs: list[np.ndarray | None], **params) -> list[np.ndarray]:
    xs = [None if x is None else torch.tensor(x, requires_grad=True) for x in inputs]
    y = op(*xs, **params)
    y.backward(torch.tensor(draw(*y.shape, seed=9)))
    return [y.detach().numpy(), *(x.grad.numpy() for x in xs if x is not None)]


def assert_equal(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "training", "running", "weight", "bias"),
    [case for case in product(SHAPES, *[[True, False]] * 4) if case[1] or case[2]],
)
def test_batch_norm_equals_pytorch(shape, training, running, weight, bias) -> None:
    torch = pytest.importorskip("torch")
    c = shape[1]
    inputs = [draw(*shape), draw(c, seed=1) if weight else None, draw(c, seed=2) if bias else None]
    estimates = (draw(c, seed=3), np.abs(draw(c, seed=4))) if running else (None, None)
    ours = [None if e is None else Tensor(e) for e in estimates]
    theirs = [None if e is None else torch.tensor(e) for e in estimates]
    params = {"training": training, "momentum": 0.3, "eps": 1e-3}

    def op(x, weight, bias, running, function):
        return function(x, *running, weight, bias, **params)

    assert_equal(
        gradients(op, inputs, running=ours, function=ops.batch_norm),
        pytorch_gradients(torch, op, inputs, running=theirs, function=torch.nn.functional.batch_norm),
    )
    if running:
        assert_equal([e.data for e in ours], [e.numpy() for e in theirs])


@pytest.mark.parametrize(("weight", "bias"), [*product([True, False], repeat=2)])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_layer_norm_equals_pytorch(shape, weight, bias) -> None:
    torch = pytest.importorskip("torch")
    normalized = shape[-2:]
    inputs = [
        draw(*shape),
        draw(*normalized, seed=1) if weight else None,
        draw(*normalized, seed=2) if bias else None,
    ]
    params = {"normalized_shape": normalized, "eps": 1e-3}

    def pytorchs(x, weight, bias, **params):
        return torch.nn.functional.layer_norm(x, weight=weight, bias=bias, **params)

    assert_equal(gradients(ops.layer_norm, inputs, **params), pytorch_gradients(torch, pytorchs, inputs, **params))


@pytest.mark.parametrize(("weight", "bias"), [*product([True, False], repeat=2)])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 4), (2, 6, 3, 2)])
def test_group_norm_equals_pytorch(shape, groups, weight, bias) -> None:
    torch = pytest.importorskip("torch")
    inputs = [draw(*shape), draw(6, seed=1) if weight else None, draw(6, seed=2) if bias else None]
    params = {"num_groups": groups, "eps": 1e-3}

    def pytorchs(x, weight, bias, **params):
        if weight is None:  # PyTorch 2.13's backward fails on a bias without a weight
            weight = torch.ones(6, dtype=x.dtype)
        return torch.nn.functional.group_norm(x, weight=weight, bias=bias, **params)

    assert_equal(gradients(ops.group_norm, inputs, **params), pytorch_gradients(torch, pytorchs, inputs, **params))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_statistics_move_by_momentum_and_keep_their_dtype(dtype) -> None:
    x = draw(4, 2, 3, dtype=dtype)
    mean, var = Tensor(np.zeros(2, dtype)), Tensor(np.ones(2, dtype))
    before = mean.data
    with no_grad():  # statistics move whether or not a graph is recorded, as in PyTorch
        ops.batch_norm(x, mean, var, training=True, momentum=0.25)
    flat = x.astype(np.float64).transpose(1, 0, 2).reshape(2, -1)
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(mean.data, 0.25 * flat.mean(axis=1), rtol=tolerance)
    np.testing.assert_allclose(var.data, 0.75 + 0.25 * flat.var(axis=1, ddof=1), rtol=tolerance)
    assert mean.dtype == var.dtype == dtype
    np.testing.assert_array_equal(before, 0)  # a new array was assigned: a graph that holds the old one keeps it


def test_numpy_numbers_do_not_widen_float32() -> None:
    """np.float64 times a float32 array is float64; momentum and eps are weak numbers all the same."""
    x = Tensor(draw(4, 2, dtype=np.float32), requires_grad=True)
    mean, var = Tensor([0.0, 0.0]), Tensor([1.0, 1.0])
    y = ops.batch_norm(x, mean, var, training=True, momentum=np.float64(0.1), eps=np.float64(1e-5))
    y.backward(np.ones(y.shape, np.float32))
    assert mean.dtype == var.dtype == y.dtype == x.grad.dtype == np.float32
    assert ops.layer_norm(x, normalized_shape=2, eps=np.float64(1e-5)).dtype == np.float32
    assert ops.group_norm(x, num_groups=1, eps=np.float64(1e-5)).dtype == np.float32


def test_running_statistics_change_no_gradient_already_recorded() -> None:
    mean, var = Tensor(np.zeros(2)), Tensor(np.ones(2))
    x = Tensor(draw(3, 2), requires_grad=True)
    y = ops.batch_norm(x, mean, var)
    mean.data, var.data = np.full(2, 7.0), np.full(2, 9.0)
    y.backward(np.ones(y.shape))
    np.testing.assert_allclose(x.grad, 1 / np.sqrt(1 + 1e-5))


def test_evaluation_leaves_the_running_statistics_alone() -> None:
    mean, var = Tensor(np.zeros(2)), Tensor(np.ones(2))
    ops.batch_norm(draw(3, 2), mean, var)
    np.testing.assert_array_equal(mean.data, 0)
    np.testing.assert_array_equal(var.data, 1)


def test_batch_norm_refuses_statistics_it_could_not_update() -> None:
    x, one = draw(3, 2), np.ones(2)
    with pytest.raises(TypeError, match=r"batch_norm: running_mean must be a Tensor, .* got ndarray"):
        ops.batch_norm(x, one, Tensor(one), training=True)
    with pytest.raises(ValueError, match="batch_norm: running_var is an estimate"):
        ops.batch_norm(x, Tensor(one), Tensor(one, requires_grad=True), training=True)
    with pytest.raises(TypeError, match="batch_norm: inputs must share one dtype"):
        ops.batch_norm(x, Tensor(one.astype(np.float32)), Tensor(one), training=True)
    ops.batch_norm(x, one, one)  # evaluation only reads them


def test_a_refused_call_leaves_the_running_statistics_alone() -> None:
    mean, var = Tensor(np.zeros(2)), Tensor(np.ones(2))
    with pytest.raises(ValueError, match="more than one value"):
        ops.batch_norm(draw(1, 2), mean, var, training=True)
    np.testing.assert_array_equal(mean.data, 0)
    np.testing.assert_array_equal(var.data, 1)


def test_nan_in_one_channel_shows_in_that_channel_and_its_statistics() -> None:
    x = draw(3, 2)
    x[1, 0] = np.nan
    mean, var = Tensor(np.zeros(2)), Tensor(np.ones(2))
    y = ops.batch_norm(x, mean, var, training=True).data
    assert np.isnan(y[:, 0]).all() and np.isfinite(y[:, 1]).all()
    assert np.isnan(mean.data).tolist() == np.isnan(var.data).tolist() == [True, False]


@pytest.mark.parametrize("kernels", [array, cpu])
@pytest.mark.parametrize("ratio", [1e2, 1e4])
def test_a_large_mean_costs_no_more_than_rounding_the_input_does(kernels, ratio) -> None:
    """float32, |μ|/σ = ratio.  Half an ulp of x is (ε/2)|μ|/σ in y; rounding μ costs as much again.

    The sum of N = 64 values a channel adds its own error to μ, at most log2(N) + 1 roundings where it is pairwise.
    E[x²] - μ² in place of the two passes would be wrong in every digit from ratio = 1e4 on.
    """
    eps = np.finfo(np.float32).eps
    x = (ratio + np.random.default_rng(0).normal(size=(64, 8))).astype(np.float32).T.copy().T
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    one = np.ones(8, np.float32)
    y, mean, var = kernels.batch_norm(x, one, 0 * one, 1e-5)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=4 * eps)
    np.testing.assert_allclose(var, exact.var(axis=0), rtol=16 * eps + (4 * eps * ratio) ** 2)
    bound = 4 * eps * ratio * 1.5 + 32 * eps * np.abs(expected)  # 1.5 > 1/σ of every channel drawn
    assert exact.std(axis=0).min() > 1 / 1.5
    assert (np.abs(y - expected) <= bound).all()


@pytest.mark.parametrize("op", ["layer_norm", "group_norm"])
def test_a_large_mean_in_layer_and_group_norm(op) -> None:
    eps, ratio = np.finfo(np.float32).eps, 1e4
    x = (ratio + np.random.default_rng(0).normal(size=(4, 64))).astype(np.float32)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(axis=1, keepdims=True)) / np.sqrt(exact.var(axis=1, keepdims=True) + 1e-5)
    y = ops.layer_norm(x, normalized_shape=64) if op == "layer_norm" else ops.group_norm(x, num_groups=1)
    assert exact.std(axis=1).min() > 1 / 1.5
    assert (np.abs(y.data - expected) <= 4 * eps * ratio * 1.5 + 32 * eps * np.abs(expected)).all()


def test_a_constant_channel_gives_beta_and_finite_gradients() -> None:
    x = Tensor(np.full((4, 1, 3), 1e4, np.float32), requires_grad=True)
    weight, bias = Tensor(np.float32([2.0]), requires_grad=True), Tensor(np.float32([0.5]), requires_grad=True)
    y = ops.batch_norm(x, None, None, weight, bias, training=True)
    np.testing.assert_array_equal(y.data, 0.5)
    y.backward(draw(4, 1, 3, dtype=np.float32))
    assert np.isfinite(x.grad).all() and weight.grad == 0


def test_invariances() -> None:
    """The batch's own statistics remove any shift and positive scale, and what they remove has no gradient."""
    x, gy = draw(5, 3, 2), draw(5, 3, 2, seed=1)
    tensor = Tensor(x, requires_grad=True)
    y = ops.batch_norm(tensor, training=True, eps=1e-15)
    np.testing.assert_allclose(ops.batch_norm(7 * x - 4, training=True, eps=1e-15).data, y.data, atol=1e-12)
    y.backward(gy)
    np.testing.assert_allclose(tensor.grad.sum(axis=(0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose((tensor.grad * y.data).sum(axis=(0, 2)), 0, atol=1e-12)


# Kernels


def in_memory_order(x: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """x, its axes lying in memory in `order`."""
    return x.transpose(order).copy().transpose(np.argsort(order))


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.sampled_from([(3, 4), (5, 2, 3), (2, 3, 4, 5), (1, 2, 7, 1)]),
    st.sampled_from([np.float32, np.float64]),
    st.randoms(use_true_random=False),
)
def test_the_forms_of_the_kernels_agree(shape, dtype, random) -> None:
    x, gy = (
        in_memory_order(draw(*shape, seed=s, dtype=dtype), tuple(random.sample(range(len(shape)), len(shape))))
        for s in (0, 1)
    )
    weight, bias, r = (draw(shape[1], seed=s, dtype=dtype) for s in (2, 3, 4))
    results = []
    for form in (reference, array, cpu):
        y, mean, var = form.batch_norm(x, weight, bias, 1e-3)
        adjoint = form.batch_norm_adjoint(gy, x, mean, r, weight)
        affine, products = form.channel_affine(x, mean, weight, bias), form.channel_products(gy, x, mean)
        results.append([y, mean, var, *adjoint, affine, *products])
    for others in zip(*results, strict=True):
        for other in others[1:]:
            assert other.dtype == dtype and other.shape == others[0].shape
            scale = np.abs(others[0]).max() + x.size / shape[1]  # values are of order 10, sums of at most 40 of them
            np.testing.assert_allclose(other, others[0], rtol=0, atol=64 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_rows_are_summed_in_pieces(dtype) -> None:
    """M beyond a piece and no multiple of it: every value counts, once."""
    x, gy = (np.moveaxis(draw(3, 5, 7, 131, seed=s, dtype=dtype), -1, 0) for s in (0, 1))  # M = 4585 = 4096 + 489
    one = np.ones(3, dtype)
    exact, exact_gy = x.astype(np.float64), gy.astype(np.float64)
    _, mean, var = cpu.batch_norm(x, one, one, 1e-5)
    tolerance = 32 * np.finfo(dtype).eps
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=tolerance)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2, 3)), rtol=tolerance)
    total, products = cpu.channel_products(gy, x, 0 * one)
    np.testing.assert_allclose(total, exact_gy.sum(axis=(0, 2, 3)), rtol=tolerance)
    np.testing.assert_allclose(products, (exact_gy * exact).sum(axis=(0, 2, 3)), rtol=tolerance)


def test_the_number_of_threads_changes_no_bit(monkeypatch) -> None:
    monkeypatch.setattr("minidl.kernels.cpu.norm.BLOCK", 4000)  # several blocks of a small array
    x, gy = (np.moveaxis(draw(8, 6, 5, 64, seed=s, dtype=np.float32), -1, 0) for s in (0, 1))
    weight, bias = draw(8, seed=2, dtype=np.float32), draw(8, seed=3, dtype=np.float32)
    bits = set()
    for threads in (1, 2, 4):
        with use_threads(threads):
            y, mean, var = cpu.batch_norm(x, weight, bias, 1e-5)
            results = [y, mean, var, *cpu.batch_norm_adjoint(gy, x, mean, var, weight)]
            results += [cpu.channel_affine(x, mean, weight, bias), *cpu.channel_products(gy, x, mean)]
            bits.add(b"".join(result.tobytes() for result in results))
    assert len(bits) == 1


def test_results_lie_in_memory_with_the_batch_axis_last() -> None:
    """So that the layers after it find contiguous channels, whatever the layout that came in."""
    x = draw(4, 2, 3, 5)
    one = np.ones(2)
    y, mean, var = cpu.batch_norm(x, one, one, 1e-5)
    gx, _, _ = cpu.batch_norm_adjoint(y, x, mean, var, one)
    for result in (y, gx, cpu.channel_affine(x, mean, one, one)):
        assert np.moveaxis(result, 0, -1).flags.c_contiguous
