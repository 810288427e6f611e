"""Mixed precision: what is rounded, what is not, the scale of the loss, and runs that train with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.autograd import observe
from minidl.bench.cases import PRIORS
from minidl.kernels import array, cpu
from minidl.kernels.half import in_single
from minidl.nn import Parameter
from minidl.ops.elementwise import AsType
from minidl.optim import create_optimizer
from minidl.precision import INTERVAL, SMALLEST, LossScale, mixed_precision
from minidl.train.build import network
from minidl.train.config import Config

U16 = 2.0**-11


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_rounding_is_an_op_whose_gradient_comes_back_in_the_precision_of_its_input() -> None:
    x = Tensor(drawn(3, 4), requires_grad=True)
    y = AsType.apply(x, dtype=np.dtype(np.float16))
    np.testing.assert_array_equal(y.data, x.data.astype(np.float16), strict=True)
    with mixed_precision():
        gy = Tensor(drawn(3, 4, seed=1).astype(np.float16))
    y.backward(gy)
    np.testing.assert_array_equal(x.grad, gy.data.astype(np.float32), strict=True)


def test_a_product_is_that_of_rounded_inputs_summed_in_float32_and_rounded_once() -> None:
    x, w, gy = drawn(8, 300), drawn(5, 300, seed=1), drawn(8, 5, seed=2)
    tx, tw = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    with mixed_precision():
        y = ops.linear(tx, tw)
        ops.astype(y, np.float32).backward(gy)
    half_x, half_w, half_gy = (a.astype(np.float16).astype(np.float64) for a in (x, w, gy))
    for found, a, b in ((y.data, half_x, half_w.T), (tx.grad, half_gy, half_w), (tw.grad, half_gy.T, half_x)):
        bound = U16 * np.abs(a @ b) + 400 * 2.0**-24 * (np.abs(a) @ np.abs(b))
        assert (np.abs(found - a @ b) <= bound).all()
    assert (y.dtype, tx.grad.dtype, tw.grad.dtype) == (np.float16, np.float32, np.float32)


def test_the_statistics_of_a_norm_are_float32() -> None:
    """With a mean of 300 and a variance of 1 the squares do not fit into float16."""
    x = (300 + drawn(64, 3, 5, 5)).astype(np.float16)
    mean, var, gamma, beta = (Tensor(np.full(3, v, np.float32), requires_grad=v > 1) for v in (0, 1, 2, 3))
    with mixed_precision():
        given = Tensor(x, requires_grad=True)
        y = ops.batch_norm(given, mean, var, gamma, beta, training=True, momentum=1.0)
    exact = x.astype(np.float64)
    assert (y.dtype, mean.dtype, var.dtype) == (np.float16, np.float32, np.float32)
    np.testing.assert_allclose(mean.data, exact.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var.data, exact.var(axis=(0, 2, 3), ddof=1), rtol=1e-4)
    y.backward(y)
    assert (given.grad.dtype, gamma.grad.dtype, beta.grad.dtype) == (np.float16, np.float32, np.float32)
    for training in (True, False):
        with mixed_precision():
            ops.batch_norm(given, mean, var, gamma, beta, training=training).backward(y)


@pytest.mark.parametrize("kernels", [array, cpu])
def test_kernels_store_in_half_what_they_compute_in_single(kernels: Any) -> None:
    x, w = drawn(4, 3, 9, 9).astype(np.float16), drawn(5, 3, 3, 3, seed=1).astype(np.float16)
    place = (1, 1), (1, 1), (1, 1), 1
    y = in_single(kernels).correlate(x, w, *place)
    right = kernels.correlate(x.astype(np.float32), w.astype(np.float32), *place)
    np.testing.assert_array_equal(y, right.astype(np.float16), strict=True)
    largest, index = in_single(kernels).window_max(x, (2, 2), (2, 2), (0, 0), (1, 1), (4, 4))
    assert largest.dtype == np.float16
    assert index.dtype.kind in "iu"
    single = in_single(kernels).add(right, right)
    assert single.dtype == np.float32


@pytest.mark.parametrize("prior", ["none", *PRIORS])
def test_networks_compute_their_maps_in_half_and_their_gradients_in_single(prior: str) -> None:
    spec = PRIORS.get(prior, {})
    fields: dict[str, Any] = {key: spec[key] for key in ("pool", "conv", "classifier") if key in spec}
    x, labels = drawn(8, 3, 32, 32), np.arange(8)
    gradients: dict[bool, np.ndarray] = {}
    kinds: dict[str, set[str]] = {}

    def look(fn, method, *arrays, **params):
        y = method(*arrays, **params)
        if method.__name__ == "forward":
            kinds.setdefault(fn.name, set()).add(y.dtype.name)
        return y

    for mixed in (False, True):
        model = network(Config(model="resnet8", **fields), 10).train()
        scale = LossScale(first=256.0)
        if mixed:
            with mixed_precision(), observe(look):
                logits = ops.astype(model(Tensor(x)), np.float32)
        else:
            logits = model(Tensor(x))
        ops.cross_entropy(logits, labels).backward(scale.cotangent)
        gradients[mixed] = np.concatenate([p.grad.ravel() for p in model.parameters()]) / scale.value
    assert gradients[True].dtype == np.float32
    assert kinds["Conv2d"] == {"float16"}
    assert kinds["BatchNorm"] >= {"float16"}
    assert kinds.get("SeparableFilter", {"float32"}) == {"float32"}
    assert kinds.get("GaussianPool2d", {"float32"}) == {"float32"}
    # Rounding flips some relu; a gradient that was wrong, or not unscaled, would be off by its own size.
    assert np.linalg.norm(gradients[True] - gradients[False]) < 0.15 * np.linalg.norm(gradients[False])


def test_outside_nothing_is_mixed() -> None:
    with mixed_precision():
        half = ops.linear(Tensor(drawn(2, 3)), Tensor(drawn(4, 3)))
    with pytest.raises(TypeError, match="Add: inputs must share one dtype, got float16 and float32"):
        ops.add(half, Tensor(drawn(2, 4)))
    with pytest.raises(TypeError, match="must be float32 or float64, got dtype float16"):
        Tensor(half.data)
    assert ops.linear(Tensor(drawn(2, 3)), Tensor(drawn(4, 3))).dtype == np.float32
    wide = Tensor(np.ones((2, 3)))
    with mixed_precision():
        assert ops.linear(wide, Tensor(np.ones((4, 3)))).dtype == np.float64


@pytest.mark.parametrize("opt", ["sgd", "adamw"])
def test_a_step_of_scaled_gradients_is_that_of_the_gradients(opt: str) -> None:
    """S is a power of 2, so that not a bit differs; after an overflow nothing moves but S."""
    plain, scaled = ([Parameter(drawn(3, 2)), Parameter(drawn(4, seed=1))] for _ in range(2))
    optimizers = [create_optimizer(opt, params, lr=0.1, weight_decay=0.01) for params in (plain, scaled)]
    scale = LossScale(first=1024.0)
    for step in range(4):
        for p, q in zip(plain, scaled, strict=True):
            p.grad = drawn(*p.shape, seed=10 + step)
            q.grad = p.grad * np.float32(scale.value)
        if step == 2:
            before = [q.data.copy() for q in scaled]
            scaled[1].grad = np.full(4, np.inf, np.float32)
            optimizers[1].step(scale)
            assert all((q.data == b).all() for q, b in zip(scaled, before, strict=True))
            assert scale.state() == {"scale": 512.0, "good_steps": 0}
            for q in scaled:
                q.grad = drawn(*q.shape, seed=10 + step) * np.float32(512.0)
        optimizers[0].step()
        optimizers[1].step(scale)
    for p, q in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    kept = [optimizer.state_dict()[0] for optimizer in optimizers]
    assert all((kept[0][name] == kept[1][name]).all() for name in kept[0])


def test_the_scale_grows_after_many_good_steps_and_not_before() -> None:
    scale = LossScale(first=8.0)
    scale.load_state({"scale": 8.0, "good_steps": INTERVAL - 2})
    for value in (8.0, 16.0, 16.0):
        scale.judge(np.ones(3, np.float32))
        assert scale.value == value
    assert scale.state()["good_steps"] == 1


def test_a_scale_that_only_falls_is_hopeless() -> None:
    scale = LossScale(first=2 * SMALLEST)
    for hopeless in (False, True):
        scale.judge(np.array([np.nan], np.float32))
        assert scale.hopeless == hopeless


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "scale must be a finite number >= 6e-05, got None"),
        ({"scale": float("inf"), "good_steps": 0}, "scale must be .* got inf"),
        ({"scale": 0.0, "good_steps": 0}, "scale must be .* got 0.0"),
        ({"scale": 1.0, "good_steps": -1}, r"good_steps must be an integer in \[0, 2000\), got -1"),
        ({"scale": 1.0, "good_steps": True}, "good_steps must be .* got True"),
    ],
)
def test_a_state_that_is_none_is_refused(state: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossScale().load_state(state)


def test_parameters_in_float64_are_refused() -> None:
    p = Parameter(np.ones(2))
    p.grad = np.ones(2)
    with pytest.raises(ValueError, match="SGD: parameters must be float32 in mixed precision"):
        create_optimizer("sgd", [p], lr=0.1).step(LossScale())
