"""Traces of a model: right steps pass, and a mistake is found in the layer and direction where it was made."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minidl import Tensor, nn, ops
from minidl.check.golden import commands
from minidl.check.golden.arrays import read_own
from minidl.check.golden.manifest import read_manifest
from minidl.check.golden.model import export_model
from minidl.check.golden.step import noise_of, recorded_noise
from minidl.check.golden.trace import trace
from minidl.errors import UserError
from minidl.nn import Module
from tests.golden_helpers import take_step


def exported(tmp_path: Path, dtype: str = "float32", **options: object) -> tuple[Path, Path]:
    export_model("resnet8", tmp_path / "step", dtype=dtype, batch_size=3, image_size=10, **options)  # type: ignore[arg-type]
    return tmp_path / "step", tmp_path / "results"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    step, results = exported(tmp_path_factory.mktemp("trace"))
    take_step(step, results)
    return step.parent


@pytest.fixture
def right(made_once: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A step in float32 and right results, to be spoilt."""
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "step", tmp_path / "results"


# Right steps


@pytest.mark.parametrize(
    ("dtype", "priors", "form"),
    [
        ("float32", {}, "npz"),
        ("float64", {}, "raw"),
        ("float32", {"pool": "gaussian", "conv": "gaussian", "classifier": "statrot"}, "safetensors"),
        ("float32", {"pool": "maxent", "conv": "basis"}, "npz"),
    ],
)
def test_a_right_step_passes(tmp_path: Path, dtype: str, priors: dict[str, str], form: str) -> None:
    step, results = exported(tmp_path, dtype, priors=priors, form=form)
    take_step(step, results, form=form)
    report = trace(step, results)
    assert report.passed, report.text(only_wrong=True)
    assert report.missing == ()
    assert {f.direction for f in report.findings} == {"forward", "backward"}
    assert 0 < max(f.ratio for f in report.findings) < 0.5


def test_layers_may_be_left_out(tmp_path: Path) -> None:
    step, results = exported(tmp_path)
    take_step(step, results, keep=lambda name: name.endswith(("relu2", "conv1", "fc")))
    report = trace(step, results)
    assert report.passed, report.text(only_wrong=True)
    assert "layer1.0.bn1" in report.missing
    assert "not handed in, so judged with the next: bn1, relu, " in str(report)


def test_a_part_of_the_results_is_enough(right: tuple[Path, Path]) -> None:
    step, results = right
    for group in ("gradients", "parameter_gradients", "buffers"):
        (results / f"{group}.npz").unlink()
    report = trace(step, results)
    assert report.passed
    assert str(report).endswith("backward: nothing was handed in")


def test_layers_go_by_any_of_their_names(right: tuple[Path, Path]) -> None:
    step, results = right
    path = results / "activations.npz"
    arrays = dict(np.load(path))
    arrays["layer2"] = arrays.pop("layer2.0.relu2")  # the same array: the block ends in that ReLU
    np.savez(path, **arrays)
    assert trace(step, results).passed
    arrays["layer2.0"] = arrays["layer2"]
    np.savez(path, **arrays)
    assert trace(step, results).refused == ("activations: layer2 is layer2.0.relu2, which is there already",)


# Mistakes


def other_eps(model: Module) -> None:
    model.get_submodule("layer2.0.bn1").eps = 1e-3  # type: ignore[assignment]


def one_weight(model: Module) -> None:
    weight = model.get_submodule("layer3.0.conv1").weight
    changed = weight.data.copy()
    changed[1, 2, 0, 1] += 0.05
    weight.data = changed


def other_momentum(model: Module) -> None:
    model.get_submodule("layer1.0.bn2").momentum = 0.01  # type: ignore[assignment]


def leaky(model: Module) -> None:
    model.set_submodule("layer2.0.relu1", nn.LeakyReLU(0.01))


def sum_for_mean(model: Module) -> None:
    fc = model.get_submodule("fc")
    fc.forward = lambda x: ops.linear(x, fc.weight, None)  # type: ignore[method-assign]


