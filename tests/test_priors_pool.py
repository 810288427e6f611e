"""Pooling with a prior: every gradient against the formulas and PyTorch; the laws, their evaluation and their noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from minidl import Tensor, nn, ops
from minidl.priors import GaussianPool2d, GlobalGuidance, MaxEntPool2d
from tests import priors_formulas as f

WINDOWS = [(2, 2, 0), (3, 2, 1)]  # k, s, p
N, C = 5, 4


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


X = rng(1).normal(size=(N, C, 6, 7))


def float64(layer: nn.Module) -> Any:
    """The layer with every parameter a float64 of its own, none at a special value; norms near 1."""
    layer.astype(np.float64)
    draws = rng(2)
    for name, parameter in layer.named_parameters():
        noise = draws.normal(size=parameter.shape)
        parameter.data = 1 + 0.1 * noise if name.endswith("norm.weight") else parameter.data + 0.3 * noise
    return layer


def values(layer: nn.Module, prefix: str = "guidance.") -> f.Arrays:
    return {n.removeprefix(prefix): p.data for n, p in layer.named_parameters() if n.startswith(prefix)}


def gradients(layer: nn.Module, gy: np.ndarray, **options: Any) -> tuple[np.ndarray, f.Arrays]:
    """y, and the gradient of x and of every parameter by name."""
    x = Tensor(X, requires_grad=True)
    y = layer(x, **options)
    y.backward(gy)
    assert all(p.grad is not None for p in layer.parameters())
    return y.data, {"x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}


def compare(found: f.Arrays, expected: f.Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, g in expected.items():
        if name.endswith(("reduce.bias", "linear.bias")):  # feed a batch norm
            assert abs(found[name]).max() < 1e-12, name
        else:
            assert f.apart(found[name], g) < 1e-12, name


@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
@pytest.mark.parametrize("noise", ["channel", "position"])
@pytest.mark.parametrize("prior", ["inverse_softplus", "half_gaussian"])
def test_adaptive_gaussian_pooling_is_the_formulas(prior: str, noise: str, k: int, s: int, p: int) -> None:
    layer = float64(GaussianPool2d(C, k, s, p, prior=prior, noise=noise, rng=rng()))
    shape = f.output_shape(X, k, s, p)
    e, gy = rng(3).normal(size=(N, C, 1, 1) if noise == "channel" else shape), rng(4).normal(size=shape)
    heads = ["mu", "sigma"] if prior == "inverse_softplus" else ["sigma"]
    raw, kept = f.guidance(X, values(layer), heads)
    columns = [raw[name][..., None, None] for name in heads]
    eta, back = (f.inverse_softplus if prior == "inverse_softplus" else f.half_gaussian)(*columns, e)
    y, gx, geta = f.gaussian_pool(X, eta, gy, k, s, p)
    gcolumns = back(geta) if prior == "inverse_softplus" else [back(geta)]
    gheads = {name: g[..., 0, 0] for name, g in zip(heads, gcolumns, strict=True)}
    through_heads, grads = f.guidance_backward(gheads, values(layer), kept)
    found, all_found = gradients(layer, gy, noise=e)
    assert f.apart(found, y) < 1e-12
    compare(all_found, {"x": gx + through_heads, **{f"guidance.{n}": g for n, g in grads.items()}})
    assert f.apart(gx, gx + through_heads) > 1e-4  # both paths are there


@pytest.mark.parametrize("shape", [(N, C, 1, 1), (N, C, 3, 3)])
@pytest.mark.parametrize("prior", ["inverse_softplus", "half_gaussian"])
def test_learned_gaussian_pooling_is_the_formulas(prior: str, shape: tuple[int, ...]) -> None:
    layer = float64(GaussianPool2d(C, 2, prior=prior, parameters="learned", sigma0=0.4, rng=rng()))
    e, gy = rng(3).normal(size=shape), rng(4).normal(size=(N, C, 3, 3))
    expected: f.Arrays = {}
    if prior == "inverse_softplus":
        eta, back = f.inverse_softplus(layer.mu0.data, layer.sigma0_raw.data, e)
        y, expected["x"], geta = f.gaussian_pool(X, eta, gy, 2, 2, 0)
        expected["mu0"], expected["sigma0_raw"] = back(geta)
    else:
        eta, back_half = f.half_gaussian(layer.sigma0_raw.data, e)
        y, expected["x"], geta = f.gaussian_pool(X, eta, gy, 2, 2, 0)
        expected["sigma0_raw"] = back_half(geta)
    found, grads = gradients(layer, gy, noise=e)
    assert f.apart(found, y) < 1e-12
    compare(grads, expected)


@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_adaptive_maxent_pooling_is_the_formulas(activation: str, k: int, s: int, p: int) -> None:
    layer = float64(MaxEntPool2d(C, k, s, p, activation=activation, rng=rng()))
    gy, squash = rng(4).normal(size=f.output_shape(X, k, s, p)), getattr(f, activation)
    raw, kept = f.guidance(X, values(layer), ["lam"])
    a = raw["lam"][..., None, None]
    y, gx, glam = f.maxent_pool(X, squash(a), gy, k, s, p)
    through_heads, grads = f.guidance_backward({"lam": (glam * f.slope(squash, a))[..., 0, 0]}, values(layer), kept)
    found, all_found = gradients(layer, gy)
    assert f.apart(found, y) < 1e-12
    compare(all_found, {"x": gx + through_heads, **{f"guidance.{n}": g for n, g in grads.items()}})


@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_learned_maxent_pooling_is_the_formulas(activation: str) -> None:
    layer = float64(MaxEntPool2d(C, 2, parameters="learned", activation=activation, lam=0.3, rng=rng()))
    gy, squash, raw = rng(4).normal(size=(N, C, 3, 3)), getattr(f, activation), layer.lam_raw.data
    y, gx, glam = f.maxent_pool(X, squash(raw), gy, 2, 2, 0)
    found, grads = gradients(layer, gy)
    assert f.apart(found, y) < 1e-12
    compare(grads, {"x": gx, "lam_raw": glam * f.slope(squash, raw)})


def test_gradients_of_the_whole_layer_by_central_differences() -> None:
    """Nothing but forward: no formula of a gradient is trusted."""
    layer = float64(GaussianPool2d(C, 3, 2, 1, rng=rng()))
    e, gy, h = rng(3).normal(size=(N, C, 1, 1)), rng(4).normal(size=f.output_shape(X, 3, 2, 1)), 1e-5
    _, grads = gradients(layer, gy, noise=e)
    for name, parameter in layer.named_parameters():
        before, numeric = parameter.data, np.zeros(parameter.shape)
        for index in np.ndindex(*parameter.shape):
            losses = []
            for step in (h, -h):
                changed = before.copy()
                changed[index] += step
                parameter.data = changed
                losses.append(float((layer(Tensor(X), noise=e).data * gy).sum()))
            numeric[index] = (losses[0] - losses[1]) / (2 * h)
        parameter.data = before
        assert np.linalg.norm(numeric - grads[name]) < 1e-6 * (1 + np.linalg.norm(grads[name])), name


def test_adaptive_gaussian_pooling_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    layer = float64(GaussianPool2d(C, 3, 2, 1, rng=rng()))
    e, gy = rng(3).normal(size=(N, C, 1, 1)), rng(4).normal(size=f.output_shape(X, 3, 2, 1))
    found, grads = gradients(layer, gy, noise=e)
    t = {n: torch.tensor(np.array(a), requires_grad=True) for n, a in {"x": X, **values(layer)}.items()}
    F = torch.nn.functional

    def head(h, name):
        linear = F.linear(h, t[f"{name}linear.weight"], t[f"{name}linear.bias"])
        return F.batch_norm(linear, None, None, t[f"{name}norm.weight"], t[f"{name}norm.bias"], True)

    reduced = F.linear(t["x"].mean((2, 3)), t["reduce.weight"], t["reduce.bias"])
    h = F.relu(F.batch_norm(reduced, None, None, t["norm.weight"], t["norm.bias"], True))
    a = head(h, "mu.")[..., None, None] + torch.sigmoid(head(h, "sigma."))[..., None, None] * torch.tensor(e)
    mean, square = (F.avg_pool2d(z, 3, 2, 1, count_include_pad=False) for z in (t["x"], t["x"] ** 2))
    y = mean + F.softplus(a) * torch.sqrt(torch.clamp(square - mean**2, min=1e-6))
    (y * torch.tensor(gy)).sum().backward()
    assert f.apart(found, y.detach().numpy()) < 1e-12
    compare(grads, {n if n == "x" else f"guidance.{n}": tensor.grad.numpy() for n, tensor in t.items()})


# Evaluation


def moments(layer: GaussianPool2d) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each window: η = 0 and 1."""
    zero, one = (ops.gaussian_pool2d(X, eta, layer.kernel_size).data for eta in (0.0, 1.0))
    return zero, one - zero


