"""Models: every one runs forward and backward; parameters and multiply-adds are the published ones; weights load."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from minidl import Tensor, nn, ops, weights
from minidl.errors import CheckpointError
from minidl.models import count, create_model, model_info, model_names, register
from minidl.models.resnet import PadShortcut
from minidl.weights import load_weights

PARAMETERS = {  # torchvision's tables; He et al. 2016, table 6, to the digit of the usual re-implementation
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnext50_32x4d": 25_028_904,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
}
GIGA_MULTIPLY_ADDS = {  # torchvision's and the papers' figures, at 224×224
    "resnet18": 1.814,
    "resnet50": 4.089,
    "resnext50_32x4d": 4.230,
    "densenet121": 2.834,
    "mobilenet_v1": 0.569,
    "mobilenet_v2": 0.301,
}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def counted(name: str) -> nn.Module:
    """The model with zeros for weights: its shapes are all that is looked at."""
    with nn.init.skip():
        return create_model(name, num_classes=10 if model_info(name).image_size == 32 else 1000, rng=rng())


@pytest.mark.parametrize("name", model_names())
def test_every_model_runs_forward_and_backward(name: str) -> None:
    options = {"hidden": 64} if "hidden" in model_info(name).options else {}
    model = create_model(name, num_classes=5, rng=rng(), **options)
    x = Tensor(rng().normal(size=(2, 3, 32, 32)).astype(np.float32), requires_grad=True)
    logits = model(x)
    assert logits.shape == (2, 5)
    assert logits.dtype == np.float32
    ops.cross_entropy(logits, np.array([4, 0])).backward()
    for key, parameter in [("x", x), *model.named_parameters()]:
        assert parameter.grad is not None, key
        assert np.isfinite(parameter.grad).all(), key
    assert np.isfinite(model.eval()(x).data).all()


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_parameter_counts_are_the_published_ones(name: str, parameters: int) -> None:
    assert sum(p.size for p in counted(name).parameters()) == parameters


@pytest.mark.parametrize(("name", "giga"), GIGA_MULTIPLY_ADDS.items())
def test_multiply_adds_are_the_published_ones(name: str, giga: float) -> None:
    cost = count(counted(name), (3, 224, 224))
    assert cost.multiply_adds / 1e9 == pytest.approx(giga, abs=6e-4)
    assert cost.parameters == PARAMETERS[name]


def test_counting_leaves_the_model_as_it_was() -> None:
    model = create_model("resnet8", num_classes=10, rng=rng())
    model.layer1.eval()
    before = model.state_dict()
    first, second = count(model, (3, 32, 32)), count(model, (3, 32, 32))
    assert first == second
    assert [c.name for c in first.layers][:3] == ["conv1", "bn1", "layer1.0.conv1"]
    assert first.layers[-1].multiply_adds == 640
    assert model.training
    assert not model.layer1.training
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_counting_a_shared_layer_counts_its_parameters_once_and_its_products_twice() -> None:
    layer = nn.Conv2d(3, 3, 1, bias=False, rng=rng())
    cost = count(nn.Sequential(layer, layer), (3, 4, 5))
    assert (cost.parameters, cost.multiply_adds) == (9, 2 * 9 * 20)


def test_a_transposed_convolution_multiplies_for_every_input() -> None:
    layer = nn.ConvTranspose2d(2, 3, kernel_size=2, stride=2, rng=rng())
    assert count(layer, (2, 4, 5)).multiply_adds == 2 * 3 * 4 * 20  # as the convolution whose adjoint it is


def test_the_same_seed_gives_the_same_weights() -> None:
    a, b = (create_model("resnet8", num_classes=10, rng=rng()).state_dict() for _ in range(2))
    c = create_model("resnet8", num_classes=10, rng=np.random.default_rng(1)).state_dict()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
    assert (a["conv1.weight"] != c["conv1.weight"]).all()


def test_resnets_start_with_kaimings_spread() -> None:
    w = create_model("resnet8", num_classes=10, rng=rng()).layer3[0].conv2.weight.data
    assert w.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)


def test_shortcut_a_subsamples_and_pads_without_parameters() -> None:
    x = rng().normal(size=(2, 4, 5, 6))
    y = PadShortcut(4, 9, 2)(Tensor(x)).data
    np.testing.assert_array_equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()
    names = {n: dict(create_model("resnet8", num_classes=10, rng=rng(), shortcut=n).named_parameters()) for n in "AB"}
    assert set(names["B"]) - set(names["A"]) == {
        f"layer{i}.0.downsample.{p}" for i in (2, 3) for p in ("0.weight", "1.weight", "1.bias")
    }


def test_a_block_pools_after_its_last_relu_and_can_lose_its_strides() -> None:
    """What the placement of a prior needs: the stage's resolution comes from `pool` alone."""
    model = create_model("resnet8", num_classes=10, rng=rng(), shortcut="B")
    block = model.layer2[0]
    block.conv1.stride = block.downsample[0].stride = (1, 1)
    model.set_submodule("layer2.0.pool", nn.AvgPool2d(2))
    shapes: list[tuple[int, ...]] = []
    block.relu2.register_forward_hook(lambda m, x, y: shapes.append(y.shape))
    block.register_forward_hook(lambda m, x, y: shapes.append(y.shape))
    model(Tensor(np.zeros((1, 3, 32, 32), np.float32)))
    assert shapes == [(1, 32, 32, 32), (1, 32, 16, 16)]