def wrong_backward(model: Module) -> None:
    """The block hands on twice the gradient, forward as it should be."""
    relu = model.get_submodule("layer2.0.relu1")

    def forward(x):
        y = ops.relu(x)
        return y + (y - y.detach())

    relu.forward = forward  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "forward", "backward"),
    [
        (other_eps, ("layer2.0.bn1", "output"), ("layer2.0.bn1", "layer2.0.bn1.weight")),
        (one_weight, ("layer3.0.conv1", "output"), ("layer2.0.relu2", "gradient of the output")),
        (other_momentum, ("layer1.0.bn2", "layer1.0.bn2.running_mean"), None),
        (leaky, ("layer2.0.relu1", "output"), ("layer2.0.bn1", "gradient of the output")),
        (sum_for_mean, ("fc", "output"), None),
        (wrong_backward, None, ("layer2.0.bn1", "gradient of the output")),
    ],
)
def test_the_first_departure_is_where_the_mistake_is(
    tmp_path: Path,
    change: Callable[[Module], None],
    forward: tuple[str, str] | None,
    backward: tuple[str, str] | None,
) -> None:
    step, results = exported(tmp_path, "float64")
    take_step(step, results, change=change)
    report = trace(step, results)
    assert not report.passed
    for direction, expected in (("forward", forward), ("backward", backward)):
        first = report.first(direction)
        assert (None if first is None else (first.layer, first.what)) == expected, str(report)
    departing = {f.layer for f in report.findings if f.direction == "forward" and not f.passed}
    assert departing == ({forward[0]} if forward else set())  # what comes after is right about what it was given


def test_in_float32_a_mistake_is_told_from_rounding(tmp_path: Path) -> None:
    step, results = exported(tmp_path)
    take_step(step, results, change=one_weight)
    report = trace(step, results)
    first = report.first("forward")
    assert first is not None
    assert first.layer == "layer3.0.conv1"
    assert first.made_by == "layer3.0.conv1 from layer2.0.relu2"
    assert "forward: first departure: layer3.0.conv1 output, made by layer3.0.conv1 from layer2.0.relu2" in str(report)


def test_what_is_not_finite_departs_and_does_not_spread(right: tuple[Path, Path]) -> None:
    step, results = right
    path = results / "activations.npz"
    arrays = dict(np.load(path))
    arrays["layer2.0.bn1"][0, 0, 0, :2] = np.nan, np.inf
    np.savez(path, **arrays)
    report = trace(step, results)
    (wrong,) = [f for f in report.findings if not f.passed]
    assert (wrong.layer, wrong.ratio) == ("layer2.0.bn1", np.inf)
    assert wrong.says == "2 of 2,400 elements are not finite"


def test_numbers_without_measure_are_no_error_of_ours(right: tuple[Path, Path]) -> None:
    step, results = right
    path = results / "activations.npz"
    arrays = dict(np.load(path))
    arrays["conv1"][:] = 3e38
    np.savez(path, **arrays)
    first = trace(step, results).first("forward")
    assert first is not None
    assert first.layer == "conv1"


# PyTorch


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_torch_port_passes_and_its_mistake_is_found(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from tests.torch_models import cifar_resnet

    step, results = exported(tmp_path, dtype)
    manifest = read_manifest(step, "model")
    own = {group.id: read_own(step, group.id, group.specs()) for group in manifest.groups}
    names = {n for layer in (manifest.model or {})["layers"] for n in (layer["name"], *layer["also"])}

    def port(eps: float) -> None:
        model = cifar_resnet(8).to(getattr(torch, dtype))
        model.load_state_dict({n: torch.tensor(a) for n, a in own["parameters"].items()}, strict=False)
        model.layer2[0].bn2.eps = eps
        outputs = {}

        def keep(name):
            def hook(module, inputs, output):
                output.retain_grad()
                outputs[name] = output

            return hook

        for name, module in model.named_modules():
            if name in names and name not in ("layer1", "layer2", "layer3"):
                module.register_forward_hook(keep(name))
        logits = model(torch.tensor(own["inputs"]["x"]))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(own["inputs"]["labels"]))
        loss.backward()
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        activations = {n: y.detach().numpy() for n, y in outputs.items()} | {"loss": loss.detach().numpy()}
        np.savez(results / "activations.npz", **activations)
        np.savez(results / "gradients.npz", **{n: y.grad.numpy() for n, y in outputs.items()})
        parameters = {n: p.grad.numpy() for n, p in model.named_parameters()}
        np.savez(results / "parameter_gradients.npz", **parameters)
        buffers = {n: b.numpy() for n, b in model.named_buffers() if b.ndim}
        np.savez(results / "buffers.npz", **buffers)

    port(eps=1e-5)
    report = trace(step, results)
    assert report.passed, report.text(only_wrong=True)
    assert len(report.findings) > 70
    port(eps=1e-2)
    first = trace(step, results).first("forward")
    assert first is not None
    assert (first.layer, first.what) == ("layer2.0.bn2", "output")


# Export, command line and refusals