@pytest.mark.parametrize(
    ("prior", "inference", "law", "eta"),
    [
        ("inverse_softplus", None, {"mu0": 0.5, "sigma0": 0.75}, math.log1p(math.exp(0.5))),
        ("inverse_softplus", "median", {"mu0": -2.0, "sigma0": 0.75}, math.log1p(math.exp(-2))),
        ("half_gaussian", None, {"sigma0": 1.5}, 1.5 * math.sqrt(2 / math.pi)),
        ("half_gaussian", "mean", {"sigma0": 1.5}, 1.5 * math.sqrt(2 / math.pi)),
        ("half_gaussian", "median", {"sigma0": 1.5}, 1.5 * 0.67448975019608),
    ],
)
def test_evaluation_takes_the_typical_eta(prior: str, inference: str | None, law: dict[str, float], eta: float) -> None:
    layer = GaussianPool2d(C, 2, prior=prior, parameters="fixed", inference=inference, rng=rng(), **law)
    layer.astype(np.float64).eval()
    mean, deviation = moments(layer)
    np.testing.assert_allclose(layer(Tensor(X)).data, mean + eta * deviation, rtol=1e-12)


@pytest.mark.parametrize(("mu0", "sigma0"), [(0.0, 0.5), (-2.0, 0.875), (1.5, 0.9375), (4.0, 1.0), (-4.0, 1.0)])
def test_the_mean_of_the_inverse_softplus_gaussian_is_its_integral(mu0: float, sigma0: float) -> None:
    layer = GaussianPool2d(1, 2, parameters="fixed", mu0=mu0, sigma0=sigma0, inference="mean", rng=rng())
    layer.astype(np.float64).eval()
    integral = integrate.quad(
        lambda z: float(f.softplus(mu0 + sigma0 * z)) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
        -12,
        12,
        epsabs=1e-14,
        epsrel=1e-13,
        limit=200,
    )[0]
    eta = layer.eta(Tensor(X[:, :1])).item()
    assert abs(eta - integral) < 4e-12
    assert 0 <= eta - f.softplus(mu0) <= sigma0**2 / 8  # Jensen


