"""Local Gaussian and maximum-entropy pooling: against their formulas and PyTorch, and what they must keep."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.kernels import use_kernels
from minidl.kernels.cpu.threads import use_threads

RNG = np.random.default_rng(0)
# H, k, s, p, ceil, count padding
WINDOWS = [
    (6, 2, 2, 0, False, False),
    (7, 2, 2, 0, True, True),
    (7, 3, 2, 1, False, False),
    (7, 3, 2, 1, False, True),
    (6, 3, 2, 1, True, True),
    (8, 3, 2, 1, True, False),
    (5, 3, 1, 1, False, True),
]


def windows(size: int, k: int, s: int, p: int, ceil: bool, count: bool) -> list[tuple[int, int, int]]:
    """(first, end, divisor) of each window along one axis."""
    outputs = (-(-(size + 2 * p - k) // s) if ceil else (size + 2 * p - k) // s) + 1
    outputs -= ceil and (outputs - 1) * s >= size + p
    found = []
    for i in range(outputs):
        start = i * s - p
        end = min(start + k, size + p)
        first, last = max(start, 0), min(end, size)
        found.append((first, last, end - start if count else last - first))
    return found


def gaussian_formulas(x, eta, gy_of, k, s, p, ceil, count, eps=1e-6):
    """Y, gx and gη by E[x²] − μ² and, backward, A = gY − Bμ, B = [v > ε] η gY/s, gx = Σ (A + B x)/P."""
    rows, columns = (windows(size, k, s, p, ceil, count) for size in x.shape[2:])
    mu, q = (np.zeros((*x.shape[:2], len(rows), len(columns))) for _ in range(2))
    for i, (a, b, n) in enumerate(rows):
        for j, (c, d, m) in enumerate(columns):
            mu[:, :, i, j] = x[:, :, a:b, c:d].sum((2, 3)) / (n * m)
            q[:, :, i, j] = (x[:, :, a:b, c:d] ** 2).sum((2, 3)) / (n * m)
    v = q - mu**2
    sd = np.sqrt(np.maximum(v, eps))
    y = mu + eta * sd
    gy = gy_of(y)
    slope = (v > eps) * eta * gy / sd
    offset = gy - slope * mu
    gx = np.zeros_like(x)
    for i, (a, b, n) in enumerate(rows):
        for j, (c, d, m) in enumerate(columns):
            at = (slice(None), slice(None), i, j, None, None)
            gx[:, :, a:b, c:d] += (offset[at] + slope[at] * x[:, :, a:b, c:d]) / (n * m)
    geta = gy * sd
    for axis, length in enumerate(eta.shape):
        geta = geta.sum(axis, keepdims=True) if length == 1 else geta
    return y, gx, geta


def maxent_formulas(x, lam, gy_of, k, s, p):
    """y, gx and gλ, one window after the other."""
    rows, columns = (windows(size, k, s, p, False, False) for size in x.shape[2:])
    whole = np.broadcast_to(lam, (*x.shape[:2], len(rows), len(columns)))
    y, variance, law = np.zeros(whole.shape), np.zeros(whole.shape), {}
    for i, (a, b, _) in enumerate(rows):
        for j, (c, d, _) in enumerate(columns):
            block = x[:, :, a:b, c:d]
            e = np.exp(whole[:, :, i, j, None, None] * block)
            law[i, j] = e / e.sum((2, 3), keepdims=True)
            y[:, :, i, j] = (law[i, j] * block).sum((2, 3))
            variance[:, :, i, j] = (law[i, j] * (block - y[:, :, i, j, None, None]) ** 2).sum((2, 3))
    gy, gx = gy_of(y), np.zeros_like(x)
    for i, (a, b, _) in enumerate(rows):
        for j, (c, d, _) in enumerate(columns):
            at = (slice(None), slice(None), i, j, None, None)
            gx[:, :, a:b, c:d] += gy[at] * law[i, j] * (1 + whole[at] * (x[:, :, a:b, c:d] - y[at]))
    glam = gy * variance
    for axis, length in enumerate(lam.shape):
        glam = glam.sum(axis, keepdims=True) if length == 1 else glam
    return y, gx, glam


def cotangent(y: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)


def run(op, x, parameter, *args, **params):
    """Output, gx and the gradient of the parameter."""
    x, parameter = (Tensor(np.asarray(a), requires_grad=True) for a in (x, parameter))
    y = op(x, parameter, *args, **params)
    y.backward(cotangent(y.data))
    return y.data, x.grad, parameter.grad


def pool(x, eta, **params) -> np.ndarray:
    return ops.gaussian_pool2d(Tensor(np.asarray(x)), Tensor(np.asarray(eta, x.dtype)), **params).data


@pytest.mark.parametrize("form", ["reference", "array", "cpu"])
@pytest.mark.parametrize("window", WINDOWS)
def test_gaussian_pool_equals_the_formulas(window, form) -> None:
    size, k, s, p, ceil, count = window
    x = RNG.normal(size=(2, 3, size, size + 1))
    outputs = tuple(len(windows(n, k, s, p, ceil, count)) for n in x.shape[2:])
    for shape in [(1, 1, 1, 1), (1, 3, 1, 1), (2, 3, 1, 1), (2, 1, 1, 1), (2, 3, *outputs)]:
        eta = np.abs(RNG.normal(size=shape))
        with use_kernels(form):
            ours = run(ops.gaussian_pool2d, x, eta, k, s, p, ceil, count)
        for a, b in zip(ours, gaussian_formulas(x, eta, cotangent, *window[1:]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["reference", "array", "cpu"])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 0)])
def test_maxent_pool_equals_the_formulas(window, form) -> None:
    x = RNG.normal(size=(2, 3, 7, 6))
    for shape in [(1, 1, 1, 1), (2, 3, 1, 1)]:
        lam = RNG.normal(size=shape) * 2
        with use_kernels(form):
            ours = run(ops.maxent_pool2d, x, lam, *window)
        for a, b in zip(ours, maxent_formulas(x, lam, cotangent, *window), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", WINDOWS)
def test_gaussian_pool_equals_pytorch_with_its_own_gradients(window) -> None:
    torch = pytest.importorskip("torch")
    size, *window = window
    x, eta = RNG.normal(size=(2, 3, size, size)), np.abs(RNG.normal(size=(2, 3, 1, 1)))
    xt, et = (torch.tensor(a, requires_grad=True) for a in (x, eta))
    mean = torch.nn.functional.avg_pool2d(xt, *window)
    variance = torch.nn.functional.avg_pool2d(xt * xt, *window) - mean * mean
    yt = mean + et * torch.sqrt(torch.clamp(variance, min=1e-6))
    yt.backward(torch.tensor(cotangent(yt.detach().numpy())))
    expected = yt.detach().numpy(), xt.grad.numpy(), et.grad.numpy()
    for ours, theirs in zip(run(ops.gaussian_pool2d, x, eta, *window), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


def test_maxent_pool_equals_pytorch_with_its_own_gradients() -> None:
    torch = pytest.importorskip("torch")
    x, lam = RNG.normal(size=(2, 3, 6, 6)), np.abs(RNG.normal(size=(2, 3, 1, 1)))
    xt, lt = (torch.tensor(a, requires_grad=True) for a in (x, lam))
    samples = xt.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    yt = (torch.softmax(lt[..., None] * samples, -1) * samples).sum(-1)
    yt.backward(torch.tensor(cotangent(yt.detach().numpy())))
    expected = yt.detach().numpy(), xt.grad.numpy(), lt.grad.numpy()
    for ours, theirs in zip(run(ops.maxent_pool2d, x, lam, 2), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_eta_zero_is_average_pooling() -> None:
    x = RNG.normal(size=(2, 2, 7, 6))
    params = {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": True}
    np.testing.assert_allclose(pool(x, 0.0, **params), ops.avg_pool2d(Tensor(x), **params).data, rtol=1e-13)


@pytest.mark.parametrize("k", [2, 3])
def test_between_the_mean_and_beyond_the_maximum(k: int) -> None:
    """max ≤ μ + √(P − 1) s (Samuelson), with equality for one value among zeros."""
    x = RNG.normal(size=(4, 4, 6, 6))
    largest = ops.max_pool2d(Tensor(x), k).data
    assert (largest <= pool(x, math.sqrt(k * k - 1), kernel_size=k) + 1e-12).all()
    assert (pool(x, 0.0, kernel_size=k) <= pool(x, 0.3, kernel_size=k)).all()
    spike = np.zeros((1, 1, k, k))
    spike[0, 0, k - 1, 0] = 3.0
    assert pool(spike, math.sqrt(k * k - 1), kernel_size=k).item() == pytest.approx(3.0, rel=1e-12)


def test_shift_and_scale_pass_through() -> None:
    """Y(x + c) = Y + c gives Σ gx = Σ gY; Y(ax) = aY gives ⟨gx, x⟩ = ⟨gY, Y⟩."""
    x, eta = RNG.normal(size=(2, 3, 7, 6)), np.abs(RNG.normal(size=(2, 3, 1, 1)))
    y, gx, _ = run(ops.gaussian_pool2d, x, eta, 3, 2, 1)
    gy = cotangent(y)
    np.testing.assert_allclose(pool(x + 7, eta, kernel_size=3, stride=2, padding=1), y + 7, rtol=1e-12)
    np.testing.assert_allclose(pool(5 * x, eta, kernel_size=3, stride=2, padding=1), 5 * y, rtol=1e-12)
    assert gx.sum() == pytest.approx(gy.sum(), abs=1e-12)
    assert (gx * x).sum() == pytest.approx((gy * y).sum(), rel=1e-11)


def test_a_constant_map_shows_the_floor_and_counted_padding() -> None:
    x = np.full((1, 1, 6, 6), 2.5)
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    np.testing.assert_allclose(pool(x, 1.0, **window), 2.5 + 1e-3, rtol=1e-14)
    np.testing.assert_allclose(pool(x, 1.0, **window, eps=1e-4), 2.5 + 1e-2, rtol=1e-14)
    inside = 4 / 9  # of the window at the corner
    corner = pool(x, 1.0, **window, count_include_pad=True)[0, 0, 0, 0]
    assert corner == pytest.approx(2.5 * (inside + math.sqrt(inside * (1 - inside))), rel=1e-12)


def test_below_the_floor_the_gradient_is_that_of_the_average() -> None:
    x = 2.5 + 1e-5 * RNG.normal(size=(1, 1, 6, 6))
    y, gx, _ = run(ops.gaussian_pool2d, x, np.ones((1, 1, 1, 1)), 2)
    np.testing.assert_allclose(gx, np.kron(cotangent(y), np.full((2, 2), 0.25)), rtol=1e-12)


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1)])
def test_float32_survives_a_mean_far_larger_than_the_deviation(window) -> None:
    """E[x²] − μ² has no correct digit at μ/s = 10⁴; the two looks at the window keep four, forward and backward."""
    x = (1000 + 0.1 * RNG.normal(size=(1, 1, 32, 32))).astype(np.float32)
    eta = np.ones((1, 1, 1, 1))
    exact = run(ops.gaussian_pool2d, x.astype(np.float64), eta, *window)
    single = run(ops.gaussian_pool2d, x, eta.astype(np.float32), *window)
    mean = pool(x.astype(np.float64), 0.0, kernel_size=window[0], stride=window[1], padding=window[2])
    ulp = 1000 * 2.0**-23  # of the output
    np.testing.assert_allclose(single[0] - mean, exact[0] - mean, atol=4 * ulp)
    np.testing.assert_allclose(single[1], exact[1], rtol=0, atol=2e-2)  # 8 ulp of μ over s, times |gY| < 4
    np.testing.assert_allclose(single[2], exact[2], rtol=1e-3, atol=1e-3)

    raw = (x**2).reshape(16, 2, 16, 2).mean((1, 3)) - x.reshape(16, 2, 16, 2).mean((1, 3)) ** 2
    truth = x.astype(np.float64).reshape(16, 2, 16, 2).var((1, 3))
    assert np.abs(raw - truth).max() > truth.max()  # the formula that is not used


def test_a_large_window_gives_its_mean_and_deviation() -> None:
    x = 2 + 0.7 * RNG.normal(size=(1, 1, 64, 64))
    assert pool(x, 1.3, kernel_size=64).item() == pytest.approx(x.mean() + 1.3 * x.std(), rel=1e-12)


def test_leftover_samples_get_no_gradient() -> None:
    _, gx, _ = run(ops.gaussian_pool2d, RNG.normal(size=(1, 2, 7, 6)), np.ones(()), 2)
    assert not gx[:, :, 6].any()
    assert gx[:, :, :6].all()


def test_priors_have_their_means() -> None:
    e = np.random.default_rng(1).normal(size=1_000_000)
    half = ops.half_gaussian(Tensor(np.array(1.7)), Tensor(e)).data
    assert half.mean() == pytest.approx(1.7 * math.sqrt(2 / math.pi), abs=5 * 1.7 * 0.61 / 1000)
    assert half.std() == pytest.approx(1.7 * math.sqrt(1 - 2 / math.pi), abs=1e-2)

    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    for mu0, sigma0 in [(0.0, 0.5), (-2.0, 0.9), (1.5, 0.99)]:
        eta = ops.inverse_softplus_gaussian(mu0, sigma0, Tensor(nodes)).data
        mean, median = (weights * eta).sum() / weights.sum(), math.log1p(math.exp(mu0))
        drawn = ops.inverse_softplus_gaussian(mu0, sigma0, Tensor(e)).data
        assert drawn.mean() == pytest.approx(mean, abs=5 * sigma0 / 1000)
        assert np.median(drawn) == pytest.approx(median, abs=7 * sigma0 / 1000)
        assert 0 <= mean - median <= sigma0**2 / 8  # Jensen


def test_gradients_of_the_priors() -> None:
    mu0, sigma0, e, geta = np.array([0.3, -1.2]), np.array([0.5, 0.9]), RNG.normal(size=2), RNG.normal(size=2)
    s = Tensor(sigma0, requires_grad=True)
    ops.half_gaussian(s, e).backward(geta)
    np.testing.assert_allclose(s.grad, geta * np.abs(e), rtol=1e-14)
    m, s = Tensor(mu0, requires_grad=True), Tensor(sigma0, requires_grad=True)
    ops.inverse_softplus_gaussian(m, s, e).backward(geta)
    sigmoid = 1 / (1 + np.exp(-(mu0 + sigma0 * e)))
    np.testing.assert_allclose(m.grad, geta * sigmoid, rtol=1e-13)
    np.testing.assert_allclose(s.grad, geta * sigmoid * e, rtol=1e-13)


def test_noise_is_a_constant() -> None:
    e = Tensor(np.ones(2), requires_grad=True)
    ops.half_gaussian(Tensor(np.ones(2), requires_grad=True), e).sum().backward()
    ops.inverse_softplus_gaussian(Tensor(np.ones(2), requires_grad=True), np.ones(2), e).sum().backward()
    assert e.grad is None


def maxent(x, lam: float) -> np.ndarray:
    return ops.maxent_pool2d(Tensor(x), lam, 2).data


def test_maxent_between_minimum_average_and_maximum() -> None:
    x = RNG.normal(size=(1, 2, 6, 6))
    blocks = x.reshape(1, 2, 3, 2, 3, 2)
    np.testing.assert_allclose(maxent(x, 0.0), blocks.mean((3, 5)), rtol=1e-13)
    np.testing.assert_allclose(maxent(x, 1e4), blocks.max((3, 5)), rtol=1e-6)  # and nothing overflows
    np.testing.assert_allclose(maxent(x, -1e4), blocks.min((3, 5)), rtol=1e-6)
    rising = np.array([maxent(x, lam) for lam in (0.0, 0.5, 2.0, 8.0)])
    assert (np.diff(rising, axis=0) > 0).all()
    np.testing.assert_allclose(maxent(x, 1e-4) - maxent(x, 0.0), 1e-4 * blocks.var((3, 5)), rtol=1e-2)
    log_sum_exp = np.log(np.exp(2 * blocks).mean((3, 5))) / 2
    assert np.abs(log_sum_exp - maxent(x, 2.0)).max() > 1e-2
    np.testing.assert_allclose(maxent(x - 500, 2.0), maxent(x, 2.0) - 500, rtol=1e-12)


def test_maxent_maximises_mean_plus_entropy() -> None:
    v, lam = RNG.normal(size=6), 1.7
    y = ops.maxent_pool2d(Tensor(v.reshape(1, 1, 2, 3)), lam, (2, 3)).item()
    best = math.log(np.exp(lam * v).sum()) / lam  # Σ p x + H(p)/λ at the law of the op
    p = np.exp(lam * v) / np.exp(lam * v).sum()
    assert y - (p * np.log(p)).sum() / lam == pytest.approx(best, rel=1e-12)
    for q in np.random.default_rng(1).dirichlet(np.ones(6), 500):
        assert (q * v).sum() - (q * np.log(q)).sum() / lam <= best


def test_maxent_ignores_padding_and_keeps_shifts() -> None:
    x = -5 - np.abs(RNG.normal(size=(1, 1, 5, 6)))  # a padded zero would win
    y, gx, _ = run(ops.maxent_pool2d, x, np.array(2.0), 3, 2, 1)
    assert (y < -5).all()
    assert gx.sum() == pytest.approx(cotangent(y).sum(), abs=1e-12)


@pytest.mark.parametrize("op", [ops.gaussian_pool2d, ops.maxent_pool2d])
def test_threads_change_no_bit(op) -> None:
    rng = np.random.default_rng(0)
    x, parameter = (rng.normal(size=shape).astype(np.float32) for shape in [(8, 12, 64, 63), (8, 12, 1, 1)])
    results = []
    for threads in (1, 2, 4):
        with use_threads(threads):
            results.append(run(op, x, parameter, 3, 2, 1))
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_floored_variance_stays_floored_in_every_form() -> None:
    """NaN is not taken for a small variance, and the mask of backward is that of forward, in float32 as in float64."""
    for dtype in (np.float32, np.float64):
        x = np.zeros((1, 3, 2, 2), dtype)
        x[0, 1] = 1e-3 * np.array([[1, -1], [-1, 1]])  # v = ε to rounding
        x[0, 2] = [[np.nan, 1], [2, 3]]
        for form in ("reference", "array", "cpu"):
            with use_kernels(form):
                y, gx, _ = run(ops.gaussian_pool2d, x, np.ones((), dtype), 2)
            gy = cotangent(y)
            np.testing.assert_allclose(gx[0, 0], np.full((2, 2), gy[0, 0, 0, 0] / 4), rtol=1e-6)
            assert np.isfinite(gx[0, 1]).all()
            assert np.isnan(y[0, 2]).all()
            assert np.isnan(gx[0, 2]).all()
