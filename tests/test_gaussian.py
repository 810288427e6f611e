"""Gaussian filtering: against the formulas in another form, scipy and PyTorch, and what a Gaussian must do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, special

from minidl import Tensor, ops
from minidl.kernels import use_kernels
from minidl.kernels.cpu.threads import use_threads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 6, 7))
GY = RNG.normal(size=X.shape)
SCIPY_MODES = {"zero": "constant", "symmetric": "reflect", "mirror": "mirror", "edge": "nearest", "wrap": "wrap"}
BORDERS = [*SCIPY_MODES, "count_inside"]


def gradients(y: Tensor, gy: np.ndarray, *inputs: Tensor) -> list[np.ndarray]:
    y.backward(gy)
    return [x.grad for x in inputs]


def variable(value) -> Tensor:
    return Tensor(np.asarray(value, float), requires_grad=True)


def sampled(sigma: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """k and dk/dσ as the formulas have them: k_u (u² − m₂) / σ³."""
    u2 = np.arange(-radius, radius + 1.0) ** 2
    a = np.exp(-u2 / (2 * sigma[..., None] ** 2))
    k = a / a.sum(-1, keepdims=True)
    return k, k * (u2 - (k * u2).sum(-1, keepdims=True)) / sigma[..., None] ** 3


def discrete(t: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """k and dk/dt by the plain trapezoidal rule: T_n = (1/M) Σ exp(t (cos θ − 1)) cos nθ, good to 1e-16 absolute."""
    m = max(64, 4 * (radius + 1) + int(12 * np.sqrt(t.max())))
    theta = 2 * np.pi * np.arange(m) / m
    e, c = np.exp(t[..., None] * (np.cos(theta) - 1)), np.cos(theta) - 1
    basis = np.cos(np.outer(theta, np.arange(-radius, radius + 1))) / m
    law, slope = e @ basis, (e * c) @ basis
    total, total_slope = law.sum(-1, keepdims=True), slope.sum(-1, keepdims=True)
    return law / total, (slope - law / total * total_slope) / total


def tap_matrices(length: int, radius: int, border: str) -> np.ndarray:
    """P[u, i, j] = 1 where output i reads sample j through tap u, by numpy.pad of the sample numbers."""
    numbers = np.arange(length)
    mode = {"zero": "constant", "count_inside": "constant", "mirror": "reflect"}.get(border, border)
    fill = {"constant_values": -1} if mode == "constant" else {}
    padded = np.pad(numbers, radius, mode=mode, **fill)
    return np.array([padded[u : u + length, None] == numbers for u in range(2 * radius + 1)], float)


def blur(x, gy, k_h, k_w, border):
    """y, gx, gk_h, gk_w by einsum over one matrix per tap."""
    radius = k_h.shape[-1] // 2
    p_h, p_w = tap_matrices(x.shape[2], radius, border), tap_matrices(x.shape[3], radius, border)
    t_h, t_w = np.einsum("cu,uij->cij", k_h, p_h), np.einsum("cu,uij->cij", k_w, p_w)
    n_h, n_w = (t.sum(-1, keepdims=True) if border == "count_inside" else 1.0 for t in (t_h, t_w))
    t_h, t_w = t_h / n_h, t_w / n_w
    z = np.einsum("cjw,nchw->nchj", t_w, x)
    y = np.einsum("cih,nchj->ncij", t_h, z)
    q = np.einsum("cih,ncij->nchj", t_h, gy)
    gx = np.einsum("cjw,nchj->nchw", t_w, q)
    gt_h, gt_w = np.einsum("nciw,nchw->cih", gy, z), np.einsum("nchj,nchw->cjw", q, x)
    if border == "count_inside":
        gt_h = (gt_h - (gt_h * t_h).sum(-1, keepdims=True)) / n_h
        gt_w = (gt_w - (gt_w * t_w).sum(-1, keepdims=True)) / n_w
    return y, gx, np.einsum("cij,uij->cu", gt_h, p_h), np.einsum("cij,uij->cu", gt_w, p_w)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kernel", ["sampled", "discrete"])
@pytest.mark.parametrize("radius", [1, 4])
def test_equals_the_formulas_in_another_form(border: str, kernel: str, radius: int) -> None:
    sigma = np.array([[0.6, 1.1, 2.0], [0.9, 0.5, 1.4]])
    if kernel == "sampled":
        k, dk = sampled(sigma, radius)
    else:
        k, dk = discrete(sigma**2, radius)
        dk = 2 * sigma[..., None] * dk
    expected_y, expected_gx, gk_h, gk_w = blur(X, GY, *k, border)
    x, s = variable(X), variable(sigma)
    y = ops.gaussian_filter(x, s, radius=radius, border=border, kernel=kernel)
    gx, gsigma = gradients(y, GY, x, s)
    np.testing.assert_allclose(y.data, expected_y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gx, expected_gx, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gsigma, (np.array([gk_h, gk_w]) * dk).sum(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("border", SCIPY_MODES)
@pytest.mark.parametrize("sigma", [0.7, 1.3])
def test_equals_scipy(border: str, sigma: float) -> None:
    image = RNG.normal(size=(9, 11))
    radius = int(4 * sigma + 0.5)  # scipy's own rule
    y = ops.gaussian_filter(Tensor(image[None, None]), sigma, radius=radius, border=border)
    np.testing.assert_allclose(
        y.data[0, 0], ndimage.gaussian_filter(image, sigma, mode=SCIPY_MODES[border]), rtol=1e-13
    )
    y = ops.gaussian_filter(Tensor(image[None, None]), sigma, radius=2, border=border)
    np.testing.assert_allclose(
        y.data[0, 0], ndimage.gaussian_filter(image, sigma, radius=2, mode=SCIPY_MODES[border]), rtol=1e-13
    )


def test_equals_pytorch_with_its_own_gradients() -> None:
    torch = pytest.importorskip("torch")
    sigma = np.array([0.6, 1.1, 1.9])
    x_torch, s_torch = (torch.tensor(a, requires_grad=True) for a in (X, sigma))
    u = torch.arange(-3, 4, dtype=torch.float64)
    k = torch.exp(-(u**2) / (2 * s_torch[:, None] ** 2))
    k = k / k.sum(1, keepdim=True)
    z = torch.nn.functional.conv2d(x_torch, k[:, None, :, None], padding=(3, 0), groups=3)
    y_torch = torch.nn.functional.conv2d(z, k[:, None, None, :], padding=(0, 3), groups=3)
    y_torch.backward(torch.tensor(GY))
    x, s = variable(X), variable(sigma)
    y = ops.gaussian_filter(x, s, radius=3)
    gx, gsigma = gradients(y, GY, x, s)
    np.testing.assert_allclose(y.data, y_torch.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gx, x_torch.grad.numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gsigma, s_torch.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("form", ["reference", "array", "cpu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forms_of_the_kernels_agree(form: str, dtype: type) -> None:
    sigma = np.array([0.6, 1.1, 2.0])
    k, dk = sampled(sigma, 2)
    expected_y, expected_gx, gk_h, gk_w = blur(X, GY, k, k, "edge")
    x, s = Tensor(X.astype(dtype), requires_grad=True), Tensor(sigma.astype(dtype), requires_grad=True)
    with use_kernels(form):
        y = ops.gaussian_filter(x, s, radius=2, border="edge")
        gx, gsigma = gradients(y, GY.astype(dtype), x, s)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y.data, expected_y, rtol=0, atol=32 * eps)
    np.testing.assert_allclose(gx, expected_gx, rtol=0, atol=32 * eps)
    np.testing.assert_allclose(gsigma, ((gk_h + gk_w) * dk).sum(-1), rtol=0, atol=1000 * eps)  # 84 terms, each < 10


@pytest.mark.parametrize("border", BORDERS)
def test_which_borders_are_self_adjoint(border: str) -> None:
    """gx = blur(gy) for zero, symmetric and wrap; elsewhere it differs, in a ring along the border alone."""
    x = variable(RNG.normal(size=(1, 1, 12, 11)))
    gy = RNG.normal(size=x.shape)
    (gx,) = gradients(ops.gaussian_filter(x, 1.1, radius=3, border=border), gy, x)
    blurred = ops.gaussian_filter(Tensor(gy), 1.1, radius=3, border=border).data
    if border in ("zero", "symmetric", "wrap"):
        np.testing.assert_allclose(gx, blurred, rtol=1e-12, atol=1e-14)
    else:
        assert np.abs(gx - blurred).max() > 1e-2
        np.testing.assert_allclose(gx[..., 6:-6, 5:-5], blurred[..., 6:-6, 5:-5], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("border", BORDERS)
def test_a_constant_stays_constant_but_under_zero(border: str) -> None:
    x, sigma = Tensor(np.full((1, 2, 5, 6), 3.0)), variable([0.8, 1.9])
    y = ops.gaussian_filter(x, sigma, radius=4, border=border)
    if border == "zero":
        assert y.data[0, 1, 0, 0] < 1.5
        return
    np.testing.assert_allclose(y.data, 3.0, rtol=1e-14)
    (gsigma,) = gradients(y, np.random.default_rng(1).normal(size=y.shape), sigma)
    np.testing.assert_allclose(gsigma, 0.0, atol=1e-13)


@pytest.mark.parametrize("kind", ["sampled", "discrete"])
@pytest.mark.parametrize("sigma", [0.35, 0.8, 1.7, 5.0])
def test_the_kernel_keeps_its_sum(kind: str, sigma: float) -> None:
    """Σ k = 1 at every σ, so no change of σ changes Σ k, though Σ k₊ alone moves."""
    s = variable(sigma)
    k = ops.gaussian_kernel1d(s, radius=6, kind=kind)
    assert k.data.sum() == pytest.approx(1, abs=1e-15)
    (gsigma,) = gradients(k, np.ones(13), s)
    assert gsigma == pytest.approx(0, abs=1e-15)
    assert np.array_equal(k.data, k.data[::-1])


def test_a_tiny_sigma_is_the_identity_and_dead() -> None:
    for sigma in (0.02, 1e-30, 1e-300):
        s = variable(sigma)
        k = ops.gaussian_kernel1d(s, radius=4)
        np.testing.assert_array_equal(k.data, np.eye(9)[4])
        (gsigma,) = gradients(k, RNG.normal(size=9), s)
        assert gsigma == 0.0


def test_a_huge_sigma_is_the_mean() -> None:
    for kind in ("sampled", "discrete"):
        k = ops.gaussian_kernel1d(Tensor(np.array(3e3)), radius=4, kind=kind)
        np.testing.assert_allclose(k.data, 1 / 9, rtol=1e-5)


def test_variance_zero_is_the_exact_identity_with_a_live_gradient() -> None:
    t = variable(0.0)
    k = ops.gaussian_kernel1d(None, t, radius=3, kind="discrete")
    np.testing.assert_array_equal(k.data, [0, 0, 0, 1, 0, 0, 0])
    slopes = [
        gradients(ops.gaussian_kernel1d(None, t := variable(0.0), radius=3, kind="discrete"), row, t)[0]
        for row in np.eye(7)
    ]
    np.testing.assert_array_equal(slopes, [0, 0, 0.5, -1, 0.5, 0, 0])

    t = variable(np.zeros(3))
    y = ops.gaussian_filter(Tensor(X), None, t, radius=3, border="symmetric", kernel="discrete")
    np.testing.assert_array_equal(y.data, X)
    (gt,) = gradients(y, GY, t)
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="symmetric")
    laplacian = (
        padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1] + padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:] - 4 * X
    )
    np.testing.assert_allclose(gt, (GY * laplacian / 2).sum(axis=(0, 2, 3)), rtol=1e-12)  # the heat equation


@pytest.mark.parametrize("t", [1e-8, 1e-4, 0.1, 0.5, 2.0, 7.0, 144.0])
def test_the_discrete_kernel_is_the_bessel_function(t: float) -> None:
    law = special.ive(np.abs(np.arange(-8, 9)), t)
    k = ops.gaussian_kernel1d(None, Tensor(np.array(t)), radius=8, kind="discrete").data
    np.testing.assert_allclose(k, law / law.sum(), rtol=5e-14)  # in the tails too


def test_discrete_kernels_add_variances_and_sampled_ones_do_not() -> None:
    def kernel(t: float, kind: str) -> np.ndarray:
        return ops.gaussian_kernel1d(None, Tensor(np.array(t)), radius=24, kind=kind).data

    both = {kind: np.convolve(kernel(0.25, kind), kernel(0.36, kind))[24:-24] for kind in ("discrete", "sampled")}
    np.testing.assert_allclose(both["discrete"], kernel(0.61, "discrete"), atol=1e-15)
    assert np.abs(both["sampled"] - kernel(0.61, "sampled")).max() > 1e-3
    assert (kernel(2.5, "discrete") * np.arange(-24, 25) ** 2).sum() == pytest.approx(2.5, rel=1e-12)


def test_the_gradient_is_the_laplacian_of_gaussian() -> None:
    """∂(G x)/∂σ = σ (LoG x) for a support wide enough."""
    image, sigma = RNG.normal(size=(24, 24)), 2.0
    gy = RNG.normal(size=image.shape)
    s = variable(sigma)
    (gsigma,) = gradients(ops.gaussian_filter(Tensor(image[None, None]), s, radius=16), gy[None, None], s)
    log = sum(ndimage.gaussian_filter(image, sigma, order=o, mode="constant", radius=16) for o in ((2, 0), (0, 2)))
    assert gsigma == pytest.approx((gy * sigma * log).sum(), rel=1e-6)


def test_a_shared_sigma_has_the_sum_of_the_gradients() -> None:
    def gsigma(shape) -> np.ndarray:
        s = variable(np.full(shape, 1.2))
        return gradients(ops.gaussian_filter(Tensor(X), s, radius=3, border="mirror"), GY, s)[0]

    each = gsigma((2, 3))
    np.testing.assert_allclose(gsigma((3,)), each.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(gsigma((2, 1)), each.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(gsigma(()), each.sum(), rtol=1e-12)


def test_count_inside_ignores_the_scale_of_the_kernel() -> None:
    k = sampled(np.array(1.1), 3)[0]
    taps = [variable(scale * k) for scale in (1.0, 5.0)]
    ys = [ops.separable_filter(Tensor(X), t, border="count_inside") for t in taps]
    np.testing.assert_allclose(ys[1].data, ys[0].data, rtol=1e-13)
    for y, t in zip(ys, taps, strict=True):
        (gk,) = gradients(y, GY, t)
        assert (t.data * gk).sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("grow", [1, (2, 3), 9])
def test_growing_gives_what_reaches_beyond_the_map(grow) -> None:
    """The grown output is the same filter on a map with that many zeros around it."""
    (gh, gw) = (grow, grow) if isinstance(grow, int) else grow
    x, sigma = variable(X), variable(1.3)
    gy = np.random.default_rng(1).normal(size=(2, 3, 6 + 2 * gh, 7 + 2 * gw))
    y = ops.gaussian_filter(x, sigma, radius=4, grow=grow)
    gx, gsigma = gradients(y, gy, x, sigma)
    padded, sigma_too = variable(np.pad(X, ((0, 0), (0, 0), (gh, gh), (gw, gw)))), variable(1.3)
    expected = ops.gaussian_filter(padded, sigma_too, radius=4)
    gpadded, gsigma_too = gradients(expected, gy, padded, sigma_too)
    np.testing.assert_allclose(y.data, expected.data, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(gx, gpadded[:, :, gh:-gh, gw:-gw], rtol=1e-12, atol=1e-14)
    assert gsigma == pytest.approx(gsigma_too, rel=1e-12)


def test_sigma_and_variance_are_one_kernel() -> None:
    for kind in ("sampled", "discrete"):
        s, t = variable(1.3), variable(1.3**2)
        by_s, by_t = (ops.gaussian_kernel1d(*w, radius=4, kind=kind) for w in ((s,), (None, t)))
        np.testing.assert_allclose(by_s.data, by_t.data, rtol=1e-14)
        gk = RNG.normal(size=9)
        (gs,), (gt,) = gradients(by_s, gk, s), gradients(by_t, gk, t)
        assert gs == pytest.approx(2 * 1.3 * gt, rel=1e-12)


@pytest.mark.parametrize("start", [0.5, 3.0])
def test_sigma_is_found_from_either_side(start: float) -> None:
    x = Tensor(np.random.default_rng(2).normal(size=(1, 1, 16, 16)))
    target = ops.gaussian_filter(x, 1.5, radius=6, border="wrap").data
    sigma = variable(start)
    for _ in range(200):
        y = ops.gaussian_filter(x, sigma, radius=6, border="wrap")
        (gsigma,) = gradients(y, y.data - target, sigma)
        sigma.data, sigma.grad = sigma.data - 0.01 * gsigma, None
    assert sigma.item() == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("shape", [(8, 12, 40, 33), (64, 6, 31, 32)])  # with the width turned, and not
def test_threads_change_no_bit_and_large_maps_are_right(shape) -> None:
    rng = np.random.default_rng(0)
    x, gy = rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    sigma = rng.uniform(0.5, 2, shape[1]).astype(np.float32)
    results = []
    for threads in (1, 2, 4):
        x_tensor, s_tensor = Tensor(x, requires_grad=True), Tensor(sigma, requires_grad=True)
        with use_threads(threads):
            y = ops.gaussian_filter(x_tensor, s_tensor, radius=4, border="wrap")
            results.append([y.data, *gradients(y, gy, x_tensor, s_tensor)])
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
    k, dk = sampled(sigma.astype(float), 4)
    expected_y, expected_gx, gk_h, gk_w = blur(x.astype(float), gy.astype(float), k, k, "wrap")
    np.testing.assert_allclose(results[0][0], expected_y, rtol=0, atol=1e-5)
    np.testing.assert_allclose(results[0][1], expected_gx, rtol=0, atol=1e-5)
    np.testing.assert_allclose(results[0][2], ((gk_h + gk_w) * dk).sum(-1), rtol=1e-4, atol=1e-2)