@pytest.mark.parametrize("prior", ["inverse_softplus", "half_gaussian"])
@pytest.mark.parametrize("noise", ["channel", "position"])
def test_training_outputs_average_to_the_evaluation_by_means(prior: str, noise: str) -> None:
    """Within five standard errors of the mean of 4,000 draws."""
    layer = GaussianPool2d(C, 2, prior=prior, parameters="learned", noise=noise, inference="mean", rng=rng())
    float64(layer)
    x = Tensor(np.repeat(X[:1], 4000, axis=0))
    drawn, expected = layer(x).data, layer.eval()(Tensor(X[:1])).data[0]
    assert (abs(drawn.mean(0) - expected) < 5 * drawn.std(0) / math.sqrt(4000)).all()
    each = drawn[:, 0].reshape(4000, -1)
    mean, deviation = (m[0, 0].ravel() for m in moments(layer))
    eta = (each - mean) / deviation
    assert (abs(np.ptp(eta, axis=1)).max() < 1e-9) == (noise == "channel")  # one η a map, or one a window


def test_evaluation_leaves_the_sigma_head_and_the_generator_alone() -> None:
    layer = GaussianPool2d(C, 2, rng=rng()).eval()
    before = layer.draws.bit_generator.state
    y = layer(Tensor(X.astype(np.float32)))
    y.backward(np.ones_like(y.data))
    assert layer.guidance.sigma.linear.weight.grad is None
    assert layer.guidance.mu.linear.weight.grad is not None
    assert layer.draws.bit_generator.state == before


