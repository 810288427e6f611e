"""Conversion: where priors go in every model, what is kept, what it costs, and that everything still runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl import Tensor, nn, ops
from minidl.models import create_model, mobilenet, model_info, model_names
from minidl.priors import (
    BasisConv2d,
    GaussianConv2d,
    GaussianPool2d,
    MaxEntPool2d,
    StatRotLinear,
    convert,
    sigma_parameters,
    sigmas,
)
from minidl.priors.placement import places

IDENTITY = {"kernel": "discrete", "sigma0": 0}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(name: str, num_classes: int = 5, **options: Any) -> Any:
    options |= {"hidden": 16} if "hidden" in model_info(name).options else {}
    return create_model(name, num_classes=num_classes, rng=rng(), **options)


X = rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("name", model_names())
def test_every_model_runs_forward_and_backward_with_all_priors(name: str) -> None:
    model = made(name)
    done = convert(model, pool="gaussian", conv="gaussian", classifier="statrot", rng=rng())
    kinds = {type(module) for _, module in model.named_modules()}
    assert {GaussianPool2d, GaussianConv2d, StatRotLinear} <= kinds
    assert nn.MaxPool2d not in kinds
    assert not done.left
    for _, module in model.named_modules():
        if type(module) is nn.Conv2d:
            assert module.kernel_size == (1, 1)
        assert getattr(module, "stride", (1, 1)) == (1, 1) or isinstance(module, GaussianPool2d)
    x = Tensor(X, requires_grad=True)
    logits = model(x)
    assert logits.shape == (2, 5)
    ops.cross_entropy(logits, np.array([4, 0])).backward()
    for key, parameter in [("x", x), *model.named_parameters()]:
        assert parameter.grad is not None, key
        assert np.isfinite(parameter.grad).all(), key
    assert len(sigmas(model)) == len(sigma_parameters(model)) > 0
    assert all(parameter.grad.any() for parameter in sigma_parameters(model).values())


# Cost


@pytest.mark.parametrize(
    ("name", "mega", "giga"),
    [  # parameters in M and multiply-adds in G of the strided network and of the authors' layout, at 224×224
        ("resnet34", (21.80, 22.33), (3.66, 5.64)),
        ("resnet50", (25.56, 33.85), (4.09, 6.88)),
        ("resnext50_32x4d", (25.03, 33.33), (4.23, 6.57)),
    ],
)
def test_the_authors_networks_cost_what_theirs_do(name: str, mega: tuple[float, ...], giga: tuple[float, ...]) -> None:
    with nn.init.skip():
        model = create_model(name, num_classes=1000, rng=rng())
        done = convert(model, pool="gaussian", input_shape=(3, 224, 224), rng=rng())
    assert [round(n / 1e6, 2) for n in done.parameters] == list(mega)
    assert done.multiply_adds is not None
    assert [round(n / 1e9, 2) for n in done.multiply_adds] == list(giga)
    assert sum(p.size for p in model.parameters()) == done.parameters[1]


def test_controls_have_the_layout_of_gaussian_pooling() -> None:
    costs = {}
    for pool in ("gaussian", "maxent", "average", "max", "skip"):
        model = made("resnet8")
        costs[pool] = convert(model, pool=pool, input_shape=(3, 32, 32), rng=rng())
    heads = {pool: sum(done.multiply_adds or ()) for pool, done in costs.items()}
    assert heads["average"] == heads["max"] > 1.2 * heads["skip"]
    assert heads["gaussian"] - heads["average"] < 5e-4 * heads["average"]
    assert costs["average"].parameters[0] == costs["average"].parameters[1]
    assert costs["skip"].changes == ()
    assert costs["skip"].multiply_adds == (costs["skip"].multiply_adds or (0,))[:1] * 2
    paths = {pool: [c.path for c in done.changes] for pool, done in costs.items() if pool != "skip"}
    assert all(found == paths["gaussian"] for found in paths.values())


@pytest.mark.parametrize("name", ["resnet10", "densenet121", "mobilenet_v2"])
def test_an_average_of_fixed_eta_zero_is_the_average_control(name: str) -> None:
    """The same network by Gaussian pooling with η = 0 (the half-Gaussian with σ₀ = 0)."""
    models = made(name), made(name)
    convert(models[0], pool="average", rng=rng())
    zero = {"prior": "half_gaussian", "parameters": "fixed", "sigma0": 0.0}
    convert(models[1], pool="gaussian", rng=rng(), pool_options=zero)
    a, b = (model.eval()(Tensor(X)).data for model in models)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(a).max())


# Where


def at(name: str) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {p.path: (p.channels, p.unstrided) for p in places(made(name))}


def test_places_in_resnets() -> None:
    assert at("resnet50") == {
        "maxpool": (64, ("conv1",)),
        "layer2.0.pool": (512, ("layer2.0.conv2", "layer2.0.downsample.0")),
        "layer3.0.pool": (1024, ("layer3.0.conv2", "layer3.0.downsample.0")),
        "layer4.0.pool": (2048, ("layer4.0.conv2", "layer4.0.downsample.0")),
    }
    assert at("resnet20") == {
        "layer2.0.pool": (32, ("layer2.0.conv1", "layer2.0.downsample")),
        "layer3.0.pool": (64, ("layer3.0.conv1", "layer3.0.downsample")),
    }


def test_places_in_the_other_families() -> None:
    assert at("vgg16_bn") == {f"features.{i}": (c, ()) for i, c in {6: 64, 13: 128, 23: 256, 33: 512, 43: 512}.items()}
    assert at("densenet121") == {
        "features.pool0": (64, ("features.conv0",)),
        **{f"features.transition{i}.pool": (c, ()) for i, c in {1: 128, 2: 256, 3: 512}.items()},
    }
    strided = [i for i, (_, s) in enumerate([(0, 2), *mobilenet.V1]) if s == 2]
    assert list(at("mobilenet_v1")) == [f"features.{i}.2" if i == 0 else f"features.{i}.0.2" for i in strided]
    assert len(at("mobilenet_v2")) == 5


def test_pools_stand_where_they_should() -> None:
    model = made("resnet18")
    convert(model, pool="gaussian", rng=rng())
    first, second = model.maxpool
    assert (first.kernel_size, first.stride, first.padding) == (2, 2, 0)
    assert (second.kernel_size, second.stride, second.padding) == (3, 2, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for path in ("relu", "maxpool", "layer2.0.relu2", "layer2.0", "layer4"):
        model.get_submodule(path).register_forward_hook(lambda m, x, y, path=path: shapes.update({path: y.shape[2:]}))
    model.eval()(Tensor(np.zeros((1, 3, 64, 64), np.float32)))
    expected = {"relu": 64, "maxpool": 16, "layer2.0.relu2": 16, "layer2.0": 8, "layer4": 2}
    assert shapes == {path: (n, n) for path, n in expected.items()}
    dense = made("densenet121")
    convert(dense, pool="maxent", rng=rng())
    assert [type(m) for m in dense.features.transition1.pool] == [nn.BatchNorm2d, nn.ReLU, MaxEntPool2d]
    mobile = made("mobilenet_v2")
    convert(mobile, pool="gaussian", rng=rng())
    assert [type(m) for m in getattr(mobile.features[0], "2")] == [nn.ReLU6, GaussianPool2d]


class Own(nn.Module):
    """A model of no known family: one strided convolution, one pool, and one layer used twice."""

    def __init__(self) -> None:
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1, rng=rng())
        self.again = nn.Conv2d(6, 6, 3, padding=1, rng=rng())
        self.also = self.again
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.unused = nn.AvgPool2d(2)
        self.head = nn.Linear(6, 4, rng=rng())

    def forward(self, x: Tensor) -> Tensor:
        x = self.also(ops.relu(self.again(ops.relu(self.stem(x)))))
        return self.head(ops.mean(self.pool(x), axis=(2, 3)))


def test_models_of_other_families() -> None:
    model = Own()
    done = convert(model, pool="gaussian", conv="gaussian", classifier="statrot", input_shape=(3, 16, 16), rng=rng())
    assert done.left == ("stem",)
    assert "stem  keeps its stride" in str(done)
    assert model.again is model.also
    assert isinstance(model.again, GaussianConv2d)
    assert isinstance(model.pool, GaussianPool2d)
    assert (model.pool.channels, model.pool.kernel_size, model.pool.stride, model.pool.padding) == (6, 3, 2, 1)
    assert isinstance(model.unused, nn.AvgPool2d)  # is never reached
    assert model(Tensor(X)).shape == (2, 4)
    with pytest.raises(ValueError, match="input_shape must be given to find the channels at each pool of Own"):
        convert(Own(), pool="gaussian", rng=rng())


# What is kept


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "vgg16", "mobilenet_v1"])
def test_a_gaussian_of_width_zero_leaves_the_logits(name: str) -> None:
    model = made(name).astype(np.float64).eval()
    x = Tensor(X.astype(np.float64))
    before, state = model(x).data, model.state_dict()
    done = convert(model, conv="gaussian", rng=rng(), conv_options={**IDENTITY, "per": "channel"})
    after = model(x).data
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-13 * abs(before).max())
    assert not model.training
    assert all((model.state_dict()[key] == array).all() for key, array in state.items())
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert done.parameters[1] - done.parameters[0] == sum(p.size for p in sigma_parameters(model).values())


@pytest.mark.parametrize("border", ["exact", "crop"])
def test_width_zero_in_float32_and_training_mode(border: str) -> None:
    plain, prior = made("resnet8"), made("resnet8")
    convert(prior, conv="gaussian", rng=rng(), conv_options={**IDENTITY, "border": border})
    a, b = (model(Tensor(X)).data for model in (plain, prior))
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_a_complete_basis_and_the_rotation_leave_the_logits() -> None:
    model = made("resnet8").astype(np.float64).eval()
    x = Tensor(X.astype(np.float64))
    before = model(x).data
    done = convert(model, conv="basis", classifier="statrot", rng=rng(), classifier_options={"angle": 0.5})
    np.testing.assert_allclose(model(x).data, before, rtol=0, atol=1e-13 * abs(before).max())
    assert model.fc.angle == 0.5
    assert done.parameters[0] == done.parameters[1]
    assert [(c.before, c.after) for c in done.changes][-1] == ("Linear", "StatRotLinear")
    fewer = made("resnet8")
    smaller = convert(fewer, conv="basis", rng=rng(), conv_options={"order": 2}, input_shape=(3, 32, 32))
    assert smaller.parameters[1] < 0.7 * smaller.parameters[0]
    assert isinstance(fewer.layer1[0].conv1, BasisConv2d)


def test_optimizers_made_before_go_on() -> None:
    from minidl.optim import SGD

    model = made("resnet8")
    optimizer = SGD(list(model.named_parameters()), lr=0.1)
    convert(model, pool="gaussian", conv="gaussian", classifier="statrot", rng=rng())
    kept = dict(model.named_parameters())
    assert all(kept[name] is parameter for group in optimizer.groups for name, parameter in group.params)


def test_the_state_of_a_converted_model_fits_an_equally_converted_one() -> None:
    how: Any = {"pool": "gaussian", "conv": "gaussian", "classifier": "statrot"}
    a, b = made("resnet8"), create_model("resnet8", num_classes=5, rng=rng(9))
    convert(a, rng=rng(), **how)
    convert(b, rng=rng(9), **how)
    for _ in range(2):
        ops.cross_entropy(a(Tensor(X)), np.array([1, 2])).backward()
    for parameter in a.parameters():
        parameter.data = parameter.data - 0.01 * parameter.grad
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(a.eval()(Tensor(X)).data, b.eval()(Tensor(X)).data)
    for (_, one), (_, other) in zip(a.named_generators(), b.named_generators(), strict=True):
        other.bit_generator.state = one.bit_generator.state
    np.testing.assert_array_equal(a.train()(Tensor(X)).data, b.train()(Tensor(X)).data)


def test_the_same_seed_converts_alike() -> None:
    models = [made("resnet8") for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        convert(model, pool="gaussian", rng=rng(seed))
    a, b, c = (model(Tensor(X)).data for model in models)
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


# Reports and refusals


def test_sigmas_by_path() -> None:
    model = made("resnet8")
    convert(model, conv="gaussian", rng=rng(), conv_options={"per": "channel", "sigma0": 0.75})
    found = sigmas(model)
    assert list(found)[:2] == ["conv1", "layer1.0.conv1"]
    assert {path: s.shape for path, s in found.items()}["layer3.0.conv2"] == (64,)
    np.testing.assert_allclose(np.concatenate(list(found.values())), 0.75, rtol=1e-6)
    assert next(iter(sigma_parameters(model))) == "conv1.log_sigma"


def test_nothing_changes_where_something_is_impossible() -> None:
    model = made("resnet8")
    before = repr(model)
    with pytest.raises(ValueError, match="sigma0 must be a number"):
        convert(model, pool="gaussian", conv="gaussian", rng=rng(), conv_options={"sigma0": 99})
    with pytest.raises(ValueError, match="noise must be one of"):
        convert(model, conv="gaussian", pool="gaussian", rng=rng(), pool_options={"noise": "loud"})
    with pytest.raises(TypeError, match="colour"):
        convert(model, conv="gaussian", classifier="statrot", rng=rng(), classifier_options={"colour": 1})
    assert repr(model) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "gauss"}, "convert: pool must be one of 'gaussian', 'maxent', .*, got 'gauss'"),
        ({"conv": "winograd"}, "convert: conv must be one of 'gaussian', 'basis', None, got 'winograd'"),
        ({"classifier": "cosine"}, "convert: classifier must be one of 'statrot', None, got 'cosine'"),
    ],
)
def test_what_convert_refuses(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(made("resnet8"), rng=rng(), **options)  # type: ignore[arg-type]


def test_what_convert_is_given_is_a_module_and_a_generator() -> None:
    model: Any = None
    with pytest.raises(TypeError, match=r"convert: model must be an nn\.Module, got NoneType"):
        convert(model, conv="gaussian", rng=rng())
    seed: Any = 3
    with pytest.raises(TypeError, match=r"convert: rng must be a numpy\.random\.Generator, got int"):
        convert(made("resnet8"), classifier="statrot", rng=seed)


def test_a_second_conversion_finds_nothing() -> None:
    model = made("resnet8")
    how: list[Any] = [{"pool": "gaussian"}, {"conv": "gaussian"}, {"classifier": "statrot"}]
    for options in how:
        convert(model, rng=rng(), **options)
    for options, message in zip(how, ("no place for a pool", "no plain convolution", "no plain linear"), strict=True):
        with pytest.raises(ValueError, match=message):
            convert(model, rng=rng(), **options)
