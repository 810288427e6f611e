"""Golden vectors: what an export holds, and that right results pass and wrong ones do not, in any language."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from minidl.check.golden import arrays as golden_arrays
from minidl.check.golden import commands
from minidl.check.golden import vectors as golden_vectors
from minidl.check.golden.arrays import FORMATS, read_own, write_group
from minidl.check.golden.judging import judge
from minidl.check.golden.manifest import SCHEMA, read_manifest
from minidl.check.golden.model import export_model
from minidl.check.golden.vectors import export, golden_group
from minidl.check.golden.verify import verify
from minidl.check.spec import CASES, OpCase
from minidl.errors import UserError
from tests.golden_helpers import BY_NAME, answer_all, answered

CPP = Path(__file__).parent / "golden" / "conv2d.cpp"
VARIED = ["gelu", "matmul", "getitem", "take", "cross_entropy", "half_gaussian", "astype", "concat", "dropout", "clip"]


def ran(command: str, *argv: str) -> int:
    """The exit status of a sub-command."""
    parser = argparse.ArgumentParser()
    getattr(commands, f"configure_{command}")(parser)
    return getattr(commands, f"run_{command}")(parser.parse_args(argv))


# Export


@pytest.mark.parametrize(
    ("form", "dtype"), [("npz", "float32"), ("safetensors", "float64"), ("raw", "float32"), ("raw", "float64")]
)
def test_right_results_pass_in_every_form(tmp_path: Path, form: str, dtype: str) -> None:
    export(VARIED, tmp_path / "vectors", form=form, dtype=dtype)
    answer_all(tmp_path / "vectors", tmp_path / "results", form)
    report = verify(tmp_path / "vectors", tmp_path / "results")
    assert report.passed, report.text(only_wrong=True)
    assert len(report.verdicts) > 100
    assert 0 < max(v.ratio or 0.0 for v in report.verdicts) < 1


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_every_operation_can_be_exported_and_answered(case: OpCase) -> None:
    sample = next(iter(case.samples(np.random.default_rng(0))))
    group, arrays = golden_group(case, sample, 0, "float32", 0)
    json.dumps(dict(group.params), allow_nan=False)
    for name, result in answered(group, arrays).items():
        verdict = judge(group.id, name, result, arrays[f"expected.{name}"], arrays[f"bound.{name}"])
        assert verdict.passed, str(verdict)
        assert result.dtype.name == group.results[name].dtype


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    for form in FORMATS:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            export(["linear"], tmp_path / form / name, form=form, seed=seed)
        first, again, other = (files(tmp_path / form / name) for name in "abc")
        assert first == again
        assert first.keys() == other.keys()
        assert all((first[name] == other[name]) == name.endswith(("schema.json", ".txt")) for name in first)


def test_inputs_are_rounded_before_what_they_give_is_computed() -> None:
    case = BY_NAME["exp"]
    group, arrays = golden_group(case, next(iter(case.samples(np.random.default_rng(3)))), 0, "float32", 0)
    x = arrays["input.x"].astype(np.float64)
    np.testing.assert_allclose(arrays["expected.output"], np.exp(x), rtol=1e-15)
    np.testing.assert_allclose(arrays["expected.grad.x"], np.exp(x) * arrays["cotangent"], rtol=1e-14)
    assert group.results["grad.x"].dtype == "float32"
    assert (arrays["bound.output"] > np.abs(arrays["expected.output"]) * 2.0**-24).all()


def test_manifests_follow_the_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    export([*VARIED, "conv2d", "pad"], tmp_path / "vectors", form="raw")
    export_model("resnet8", tmp_path / "step", batch_size=2, image_size=8, priors={"classifier": "statrot"})
    for folder in ("vectors", "step"):
        document = json.loads((tmp_path / folder / "manifest.json").read_text())
        assert [error.message for error in validator.iter_errors(document)] == []
        assert (tmp_path / folder / "manifest.schema.json").read_bytes() == SCHEMA.read_bytes()
    for wrong in ({"kind": "operations"}, {"version": 2}, {"extra": 1}, {"groups": [{"id": "../a"}]}):
        assert list(validator.iter_errors({**document, **wrong}))


def test_the_manifest_says_all_parameters_and_what_is_absent(tmp_path: Path) -> None:
    manifest = export(["conv2d"], tmp_path / "vectors")
    first, third = manifest.groups[0], manifest.groups[2]
    assert first.params == {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    assert third.absent == ("bias",)
    assert "grad.bias" in first.results
    assert "grad.bias" not in third.results
    assert "Σ_cuv" in manifest.formulas["conv2d"]
    assert "γ_k" in manifest.formulas["bound"]
    assert read_manifest(tmp_path / "vectors", "operations").groups == manifest.groups


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(golden_vectors, "write_group", full)
    with pytest.raises(UserError, match=r"cannot write .*vectors: No space left on device"):
        export(["relu"], tmp_path / "vectors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conv2"], r"export: there is no operation 'conv2'; try .*conv2d"),
        ([], "export: name at least one operation"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        export(names, tmp_path / "vectors")


def test_an_export_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(UserError, match="is there already"):
        export(["relu"], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


# Judgement


def test_the_worst_element_is_named() -> None:
    expected, bound = np.zeros((2, 3)), np.full((2, 3), 0.5)
    actual = np.array([[0.0, 0.4, 0.0], [0.0, 0.0, -1.5]])
    verdict = judge("a-0", "output", actual, expected, bound)
    assert not verdict.passed
    assert verdict.ratio == 3.0
    assert verdict.worst == (1, 2)
    assert judge("a-0", "output", actual / 3, expected, bound).passed  # at the bound
    assert not judge("a-0", "output", np.full((2, 3), np.nan), expected, bound).passed


def test_one_wrong_element_is_found(tmp_path: Path) -> None:
    export(["linear"], tmp_path / "vectors")
    answer_all(tmp_path / "vectors", tmp_path / "results", "npz")
    path = tmp_path / "results" / "linear-1.npz"
    arrays = dict(np.load(path))
    arrays["grad.weight"][2, 1] *= 1 + 1e-4
    np.savez(path, **arrays)
    report = verify(tmp_path / "vectors", tmp_path / "results")
    (wrong,) = [v for v in report.verdicts if not v.passed]
    assert (wrong.group, wrong.name, wrong.worst) == ("linear-1", "grad.weight", (2, 1))
    assert "wrong: linear-1" in str(report)


@pytest.mark.parametrize(
    ("operation", "name", "spoilt", "named"),
    [
        ("conv2d", "grad.bias", lambda own, y: own["cotangent"][0].sum((1, 2)), "not summed over the batch"),
        ("mse_loss", "grad.x", lambda own, y: y / 2, "factor"),
        ("softmax", "grad.x", lambda own, y: y * np.nan, None),
    ],
)
def test_a_known_mistake_is_named(
    tmp_path: Path, operation: str, name: str, spoilt: Callable[..., np.ndarray], named: str | None
) -> None:
    export([operation], tmp_path / "vectors", dtype="float64")
    answer_all(tmp_path / "vectors", tmp_path / "results", "npz")
    for path in (tmp_path / "results").iterdir():
        arrays, own = dict(np.load(path)), np.load(tmp_path / "vectors" / path.name)
        if name in arrays:
            arrays[name] = spoilt(own, arrays[name])
            np.savez(path, **arrays)
    report = verify(tmp_path / "vectors", tmp_path / "results")
    assert {v.name for v in report.verdicts if not v.passed} == {name}
    if named is None:
        assert report.looks_like == ()
    else:
        (line,) = report.looks_like
        assert line.startswith(f"{operation} {name} looks like: ")
        assert named in line
        assert line in str(report).splitlines()


def test_gradients_can_be_left_out(tmp_path: Path) -> None:
    export(["exp"], tmp_path / "vectors")
    answer_all(tmp_path / "vectors", tmp_path / "results", "npz")
    for path in (tmp_path / "results").iterdir():
        np.savez(path, output=np.load(path)["output"])
    assert not verify(tmp_path / "vectors", tmp_path / "results").passed
    assert verify(tmp_path / "vectors", tmp_path / "results", outputs_only=True).passed


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors, results = str(tmp_path / "vectors"), str(tmp_path / "results")
    assert ran("export", "relu", "exp", "--out", vectors, "--format", "safetensors", "--seed", "3") == 0
    assert "6 cases of 2 operations" in capsys.readouterr().out
    answer_all(tmp_path / "vectors", tmp_path / "results", "raw")
    assert ran("verify", vectors, results) == 0
    assert capsys.readouterr().out.count("ok ") == 12
    np.zeros(10, np.float32).tofile(tmp_path / "results" / "exp-0" / "output.bin")
    assert ran("verify", vectors, results, "--quiet") == 1
    assert capsys.readouterr().out.startswith("WRONG  exp-0  output: ")
    assert ran("export", "--list") == 0
    assert "resnet20" in capsys.readouterr().out
    with pytest.raises(UserError, match="--out DIR is missing"):
        ran("export", "relu")
    with pytest.raises(UserError, match="not both"):
        ran("export", "relu", "--model", "resnet8", "--out", vectors)
    with pytest.raises(UserError, match="of kind 'operations', which `check verify` judges"):
        ran("trace", vectors, results)


def test_arrays_of_any_shape_survive_every_form(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    held = {
        "a": rng.normal(size=(2, 3)),
        "b": np.float32(3.5).reshape(()),
        "c": np.zeros((0, 4), np.float32),
        "d": np.arange(4).reshape(2, 2).T,
        "e": np.array([True, False]),
    }
    specs = {name: golden_arrays.Spec.of(array) for name, array in held.items()}
    for form in FORMATS:
        write_group(tmp_path, f"of-{form}", held, form)
        for name, array in read_own(tmp_path, f"of-{form}", specs).items():
            np.testing.assert_array_equal(array, held[name], strict=True)


# Another language


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The program for a set of flags, compiled once."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")

    @lru_cache
    def program(*flags: str) -> Path:
        path = tmp_path_factory.mktemp("program") / "conv2d"
        subprocess.run([compiler, "-std=c++17", "-O0", *flags, str(CPP), "-o", str(path)], check=True)
        return path

    return program


@pytest.mark.parametrize(
    ("flags", "dtype", "wrong"),
    [
        ([], "float32", set()),
        ([], "float64", set()),
        (["-DBUG_FLIP", "-DBUG_BATCH"], "float32", {"output", "grad.weight"}),
    ],
    ids=["float32", "float64", "kernel flipped, first image only"],
)
def test_a_convolution_in_cpp(
    tmp_path: Path, compiled: Callable[..., Path], flags: list[str], dtype: str, wrong: set[str]
) -> None:
    vectors, results = tmp_path / "vectors", tmp_path / "results"
    export(["conv2d"], vectors, form="raw", dtype=dtype)
    subprocess.run([compiled(*flags), vectors, results], check=True)
    report = verify(vectors, results)
    assert len(report.verdicts) == 41
    assert {v.name for v in report.verdicts if not v.passed} == wrong
    assert report.passed == (not wrong)
    if wrong:
        assert min(v.ratio or 0.0 for v in report.verdicts if not v.passed) > 1000  # nothing like rounding
        (named,) = report.looks_like
        assert named.startswith("conv2d output looks like: kernel flipped: ")
