"""Statistical rotation and logit adjustment as layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minidl import Tensor, nn, ops
from minidl.priors import LogitAdjustment, StatRotLinear
from tests import priors_formulas as f

N, D, K = 3, 7, 5


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


X, E, GZ = rng(1).normal(size=(N, D)), rng(2).normal(size=(N, K)), rng(3).normal(size=(N, K))


def double(bias: bool = False, **options: Any) -> Any:
    return StatRotLinear(D, K, bias, rng=rng(), **options).astype(np.float64)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4])
def test_is_the_formulas(bias: bool, angle: float) -> None:
    layer = double(bias, angle=angle)
    z, gx, gw = f.stat_rot(X, layer.weight.data, E, angle, GZ)
    x = Tensor(X, requires_grad=True)
    y = layer(x, noise=E)
    y.backward(GZ)
    assert f.apart(y.data, z + layer.bias.data if bias else z) < 1e-12
    assert f.apart(x.grad, gx) < 1e-12
    assert f.apart(layer.weight.grad, gw) < 1e-12
    if bias:
        assert f.apart(layer.bias.grad, GZ.sum(0)) < 1e-12
    if angle == 0:
        assert f.apart(y.data, ops.linear(X, layer.weight, layer.bias).data) < 1e-15


def test_features_along_a_weight_give_numbers() -> None:
    """Where x and w are parallel the radicand is rounding, of either sign: no NaN, and no gradient through it."""
    for draw in range(200):
        x = rng(draw).normal(size=(1, 64)).astype(np.float32)
        layer = StatRotLinear(64, 3, rng=rng())
        weight = layer.weight.data.copy()
        weight[0], weight[1] = 3 * x[0], 0
        layer.weight.data = weight
        features = Tensor(x, requires_grad=True)
        z = layer(features)
        z.backward(np.ones((1, 3), np.float32))
        assert np.isfinite(z.data).all()
        assert np.isfinite(features.grad).all()
        assert np.isfinite(layer.weight.grad).all()
    zero = Tensor(np.zeros((2, 64), np.float32), requires_grad=True)
    z = layer(zero)
    z.backward(np.ones((2, 3), np.float32))
    assert not z.data.any()
    assert np.isfinite(zero.grad).all()


def test_evaluation_is_linear_and_training_draws_its_own_noise() -> None:
    layer, plain = StatRotLinear(D, K, rng=rng()), nn.Linear(D, K, bias=False, rng=rng())
    x = Tensor(X.astype(np.float32))
    np.testing.assert_array_equal(layer.eval()(x).data, plain(x).data)
    again = StatRotLinear(D, K, rng=rng())
    np.testing.assert_array_equal(layer.train()(x).data, again(x).data)
    assert (layer(x).data != plain(x).data).all()
    assert [n for n, _ in layer.named_generators()] == ["draws"]


def test_logits_have_the_mean_and_the_spread_of_turned_features() -> None:
    layer, draws = double(), 20_000
    z = layer(Tensor(np.repeat(X[:1], draws, axis=0))).data
    w = layer.weight.data
    plain = X[0] @ w.T
    spread = math.sin(math.pi / 4) * np.sqrt((X[0] @ X[0]) * (w * w).sum(1) - plain**2) / math.sqrt(min(D, K) - 1)
    assert (abs(z.mean(0) - math.cos(math.pi / 4) * plain) < 5 * spread / math.sqrt(draws)).all()
    np.testing.assert_allclose(z.std(0), spread, rtol=5 / math.sqrt(2 * draws))


def test_a_linear_layers_parameters_are_kept() -> None:
    linear: Any = nn.Linear(D, K, rng=rng()).astype(np.float64)
    layer = StatRotLinear.from_linear(linear, rng=rng(), angle=0.5)
    assert layer.weight is linear.weight
    assert layer.bias is linear.bias
    assert layer.angle == 0.5
    np.testing.assert_array_equal(layer.eval()(Tensor(X)).data, linear(Tensor(X)).data)
    assert repr(layer) == "StatRotLinear(7, 5, angle=0.5)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StatRotLinear(D, 1, rng=rng()), "StatRotLinear: out_features must be an integer >= 2, got 1"),
        (lambda: StatRotLinear(1, K, rng=rng()), "StatRotLinear: in_features must be an integer >= 2, got 1"),
        (lambda: StatRotLinear(D, K, angle=math.inf, rng=rng()), "angle must be finite, got inf"),
        (lambda: StatRotLinear(D, K, angle=math.nan, rng=rng()), "angle must be a number, got nan"),
        (lambda: LogitAdjustment([0, 0]), "class_counts must be integers >= 0, not all 0"),
        (lambda: LogitAdjustment([3, -1]), "class_counts must be integers >= 0"),
        (lambda: LogitAdjustment([0.5, 0.5]), "class_counts must be integers >= 0"),
        (lambda: LogitAdjustment(7), "class_counts must be integers >= 0"),
        (lambda: LogitAdjustment([1, 2], tau=math.nan), "tau must be a number, got nan"),
    ],
)
def test_what_the_layers_refuse(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_logit_adjustment_adds_the_logarithms_of_the_frequencies() -> None:
    logits = rng().normal(size=(2, 4)).astype(np.float32)
    adjust = LogitAdjustment([70, 20, 10, 0], tau=0.5)
    expected = logits + 0.5 * np.log(np.array([70, 20, 10, 1]) / 101)
    np.testing.assert_allclose(adjust(Tensor(logits)).data, expected, rtol=1e-6)
    assert np.isfinite(ops.cross_entropy(adjust(Tensor(logits)), np.array([3, 0])).item())
    np.testing.assert_array_equal(adjust.eval()(Tensor(logits)).data, logits)


def test_adjusted_training_makes_a_balanced_classifier() -> None:
    """Where x says nothing, the loss is least with equal logits, as if classes were equally frequent."""
    counts = np.array([80, 15, 5])
    labels = np.repeat(np.arange(3), counts)
    z = Tensor(np.zeros((100, 3)), requires_grad=True)
    adjust: Any = LogitAdjustment(counts).astype(np.float64)
    ops.cross_entropy(adjust(z), labels).backward()
    np.testing.assert_allclose(z.grad.sum(0), 0, atol=1e-7)