def test_the_mean_is_differentiable_for_every_parameter() -> None:
    layer = float64(GaussianPool2d(C, 2, parameters="learned", inference="mean", rng=rng())).eval()
    gy = rng(4).normal(size=(N, C, 3, 3))
    _, grads = gradients(layer, gy)
    raw, h = layer.sigma0_raw.data, 1e-6
    for channel in range(C):
        losses = []
        for step in (h, -h):
            layer.sigma0_raw.data = raw + step * (np.arange(C) == channel)[:, None, None]
            losses.append(float((layer(Tensor(X)).data * gy).sum()))
        assert grads["sigma0_raw"][0, channel, 0, 0] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6)


def test_without_noise_there_is_no_sigma_head_and_training_is_evaluation() -> None:
    layer = GaussianPool2d(C, 2, noise="none", rng=rng())
    assert {n.split(".")[1] for n, _ in layer.named_parameters()} == {"reduce", "norm", "mu"}
    learned = GaussianPool2d(C, 2, noise="none", parameters="learned", rng=rng())
    assert [n for n, _ in learned.named_parameters()] == ["mu0"]
    x = Tensor(X.astype(np.float32))
    np.testing.assert_array_equal(learned(x).data, learned.eval()(x).data)
    half = GaussianPool2d(C, 2, prior="half_gaussian", noise="none", parameters="learned", rng=rng())
    y = half(x)
    np.testing.assert_array_equal(y.data, half.eval()(x).data)
    y.backward(np.ones_like(y.data))
    assert (half.sigma0_raw.grad != 0).all()
    with pytest.raises(ValueError, match="noise must be None, as the layer was made with noise='none'"):
        layer(x, noise=np.zeros((N, C, 1, 1)))


# Noise and guidance


def test_noise_is_the_layers_own_and_the_same_in_every_precision() -> None:
    single, double, again = (GaussianPool2d(C, 2, parameters="learned", rng=rng(7)) for _ in range(3))
    double.astype(np.float64)
    for _ in range(2):
        a, b = single(Tensor(X.astype(np.float32))).data, double(Tensor(X)).data
        assert a.dtype == np.float32
        assert b.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    e = again.draws.standard_normal((N, C, 1, 1)).astype(np.float32)
    first = GaussianPool2d(C, 2, parameters="learned", rng=rng(7))
    x = Tensor(X.astype(np.float32))
    np.testing.assert_array_equal(first(x).data, single(x, noise=e).data)
    assert [n for n, _ in nn.Sequential(first, single).named_generators()] == ["0.draws", "1.draws"]


def test_guidance_of_a_batch_of_one_uses_the_running_statistics() -> None:
    guidance = GlobalGuidance(C, ["mu"], rng=rng())
    guidance.astype(np.float64)
    before = guidance.state_dict()
    one = Tensor(X[:1], requires_grad=True)
    (trained,) = guidance(one)
    trained.backward(rng(3).normal(size=trained.shape))
    assert abs(one.grad).max() > 0
    for name, array in guidance.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(guidance.eval()(one)[0].data, trained.data)
    guidance.train()(Tensor(X))
    changed = {n for n, a in guidance.state_dict().items() if (a != before[n]).any()}
    assert changed == {f"{n}.running_{s}" for n in ("norm", "mu.norm") for s in ("mean", "var")}


def test_guidance_starts_as_the_authors_networks_do() -> None:
    guidance = GlobalGuidance(64, ["mu", "sigma"], rng=rng())
    assert guidance.hidden == 32
    assert guidance.reduce.weight.data.std() == pytest.approx(math.sqrt(2 / 32), rel=0.05)
    assert guidance.mu.linear.weight.data.std() == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    assert sum(p.size for p in guidance.parameters()) == 3 * 64 * 32 + 32 + 2 * 64 + 2 * (32 + 2 * 64)
    assert GlobalGuidance(1, ["mu"], rng=rng()).hidden == 1


def test_layers_go_through_float32_and_train() -> None:
    for layer in (GaussianPool2d(C, 3, 2, 1, noise="position", rng=rng()), MaxEntPool2d(C, 3, 2, 1, rng=rng())):
        x = Tensor(X.astype(np.float32), requires_grad=True)
        y = layer(x)
        y.backward(np.ones_like(y.data))
        assert y.dtype == x.grad.dtype == np.float32
        assert all(p.grad.dtype == np.float32 for p in layer.parameters())
        assert "kernel_size=3, stride=2, padding=1" in repr(layer)


