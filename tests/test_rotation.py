"""Statistical rotation: against its formulas, true rotations and PyTorch, and where the root has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidl import Tensor, ops

ANGLE = math.pi / 4


def run(x, weight, noise, gy, angle=ANGLE):
    """Logits, gx and gw."""
    x, weight = (Tensor(a, requires_grad=True) for a in (x, weight))
    y = ops.stat_rot_linear(x, weight, Tensor(noise), angle)
    y.backward(gy)
    return y.data, x.grad, weight.grad


def draws(n=4, d=9, k=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(k, d)), rng.normal(size=(n, k)), rng.normal(size=(n, k))


@pytest.mark.parametrize("size", [(3, 7, 5), (4, 3, 8)])
def test_equals_the_formulas(size) -> None:
    x, w, noise, gy = draws(*size)
    e = noise / math.sqrt(min(w.shape) - 1)
    z, a, b = x @ w.T, (x * x).sum(1, keepdims=True), (w * w).sum(1)
    s = np.sqrt(a * b - z * z)
    gr = gy * math.sin(ANGLE) * e / (2 * s)
    gz = math.cos(ANGLE) * gy - 2 * z * gr
    y, gx, gw = run(x, w, noise, gy)
    np.testing.assert_allclose(y, math.cos(ANGLE) * z + math.sin(ANGLE) * e * s, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gx, gz @ w + 2 * x * (gr * b).sum(1, keepdims=True), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gw, gz.T @ x + 2 * w * (gr * a).sum(0)[:, None], rtol=1e-12, atol=1e-12)


def test_equals_pytorch_with_its_own_gradients() -> None:
    torch = pytest.importorskip("torch")
    x, w, noise, gy = draws()
    xt, wt = (torch.tensor(a, requires_grad=True) for a in (x, w))
    z = xt @ wt.T
    root = torch.sqrt((xt**2).sum(1, keepdim=True) * (wt**2).sum(1) - z**2)
    yt = math.cos(0.7) * z + math.sin(0.7) * torch.tensor(noise) / math.sqrt(5) * root
    yt.backward(torch.tensor(gy))
    expected = yt.detach().numpy(), xt.grad.numpy(), wt.grad.numpy()
    for ours, theirs in zip(run(x, w, noise, gy, 0.7), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def test_angle_zero_is_the_linear_layer() -> None:
    x, w, noise, gy = draws()
    y, gx, gw = run(x, w, noise, gy, angle=0.0)
    np.testing.assert_array_equal(y, x @ w.T)
    np.testing.assert_array_equal(gx, gy @ w)
    np.testing.assert_array_equal(gw, gy.T @ x)


def test_has_the_moments_of_true_rotations() -> None:
    """200,000 rotations of x by 45° in random directions: the same mean and deviation of every logit."""
    rng = np.random.default_rng(3)
    x, w, _, _ = draws(1, 7, 8)
    u = rng.normal(size=(200_000, 7))
    u -= np.outer(u @ x[0], x[0]) / (x[0] @ x[0])
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    turned = math.cos(ANGLE) * x + math.sin(ANGLE) * np.linalg.norm(x) * u
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(x), rtol=1e-12)
    logits = turned @ w.T

    drawn = ops.stat_rot_linear(Tensor(np.repeat(x, 200_000, axis=0)), w, rng.normal(size=logits.shape), ANGLE).data
    scale = logits.std(axis=0)
    assert np.abs((drawn.mean(axis=0) - logits.mean(axis=0)) / scale).max() < 5 * math.sqrt(2 / 200_000)  # 5 sigma
    np.testing.assert_allclose(drawn.std(axis=0), scale, rtol=1e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parallel_features_stay_finite(dtype) -> None:
    """|x|²|w|² − z² is rounding there, of either sign; the gradient is bounded by that of the exact root."""
    negative = 0
    for seed in range(40):
        x, w, noise, gy = (a.astype(dtype) for a in draws(3, 64, 5, seed))
        w[0] = 3 * x[0]
        w[1] = -x[1]
        z = x @ w.T
        negative += int((((x * x).sum(1)[:, None] * (w * w).sum(1) - z * z) < 0).any())
        for array in run(x, w, noise, gy):
            assert np.isfinite(array).all()
            assert np.abs(array).max() < 1e3
    assert negative  # else the test would not reach the case it is about


def test_scaling_the_features_scales_the_logits() -> None:
    x, w, noise, gy = draws()
    y, gx, gw = run(x, w, noise, gy)
    np.testing.assert_allclose(run(2.5 * x, w, noise, gy)[0], 2.5 * y, rtol=1e-12)
    np.testing.assert_allclose(run(x, 2.5 * w, noise, gy)[0], 2.5 * y, rtol=1e-12)
    assert (gx * x).sum() == pytest.approx((gy * y).sum(), rel=1e-11)  # Euler
    assert (gw * w).sum() == pytest.approx((gy * y).sum(), rel=1e-11)


def test_noise_has_no_gradient() -> None:
    x, w, noise, gy = draws()
    y = ops.stat_rot_linear(Tensor(x, requires_grad=True), Tensor(w), Tensor(noise, requires_grad=True))
    with pytest.raises(NotImplementedError, match=r"StatRotLinear: no gradient is defined for argument 2 \(noise\)"):
        y.backward(gy)
