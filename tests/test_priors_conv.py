"""Convolution with a Gaussian prior: the formulas, both routes, its border, its width, and what it costs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import signal

from minidl import Tensor, nn, ops
from minidl.optim import SGD, parameter_groups
from minidl.priors import GaussianConv2d
from tests import priors_formulas as f

C, O, R = 4, 8, 2
SIGMA = np.array([0.6, 0.9, 1.3, 1.9])
PAIR = tuple[int, int]
GEOMETRIES = list(itertools.product((1, 2), (0, 1, 2), (1, 2), (1, 2, 4)))  # s, p, d, G: every combination
UNEVEN = [((2, 1), (0, 2), (1, 2), 2), ((1, 3), (2, 1), (2, 1), 4)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


X = rng(1).normal(size=(2, C, 9, 10))


def pair(value: Any) -> PAIR:
    return value if isinstance(value, tuple) else (value, value)


def made(s: Any, p: Any, d: Any, groups: int, **options: Any) -> Any:
    """A float64 layer with a 3×2 structural filter, a bias, and a σ a channel."""
    options = {"per": "channel", "radius": R, **options}
    layer = GaussianConv2d(C, O, (3, 2), s, p, d, groups, rng=rng(), **options)
    layer.astype(np.float64)
    sigma = SIGMA if options["per"] == "channel" else SIGMA[2:3]
    if layer.kernel == "sampled":
        layer.log_sigma.data = np.log(sigma)
    else:
        layer.variance.data = sigma**2
    return layer


def run(layer: Any, gy: np.ndarray | None = None) -> tuple[np.ndarray, f.Arrays]:
    """y, and the gradient of x and of every parameter."""
    x = Tensor(X, requires_grad=True)
    y = layer(x)
    y.backward(cotangent(y.data) if gy is None else gy)
    grads = {"x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}
    for parameter in layer.parameters():
        parameter.grad = None
    return y.data, grads


def cotangent(y: np.ndarray) -> np.ndarray:
    return rng(5).normal(size=y.shape)


def formulas(layer: Any, s: Any, p: Any, d: Any, groups: int) -> tuple[np.ndarray, f.Arrays]:
    """The layer by its composed kernel: one plain convolution with it, padding p + r."""
    structure = layer.weight.data
    if layer.kernel == "sampled":
        name, (k, dk) = "log_sigma", f.sampled(np.exp(layer.log_sigma.data), R)
    else:
        name, (k, dk) = "variance", f.discrete(layer.variance.data, R)
    shared = len(k) == 1
    reads = f.channels_of(O, C // groups, groups)
    k_of, dk_of = (np.broadcast_to(a, (C, 2 * R + 1))[reads] for a in (k, dk))  # (O,C/G,2r+1)
    w = f.composed(structure, k_of, pair(d))
    padding = (pair(p)[0] + R, pair(p)[1] + R)
    y, gx, gw = f.convolution(X, w, cotangent, pair(s), padding, (1, 1), groups)
    gs, gk = f.composed_backward(gw, structure, k_of, pair(d))
    by_channel = np.zeros(C)
    np.add.at(by_channel, reads, (gk * dk_of).sum(-1))
    gwidth = by_channel.sum(keepdims=True) if shared else by_channel
    gy = cotangent(y)
    return y + layer.bias.data[:, None, None], {"x": gx, "weight": gs, "bias": gy.sum((0, 2, 3)), name: gwidth}


@pytest.mark.parametrize("kernel", ["sampled", "discrete"])
@pytest.mark.parametrize(("s", "p", "d", "groups"), [*GEOMETRIES, *UNEVEN])
def test_both_routes_are_the_formulas(s: Any, p: Any, d: Any, groups: int, kernel: str) -> None:
    expected, expected_grads = formulas(made(s, p, d, groups, kernel=kernel), s, p, d, groups)
    for route in ("filter", "kernel"):
        y, grads = run(made(s, p, d, groups, kernel=kernel, route=route))
        assert f.apart(y, expected) < 1e-12
        assert grads.keys() == expected_grads.keys()
        for name, g in expected_grads.items():
            assert f.apart(grads[name], g) < 1e-12, f"{route}, {name}"


@pytest.mark.parametrize("kernel", ["sampled", "discrete"])
@pytest.mark.parametrize("route", ["filter", "kernel"])
def test_one_sigma_a_layer_sums_the_gradients_of_its_channels(kernel: str, route: str) -> None:
    shared = made(2, 1, 1, 2, kernel=kernel, route=route, per="layer")
    y, grads = run(shared)
    expected, expected_grads = formulas(shared, 2, 1, 1, 2)
    assert f.apart(y, expected) < 1e-12
    for name, g in expected_grads.items():
        assert f.apart(grads[name], g) < 1e-12, name
    each = made(2, 1, 1, 2, kernel=kernel, route=route)
    width = "log_sigma" if kernel == "sampled" else "variance"
    getattr(each, width).data = np.repeat(getattr(shared, width).data, C)
    assert run(each)[1][width].sum() == pytest.approx(grads[width].item(), rel=1e-12)


def test_gradients_of_the_width_by_central_differences() -> None:
    for kernel, name in (("sampled", "log_sigma"), ("discrete", "variance")):
        layer = made(2, 1, 2, 2, kernel=kernel)
        y, grads = run(layer)
        gy, width, h = cotangent(y), getattr(layer, name), 1e-5
        before, numeric = width.data, np.zeros(C)
        for c in range(C):
            losses = []
            for step in (h, -h):
                width.data = before + step * (np.arange(C) == c)
                losses.append(float((layer(Tensor(X)).data * gy).sum()))
            numeric[c] = (losses[0] - losses[1]) / (2 * h)
        assert f.apart(numeric, grads[name]) < 1e-8, kernel


def test_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    layer = made(2, 1, 1, 1)
    y, grads = run(layer)
    t = {n: torch.tensor(np.array(a), requires_grad=True) for n, a in {"x": X, **layer.state_dict()}.items()}
    u = torch.arange(-R, R + 1, dtype=torch.float64)
    k = torch.exp(-(u**2) / (2 * torch.exp(t["log_sigma"])[:, None] ** 2))
    k = k / k.sum(1, keepdim=True)
    blurred = F.conv2d(F.pad(t["x"], (R + 1,) * 4), (k[:, :, None] * k[:, None, :])[:, None], groups=C)
    theirs = F.conv2d(blurred, t["weight"], t["bias"], stride=2)
    (theirs * torch.tensor(cotangent(y))).sum().backward()
    assert f.apart(y, theirs.detach().numpy()) < 1e-12
    for name, g in grads.items():
        assert f.apart(g, t[name].grad.numpy()) < 1e-12, name


# The composed kernel


def test_the_composed_kernel_is_scipys_full_convolution() -> None:
    layer = made(1, 0, (2, 3), 2)
    spread = np.zeros((3 + 2, 2 + 2))
    for o, c in itertools.product(range(O), range(C // 2)):
        spread[::2, ::3] = layer.weight.data[o, c]
        k = f.sampled(SIGMA[[o // (O // 2) * (C // 2) + c]], R)[0][0]
        w = layer.composed_weight().data[o, c]
        np.testing.assert_allclose(w, signal.convolve2d(spread, np.outer(k, k)), rtol=1e-12, atol=1e-15)
    assert layer.composed_weight().shape[2:] == layer.composed_size == (9, 8)


def test_an_impulse_shows_the_composed_kernel() -> None:
    layer = made(1, 3, 1, 1, route="filter")
    impulse = np.zeros((1, C, 13, 13))
    impulse[0, 1, 6, 6] = 1
    answer = layer(Tensor(impulse)).data[0] - layer.bias.data[:, None, None]
    w, expected = layer.composed_weight().data[:, 1], np.zeros_like(answer)
    for u, v in np.ndindex(*layer.composed_size):  # y_ij = w_uv where i + u − (p + r) = 6
        expected[:, 6 + 3 + R - u, 6 + 3 + R - v] = w[:, u, v]
    np.testing.assert_allclose(answer, expected, atol=1e-15)


def test_cropping_changes_the_border_alone() -> None:
    exact, crop = made(1, 1, 1, 1, route="filter"), made(1, 1, 1, 1, border="crop")
    a, b = (layer(Tensor(X)).data for layer in (exact, crop))
    assert a.shape == b.shape
    assert abs(a - b)[:, :, 1:-1, 1:-1].max() < 1e-13
    assert abs(a - b).max() > 1e-2
    k, dk = f.sampled(SIGMA, R)
    same_size = ops.separable_filter(Tensor(X), k).data
    y, gx, gs = f.convolution(same_size, crop.weight.data, cotangent, p=(1, 1))
    found, grads = run(crop)
    assert f.apart(found, y + crop.bias.data[:, None, None]) < 1e-12
    assert f.apart(grads["weight"], gs) < 1e-12
    slopes = [float((gx * (_blur(dk, k) + _blur(k, dk)))[:, c].sum()) for c in range(C)]
    assert f.apart(grads["log_sigma"], slopes) < 1e-12


def _blur(vertical: np.ndarray, horizontal: np.ndarray) -> np.ndarray:
    return ops.separable_filter(Tensor(X), np.stack([vertical, horizontal])).data


@pytest.mark.parametrize("route", ["filter", "kernel"])
@pytest.mark.parametrize("size", [(3, 3), (4, 3), (2, 4)])
def test_padding_by_name_keeps_the_size(route: str, size: PAIR) -> None:
    same = GaussianConv2d(C, O, size, padding="same", radius=R, route=route, rng=rng())
    assert same(Tensor(X.astype(np.float32))).shape == (2, O, 9, 10)
    start = GaussianConv2d(C, O, size, padding="same", kernel="discrete", sigma0=0, radius=R, route=route, rng=rng())
    plain = ops.conv2d(X.astype(np.float32), start.weight, start.bias, padding="same").data
    np.testing.assert_allclose(start(Tensor(X.astype(np.float32))).data, plain, rtol=1e-5, atol=1e-6)
    valid = GaussianConv2d(C, O, size, padding="valid", radius=R, route=route, rng=rng())
    assert valid(Tensor(X.astype(np.float32))).shape == (2, O, 10 - size[0], 11 - size[1])
    with pytest.raises(ValueError, match=r"padding 'same' must have stride 1, got stride=\(2, 2\)"):
        GaussianConv2d(C, O, 3, 2, "same", route=route, rng=rng())(Tensor(X.astype(np.float32)))


# Width


@pytest.mark.parametrize("route", ["filter", "kernel"])
@pytest.mark.parametrize(("s", "p", "d", "groups"), [(1, 1, 1, 1), (2, 1, 1, 4), (1, 2, 2, 2)])
def test_at_sigma_zero_it_is_the_plain_convolution(route: str, s: int, p: int, d: int, groups: int) -> None:
    for options in ({"kernel": "discrete", "sigma0": 0}, {"sigma0": 0.02, "sigma_min": 0.01}):
        layer = GaussianConv2d(C, O, 3, s, p, d, groups, radius=R, route=route, rng=rng(), **options)
        layer.astype(np.float64)
        y, grads = run(layer)
        plain = ops.conv2d(X, layer.weight, layer.bias, stride=s, padding=p, dilation=d, groups=groups).data
        assert f.apart(y, plain) < 1e-15
        width = grads.get("variance", grads.get("log_sigma"))
        assert (abs(width).min() > 1e-3) == (layer.kernel == "discrete")  # the sampled kernel is dead there


def test_widths_are_put_back_into_their_range_and_learn_there() -> None:
    for kernel, name in (("sampled", "log_sigma"), ("discrete", "variance")):
        layer = made(1, 1, 1, 1, kernel=kernel, sigma_min=0.5, sigma_max=1.5)
        layer(Tensor(X))
        np.testing.assert_allclose(layer.sigma, np.clip(SIGMA, 0.5, 1.5), rtol=1e-12)
        getattr(layer, name).data = np.array([-9.0, 9.0, 9.0, -9.0])
        _, grads = run(layer)
        np.testing.assert_allclose(layer.sigma, [0.5, 1.5, 1.5, 0.5], rtol=1e-12)
        assert (grads[name] != 0).all()


def test_a_step_may_not_leave_the_range_for_good() -> None:
    layer = GaussianConv2d(C, O, 3, kernel="discrete", sigma0=0, rng=rng())
    optimizer = SGD([layer.variance], lr=1.0, momentum=0.0)
    layer.variance.grad = np.array([5.0], np.float32)
    optimizer.step()
    assert layer.variance.data[0] < 0
    assert layer.taps().data[0, layer.radius] == 1
    assert layer.sigma[0] == layer.variance.data[0] == 0


def test_second_moment_is_that_of_the_taps() -> None:
    u2 = np.arange(-R, R + 1.0) ** 2
    np.testing.assert_allclose(made(1, 1, 1, 1).second_moment(), f.sampled(SIGMA, R)[0] @ u2, rtol=1e-12)
    discrete: Any = GaussianConv2d(C, O, 3, kernel="discrete", sigma0=1.0, radius=18, rng=rng()).astype(np.float64)
    np.testing.assert_allclose(discrete.second_moment(), [1.0], rtol=1e-12)
    narrow = GaussianConv2d(C, O, 3, sigma0=0.3, rng=rng()).second_moment()
    assert narrow.item() == pytest.approx(0.0077, abs=5e-5)  # far from σ² = 0.09: the samples miss the peak's width


def test_widths_do_not_decay() -> None:
    for kernel, name in (("sampled", "log_sigma"), ("discrete", "variance")):
        decays, stays = parameter_groups(made(1, 1, 1, 1, kernel=kernel), 1e-4)
        assert [n for n, _ in decays.params] == ["weight"]
        assert [n for n, _ in stays.params] == ["bias", name]


# Routes and cost


def test_the_cheaper_route_is_taken() -> None:
    """The rule in closed form: the filter route iff O/G ≥ s²(2r + 1) / (2r(k + r)), for square kernels with d = 1."""
    for k, r, s, outputs in itertools.product((1, 3, 5), (1, 2, 4), (1, 2), (1, 2, 8)):
        layer = GaussianConv2d(2, 2 * outputs, k, s, groups=2, radius=r, rng=rng())
        limit = s * s * (2 * r + 1) / (2 * r * (k + r))
        assert layer.taken == ("filter" if outputs >= limit else "kernel"), (k, r, s, outputs)
    assert GaussianConv2d(4, 4, 3, 2, groups=4, radius=1, rng=rng()).taken == "kernel"
    assert GaussianConv2d(4, 4, 3, 2, groups=4, radius=1, border="crop", rng=rng()).taken == "filter"


def test_multiply_adds_of_both_routes() -> None:
    x, y = (2, C, 9, 10), (2, O, 5, 5)
    layer = GaussianConv2d(C, O, 3, 2, 1, groups=2, radius=R, route="kernel", rng=rng())
    assert layer.multiply_adds(x, y) == math.prod(y) * 2 * 7 * 7
    layer.route = "filter"
    assert layer.multiply_adds(x, y) == math.prod(y) * 2 * 9 + 2 * C * 5 * (9 * 12 + 11 * 12)
    crop = GaussianConv2d(C, O, 3, 2, 1, groups=2, radius=R, border="crop", rng=rng())
    assert crop.multiply_adds(x, y) == math.prod(y) * 2 * 9 + 2 * C * 5 * (9 * 10 + 9 * 10)
    same = GaussianConv2d(C, O, 4, padding="same", radius=R, rng=rng())
    assert same.multiply_adds(x, (2, O, 9, 10)) == 2 * O * 90 * C * 16 + 2 * C * 5 * (10 * 13 + 12 * 13)


# As a layer


def test_a_plain_convolutions_parameters_and_state_fit() -> None:
    conv: Any = nn.Conv2d(C, O, 3, 2, 1, groups=2, rng=rng()).astype(np.float64)
    layer = GaussianConv2d.from_conv(conv, kernel="discrete", sigma0=0)
    assert layer.weight is conv.weight
    assert layer.bias is conv.bias
    assert layer.variance.dtype == np.float64
    assert f.apart(layer(Tensor(X)).data, conv(Tensor(X)).data) < 1e-15
    other = GaussianConv2d(C, O, 3, 2, 1, groups=2, rng=rng(3))
    other.load_state_dict(conv.state_dict(), strict=False)
    np.testing.assert_array_equal(other.weight.data, conv.weight.data.astype(np.float32))
    assert "groups=2, radius=6, per=layer, kernel=sampled, route=filter" in repr(other)


def test_float32_stays() -> None:
    for kernel in ("sampled", "discrete"):
        for route in ("filter", "kernel"):
            layer = GaussianConv2d(C, O, 3, per="channel", kernel=kernel, route=route, dilation=2, rng=rng())
            x = Tensor(X.astype(np.float32), requires_grad=True)
            y = layer(x)
            y.backward(np.ones_like(y.data))
            assert y.dtype == x.grad.dtype == np.float32
            assert all(p.grad.dtype == np.float32 for p in layer.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per": "pixel"}, "GaussianConv2d: per must be one of 'layer', 'channel', got 'pixel'"),
        ({"kernel": "box"}, "kernel must be one of 'sampled', 'discrete', got 'box'"),
        ({"route": "fft"}, "route must be one of .*, got 'fft'"),
        ({"border": "wrap"}, "border must be one of 'exact', 'crop', got 'wrap'"),
        ({"border": "crop", "route": "kernel"}, "border must be 'exact' on the kernel route, got 'crop'"),
        ({"sigma0": 0.1}, "sigma0 must be a number from sigma_min=0.3 to sigma_max=2, got 0.1"),
        ({"sigma0": 3, "per": "channel"}, "sigma0 must be a number or 4 of them from sigma_min=0.3 .*, got 3"),
        ({"sigma0": [1.0, 1.0]}, r"sigma0 must be a number from .*, got \[1.0, 1.0\]"),
        ({"sigma0": math.nan}, "sigma0 must be a number from .*, got nan"),
        ({"sigma0": "wide"}, "sigma0 must be a number from .*, got 'wide'"),
        ({"sigma_min": 0}, "0 < sigma_min < sigma_max must hold, got 0 and 2"),
        ({"sigma_min": -1, "kernel": "discrete"}, "0 <= sigma_min < sigma_max must hold, got -1 and 2"),
        ({"sigma_max": math.inf}, "0 < sigma_min < sigma_max must hold, got 0.3 and inf"),
        ({"radius": 0}, "radius must be an integer >= 1, got 0"),
        ({"groups": 3}, "GaussianConv2d: groups must divide in_channels"),
    ],
)
def test_what_the_layer_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianConv2d(C, O, 3, rng=rng(), **options)