def test_the_exported_arrays_are_those_of_the_step(tmp_path: Path) -> None:
    step, results = exported(tmp_path, "float64", options={"shortcut": "B"}, priors={"classifier": "statrot"})
    take_step(step, results, form="raw")
    manifest = read_manifest(step, "model")
    assert [g.id for g in manifest.groups][:3] == ["inputs", "parameters", "noise"]
    assert "layer2.0.downsample.0" in manifest.group("activations").results
    for group in ("activations", "gradients", "parameter_gradients", "buffers"):
        specs = manifest.group(group).specs()
        ours, theirs = read_own(step, group, specs), read_own(results, group, specs)
        for name in specs:
            np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-9, atol=1e-12)
    weight = read_own(step, "parameters", manifest.group("parameters").specs())["bn1.weight"]
    assert np.unique(weight).size == weight.size  # not all 1, which would hide a scale that is not applied


def test_noise_is_kept_and_played_again() -> None:
    model = nn.Sequential(nn.Dropout(0.5, rng=np.random.default_rng(0)), nn.Dropout(0.2, rng=np.random.default_rng(1)))
    x = Tensor(np.ones((3, 40)))
    kept = recorded_noise(model, "float32")
    twice = [model(x).data for _ in range(2)]
    assert list(kept) == ["0.noise.0", "1.noise.0", "0.noise.1", "1.noise.1"]
    assert (twice[0] != twice[1]).any()
    noise_of(model, kept)
    np.testing.assert_array_equal([model(x).data for _ in range(2)], twice)
    np.testing.assert_array_equal(twice[0] != 0, (kept["0.noise.0"] >= 0.5) & (kept["1.noise.0"] >= 0.2))
    with pytest.raises(UserError, match=r"noise 0\.noise\.2 must be there, with shape \(3, 40\)"):
        model(x)
    noise_of(model, kept)
    with pytest.raises(UserError, match=r"noise 0\.noise\.0 must be there, with shape \(3, 41\)"):
        model(Tensor(np.ones((3, 41))))


def test_the_same_seed_gives_the_same_step(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        export_model("resnet8", tmp_path / name, seed=seed, batch_size=2, image_size=8)
    a, b, c = ((tmp_path / name / "activations.npz").read_bytes() for name in "abc")
    assert a == b != c


def ran(command: str, *argv: object) -> int:
    parser = argparse.ArgumentParser()
    getattr(commands, f"configure_{command}")(parser)
    return getattr(commands, f"run_{command}")(parser.parse_args([str(a) for a in argv]))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step, results = tmp_path / "step", tmp_path / "results"
    sizes = ("--batch-size", 2, "--image-size", 8, "--num-classes", 4, "--option", "shortcut=B", "--format", "raw")
    assert ran("export", "--model", "resnet8", "--out", step, *sizes, "--classifier", "statrot") == 0
    assert "resnet8, one training step, 28 layers" in capsys.readouterr().out
    take_step(step, results, form="raw")
    assert ran("trace", step, results, "--quiet") == 0
    assert capsys.readouterr().out.startswith("forward: ")
    (results / "more.txt").write_text("")
    assert ran("trace", step, results) == 1
    out = capsys.readouterr().out
    assert "REFUSED  more.txt is not asked for" in out
    assert out.startswith("ok       conv1  output: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet9"}, "there is no model 'resnet9'"),
        ({"options": {"depth": 3}}, "has no option 'depth'"),
        ({"priors": {"pool": "median"}}, "median"),
        ({"batch_size": 1, "image_size": 1}, r"cannot take images of shape \(3, 1, 1\): batch_norm"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"name": "resnet8", "batch_size": 2, "image_size": 8, **arguments}
    with pytest.raises(UserError, match=message) as caught:
        export_model(folder=tmp_path / "step", **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_judged(tmp_path: Path) -> None:
    step, results = exported(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        trace(step, results)
    results.mkdir()
    with pytest.raises(UserError, match=r"holds nothing that was asked for$"):
        trace(step, results)
    (results / "activations.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"nothing that was asked for \(activations is damaged or no npz"):
        trace(step, results)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "resnet14", "another version of minidl|do not fit"),
        ("name", "nothing", "there is no model 'nothing'"),
        ("options", {"rng": 3}, "has no option 'rng'"),
        ("options", None, "options must be a dict, got None"),
        ("layers", [{"name": "../a", "also": []}], "a name must be letters"),
        ("layers", [], "another version of minidl wrote it"),
        ("num_classes", 11, "do not fit"),
    ],
)
def test_steps_that_are_wrong(right: tuple[Path, Path], key: str, value: object, message: str) -> None:
    step, results = right
    document = json.loads((step / "manifest.json").read_text())
    document["model"][key] = value
    (step / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message) as caught:
        trace(step, results)
    assert "\n" not in str(caught.value)