def test_grey_images() -> None:
    model = create_model("resnet8", num_classes=3, rng=rng(), in_channels=1)
    assert model(Tensor(np.zeros((2, 1, 16, 20), np.float32))).shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: create_model("resnet19", num_classes=2, rng=rng()), ValueError, "no model 'resnet19'; try resnet1"),
        (lambda: create_model("resnet8", num_classes=0, rng=rng()), ValueError, "num_classes must be .* got 0"),
        (lambda: create_model("resnet8", num_classes=2, rng=0), TypeError, "rng must be .* got int"),  # type: ignore[arg-type]
        (
            lambda: create_model("resnet8", num_classes=2, rng=rng(), depth=3),
            ValueError,
            "resnet8 has no option 'depth'; it has shortcut, in_channels",
        ),
        (lambda: create_model("resnet8", num_classes=2, rng=rng(), shortcut="C"), ValueError, "'A' or 'B', got 'C'"),
        (lambda: register("resnet8", image_size=32)(create_model), ValueError, "named 'resnet8' is there already"),
        (lambda: register("new", image_size=32)(lambda: None), ValueError, "must take keywords num_classes and rng"),
    ],
)
def test_what_the_registry_refuses(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# Weights from files


def linear() -> nn.Linear:
    return nn.Linear(3, 2, rng=rng())


GOOD = {"weight": np.arange(6.0).reshape(2, 3), "bias": np.ones(2)}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_weights_load_from_both_kinds_of_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    np.savez(path, **GOOD) if suffix == ".npz" else save_file(GOOD, path)
    layer = linear()
    assert load_weights(layer, path) == "2 of 2 arrays loaded"
    np.testing.assert_array_equal(layer.weight.data, GOOD["weight"])
    assert layer.weight.dtype == np.float32


def test_weights_of_another_shape_are_refused_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, weight=np.ones((2, 3)), bias=np.ones(5), extra=np.ones(1))
    with pytest.raises(
        CheckpointError, match=r"does not fit Linear: bias must have shape \(2,\), got \(5,\); extra is"
    ):
        load_weights(linear(), path)
    layer = linear()
    report = load_weights(layer, path, strict=False)
    assert report == "1 of 2 arrays loaded; bias must have shape (2,), got (5,); extra is not in the model"
    np.testing.assert_array_equal(layer.weight.data, 1)


def test_weights_of_which_nothing_fits_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", other=np.ones(1))
    with pytest.raises(CheckpointError, match="nothing in it fits Linear: weight is missing"):
        load_weights(linear(), tmp_path / "w.npz", strict=False)


def damaged(path: Path, kind: str) -> None:
    if kind == "pickle":
        np.savez(path, weight=np.array([{"an": "object"}], dtype=object))
    elif kind == "text":
        np.savez(path, weight=np.array(["a", "b"]))
    elif kind == "no zip":
        path.write_bytes(b"not a zip file")
    elif kind == "header":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weight.npy", b"\x93NUMPY\x01\x00\xff\xff{")
    elif kind == "open brace":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weight.npy", b"\x93NUMPY\x01\x00\x40\x00" + b"{'descr': '<f4', 'shape': (1,)".ljust(64))
    else:
        np.savez(path, **GOOD)
        path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickle", "truncated or no .npz of arrays .*allow_pickle"),
        ("text", "weight must hold real numbers"),
        ("no zip", "truncated or no .npz"),
        ("header", "truncated or no .npz"),
        ("open brace", "truncated or no .npz"),
        ("cut", "truncated or no .npz"),
    ],
)
def test_hostile_npz(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "w.npz"
    damaged(path, kind)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(linear(), path)
    assert "\n" not in str(caught.value)


def test_an_npz_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, weight=np.zeros(100_000))
    assert path.stat().st_size < 2000
    monkeypatch.setattr(weights, "MAX_BYTES", 100_000)
    with pytest.raises(CheckpointError, match=r"unpacks to 800,\d+ bytes"):
        load_weights(linear(), path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w.pth", r"must be .npz or .safetensors, got '.pth'; a pickle can run code"),
        ("w", "got 'no suffix'"),
        ("w.npz", "there is no such file"),
        ("w.safetensors", "there is no such file"),
    ],
)
def test_other_files(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_weights(linear(), tmp_path / name)
