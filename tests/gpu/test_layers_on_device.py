"""Every layer, plain or with a prior, computes on a GPU what it does on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from minidl import nn, priors
from minidl.autograd import Tensor
from minidl.device import CPU, Device
from minidl.nn import Module
from minidl.priors import sigmas
from tests.gpu.comparison import assert_layer_agrees, built, there

X = np.random.default_rng(8).normal(size=(3, 4, 6, 5))
ROWS = np.random.default_rng(9).normal(size=(3, 4))


def fixed(kind: Callable[..., Module], *args: Any, **options: Any) -> Callable[[np.random.Generator], Module]:
    """A layer that draws nothing."""
    return lambda rng: kind(*args, **options)


def drawn(kind: Callable[..., Module], *args: Any, **options: Any) -> Callable[[np.random.Generator], Module]:
    """A layer with values drawn from a generator."""
    return lambda rng: kind(*args, rng=rng, **options)


MAPS = {
    "conv2d": drawn(nn.Conv2d, 4, 6, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), groups=2),
    "conv2d, same": drawn(nn.Conv2d, 4, 4, (2, 3), padding="same"),
    "conv_transpose2d": drawn(nn.ConvTranspose2d, 4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    "batch_norm2d": fixed(nn.BatchNorm2d, 4),
    "batch_norm2d, no statistics": fixed(nn.BatchNorm2d, 4, track_running_stats=False),
    "group_norm": fixed(nn.GroupNorm, 2, 4),
    "layer_norm": fixed(nn.LayerNorm, (6, 5)),
    "max_pool2d": fixed(nn.MaxPool2d, 3, 2, 1),
    "avg_pool2d": fixed(nn.AvgPool2d, 3, 2, 1, ceil_mode=True),
    "adaptive_avg_pool2d": fixed(nn.AdaptiveAvgPool2d, (2, 3)),
    "dropout": drawn(nn.Dropout, 0.4),
    "flatten": fixed(nn.Flatten),
    **{kind.__name__: fixed(kind) for kind in (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.SiLU)},
    **{kind.__name__: fixed(kind) for kind in (nn.GELU, nn.Softplus)},
    **{
        f"GaussianConv2d, {kernel}, per {per}, {route}, {border}": drawn(
            priors.GaussianConv2d, 4, 6, 3, 2, 1, kernel=kernel, per=per, route=route, border=border, sigma_max=1.0
        )
        for kernel, per, route, border in (
            ("sampled", "layer", "filter", "exact"),
            ("sampled", "channel", "kernel", "exact"),
            ("discrete", "layer", "kernel", "exact"),
            ("discrete", "channel", "filter", "crop"),
        )
    },
    "GaussianConv2d, dilated": drawn(priors.GaussianConv2d, 4, 4, 3, padding="same", dilation=2, route="kernel"),
    **{
        f"BasisConv2d, {basis}, {route}": drawn(
            priors.BasisConv2d, 4, 6, 3, padding=1, basis=basis, order=2, route=route
        )
        for basis, route in (("gaussian", "filter"), ("dct", "composed"))
    },
    **{
        f"GaussianPool2d, {prior}, {parameters}, {noise}": drawn(
            priors.GaussianPool2d, 4, 2, 2, 1, prior=prior, parameters=parameters, noise=noise, inference=inference
        )
        for prior, parameters, noise, inference in (
            ("inverse_softplus", "adaptive", "channel", "median"),
            ("inverse_softplus", "learned", "position", "mean"),
            ("inverse_softplus", "fixed", "none", "median"),
            ("half_gaussian", "adaptive", "position", "mean"),
            ("half_gaussian", "learned", "none", "median"),
            ("half_gaussian", "fixed", "channel", "mean"),
        )
    },
    **{
        f"MaxEntPool2d, {parameters}": drawn(priors.MaxEntPool2d, 4, 2, parameters=parameters, activation=activation)
        for parameters, activation in (("adaptive", "sigmoid"), ("learned", "softplus"), ("fixed", "sigmoid"))
    },
}
VECTORS = {
    "linear": drawn(nn.Linear, 4, 3),
    "batch_norm1d": fixed(nn.BatchNorm1d, 4),
    "StatRotLinear": drawn(priors.StatRotLinear, 4, 3, bias=True, angle=math.pi / 5),
    "LogitAdjustment": fixed(priors.LogitAdjustment, [5, 0, 20, 1]),
}
LAYERS = [pytest.param(b, X, id=n) for n, b in MAPS.items()] + [pytest.param(b, ROWS, id=n) for n, b in VECTORS.items()]


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("build", "x"), LAYERS)
def test_a_layer_agrees_with_the_cpu(
    build: Callable[[np.random.Generator], Module], x: np.ndarray, train: bool, device: Device
) -> None:
    assert_layer_agrees(build, x, device, train=train)


def test_every_layer_is_here() -> None:
    """Whatever nn and priors offer, but for what holds other layers."""
    kinds = {type(build(np.random.default_rng(0))) for build in (*MAPS.values(), *VECTORS.values())}
    offered = {value for room in (nn, priors) for value in vars(room).values() if isinstance(value, type)}
    layers = {kind for kind in offered if issubclass(kind, Module)}
    containers = {Module, nn.Sequential, nn.ModuleList, nn.Identity, priors.GlobalGuidance}
    assert layers - containers <= kinds


def test_a_module_moves_there_and_back(device: Device) -> None:
    build = partial(nn.Conv2d, 4, 6, 3)
    module = build(rng=np.random.default_rng(0))
    before = module.state_dict()
    module.to(device)
    assert all(isinstance(p.data, device.xp.ndarray) for p in module.parameters())
    assert all(isinstance(a, np.ndarray) for a in module.state_dict().values())
    module.load_state_dict({name: 2 * a for name, a in before.items()})  # from the host onto the device
    np.testing.assert_array_equal(there(module.weight.data, device), 2 * before["weight"])
    module.to(CPU)
    assert all(isinstance(p.data, np.ndarray) for p in module.parameters())


@pytest.mark.parametrize("kernel", ["sampled", "discrete"])
def test_sigma_is_read_from_there(kernel: str, device: Device) -> None:
    build = drawn(priors.GaussianConv2d, 4, 6, 3, kernel=kernel, per="channel", sigma0=[0.4, 0.5, 0.6, 0.7])
    module = built(build, device, np.float32)
    np.testing.assert_allclose(module.sigma, [0.4, 0.5, 0.6, 0.7], rtol=1e-6)
    np.testing.assert_allclose(sigmas(module)[""], module.sigma)
    np.testing.assert_allclose(module.second_moment(), built(build, CPU, np.float32).second_moment(), rtol=1e-6)


def test_host_and_device_do_not_mix(device: Device) -> None:
    layer = nn.Linear(4, 3, rng=np.random.default_rng(0)).to(device)
    with pytest.raises(TypeError, match=r"^Linear: inputs must live on one device, got an array of NumPy among those"):
        layer(Tensor(ROWS.astype(np.float32)))