def test_hyper_parameters_do_not_decay() -> None:
    from minidl.optim import parameter_groups

    layers = nn.Sequential(
        GaussianPool2d(C, 2, parameters="learned", rng=rng()),
        MaxEntPool2d(C, 2, parameters="learned", rng=rng()),
        GaussianPool2d(C, 2, rng=rng()),
    )
    decays, stays = parameter_groups(layers, 1e-4)
    assert {"0.mu0", "0.sigma0_raw", "1.lam_raw"} <= {n for n, _ in stays.params}
    assert [n for n, _ in decays.params] == [f"2.guidance.{n}.weight" for n in ("reduce", "mu.linear", "sigma.linear")]


def test_fixed_parameters_are_saved_but_not_trained() -> None:
    layer = GaussianPool2d(2, 2, parameters="fixed", mu0=[0.5, 1.0], sigma0=0.25, rng=rng())
    assert not list(layer.parameters())
    assert {n: a.ravel().tolist() for n, a in layer.state_dict().items()} == {"mu0": [0.5, 1.0], "sigma0": [0.25, 0.25]}
    fixed = MaxEntPool2d(2, 2, parameters="fixed", activation="softplus", rng=rng())
    np.testing.assert_allclose(fixed.lam.data.ravel(), math.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianPool2d(0, 2, rng=rng()), "GaussianPool2d: channels must be an integer >= 1, got 0"),
        (lambda: GaussianPool2d(2, 2, prior="gauss", rng=rng()), "prior must be one of 'inverse_softplus', .*'gauss'"),
        (lambda: GaussianPool2d(2, 2, parameters="free", rng=rng()), "parameters must be one of .*, got 'free'"),
        (lambda: GaussianPool2d(2, 2, noise="pixel", rng=rng()), "noise must be one of .*, got 'pixel'"),
        (lambda: GaussianPool2d(2, 2, inference="mode", rng=rng()), "inference must be one of .*, got 'mode'"),
        (lambda: GaussianPool2d(2, 2, mu0=1.0, rng=rng()), "mu0 must be None where parameters='adaptive'"),
        (
            lambda: GaussianPool2d(2, 2, prior="half_gaussian", parameters="fixed", mu0=1.0, rng=rng()),
            "prior='half_gaussian' with noise='channel' has no mu0",
        ),
        (
            lambda: GaussianPool2d(2, 2, noise="none", parameters="fixed", sigma0=1.0, rng=rng()),
            "prior='inverse_softplus' with noise='none' has no sigma0",
        ),
        (
            lambda: GaussianPool2d(2, 2, parameters="learned", sigma0=1.0, rng=rng()),
            "sigma0 must be > 0 and < 1, got 1.0",
        ),
        (
            lambda: GaussianPool2d(2, 2, parameters="learned", prior="half_gaussian", sigma0=0.0, rng=rng()),
            "sigma0 must be > 0, got 0.0",
        ),
        (lambda: GaussianPool2d(2, 2, parameters="fixed", sigma0=-1, rng=rng()), "sigma0 must be >= 0, got -1"),
        (
            lambda: GaussianPool2d(2, 2, parameters="fixed", sigma0=[1, 2, 3], rng=rng()),
            r"sigma0 must be a finite number or 2 of them, got \[1, 2, 3\]",
        ),
        (
            lambda: GaussianPool2d(2, 2, parameters="fixed", mu0=math.nan, rng=rng()),
            "mu0 must be a finite number .*nan",
        ),
        (lambda: GaussianPool2d(2, 2, hidden=0, rng=rng()), "hidden must be an integer >= 1, got 0"),
        (lambda: MaxEntPool2d(2, 2, lam=1.0, rng=rng()), "lam must be None where parameters='adaptive'"),
        (lambda: MaxEntPool2d(2, 2, activation="relu", rng=rng()), "activation must be one of .*, got 'relu'"),
        (lambda: MaxEntPool2d(2, 2, parameters="learned", lam=1.5, rng=rng()), "lam must be > 0 and < 1, got 1.5"),
        (lambda: MaxEntPool2d(2, 2, parameters="none", rng=rng()), "MaxEntPool2d: parameters must be one of"),
    ],
)
def test_what_the_layers_refuse(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
