"""Priors from the command line: every choice trains, goes on from where it stopped, and leaves σ in a table."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from train_helpers import STEPS, assert_same_run, error_line, press_ctrl_c, train

from minidl import checkpoint
from minidl.nn import AvgPool2d
from minidl.priors import BasisConv2d, GaussianConv2d, GaussianPool2d, MaxEntPool2d, StatRotLinear, sigmas
from minidl.train.__main__ import main
from minidl.train.build import network, optimizer
from minidl.train.priors import load_into, log_sigmas
from minidl.train.recipes import resolve
from minidl.train.record import BEST, LAST

MODEL = ("--model", "resnet8")
ALL = (*MODEL, "--pool", "gaussian", "--conv", "gaussian", "--classifier", "statrot")


def table(folder: str) -> list[dict[str, str]]:
    with open(Path(folder, "sigma.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_with_all_priors(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*ALL, "--epochs", "1", "--sigma0", "0.6", "--sigma-lr", "5") == 0
    said = capsys.readouterr().out
    assert "priors: 7 GaussianConv2d, 2 GaussianPool2d, 1 StatRotLinear, 4 strides taken over by pools; " in said
    rows = table("run")
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list(rows[0])[:3] == ["epoch", "conv1", "layer1.0.conv1"]
    np.testing.assert_allclose([float(value) for value in list(rows[0].values())[1:]], 0.6, rtol=1e-6)
    arrays, meta = checkpoint.load("run/" + LAST)
    for name, value in list(rows[1].items())[1:]:
        assert math.exp(arrays[f"{name}.log_sigma"][0]) == pytest.approx(float(value), rel=1e-6)
        assert value != rows[0][name]
    assert meta["config"]["sigma_lr"] == 5


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        (("--pool", "maxent", "--pool-activation", "softplus", "--pool-parameters", "learned"), {MaxEntPool2d}),
        (("--pool", "average", "--conv", "basis", "--basis", "dct", "--basis-order", "2"), {AvgPool2d, BasisConv2d}),
        (
            (
                *("--pool", "gaussian", "--pool-prior", "half_gaussian", "--pool-noise", "position"),
                *("--conv", "gaussian", "--sigma-kernel", "discrete", "--sigma0", "0"),
                *("--sigma-per", "channel", "--sigma-border", "crop"),
            ),
            {GaussianPool2d, GaussianConv2d},
        ),
        (("--pool", "skip", "--classifier", "statrot", "--angle", "30"), {StatRotLinear}),
    ],
)
def test_every_choice_reaches_its_layer_and_trains(flags: tuple[str, ...], kinds: set[type]) -> None:
    assert train(*MODEL, *flags, "--epochs", "1") == 0
    arrays, meta = checkpoint.load("run/" + LAST)
    config = resolve({**meta["config"], "out": None})
    model = network(config, 10)
    model.load_state_dict({name: a for name, a in arrays.items() if not name.startswith("optimizer.")})
    layers = [m for _, m in model.named_modules()]
    assert kinds <= {type(m) for m in layers}
    assert Path("run/sigma.csv").exists() == (GaussianConv2d in kinds)
    for layer in layers:
        if isinstance(layer, GaussianPool2d):
            assert (layer.prior, layer.noise, layer.inference) == ("half_gaussian", "position", "mean")
        if isinstance(layer, GaussianConv2d):
            assert (layer.kernel, layer.per, layer.border) == ("discrete", "channel", "crop")
        if isinstance(layer, MaxEntPool2d):
            assert (layer.activation, layer.source) == ("softplus", "learned")
        if isinstance(layer, BasisConv2d):
            assert (layer.kind, len(layer.basis)) == ("dct", 6)
        if isinstance(layer, StatRotLinear):
            assert layer.angle == pytest.approx(math.pi / 6)


def test_a_resumed_run_equals_one_never_interrupted(at_step) -> None:
    flags = (*ALL, "--pool-noise", "position")
    train(*flags, out="whole")
    at_step(STEPS + 2, press_ctrl_c)
    assert train(*flags, out="cut") == 130
    assert len(table("cut")) == 2
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")
    assert table("whole") == table("cut")
    assert len(table("cut")) == 4


def test_a_branch_takes_the_table_along_and_overwriting_drops_it() -> None:
    train(*ALL, "--epochs", "1")
    assert main(["--resume", "run", "--epochs", "2", "--out", "branch"]) == 0
    assert table("branch")[:2] == table("run")
    assert len(table("branch")) == 3
    assert train(*MODEL, "--epochs", "1", "--overwrite", out="branch") == 0
    assert not Path("branch/sigma.csv").exists()


def test_priors_leave_the_rest_of_the_network_as_it_starts_without_them() -> None:
    plain, prior = (
        network(resolve({"model": "resnet8", **more}), 10).state_dict() for more in ({}, {"conv": "gaussian"})
    )
    assert all((prior[name] == array).all() for name, array in plain.items())
    again = network(resolve({"model": "resnet8", "pool": "gaussian"}), 10).state_dict()
    other = network(resolve({"model": "resnet8", "pool": "gaussian", "seed": 1}), 10).state_dict()
    name = "layer2.0.pool.guidance.reduce.weight"
    assert (again[name] == network(resolve({"model": "resnet8", "pool": "gaussian"}), 10).state_dict()[name]).all()
    assert (again[name] != other[name]).any()


def test_sigma_has_a_learning_rate_of_its_own() -> None:
    config = resolve({"model": "resnet8", "conv": "gaussian", "sigma_lr": 0.25, "weight_decay": 0.1})
    groups = optimizer(config, network(config, 10)).groups
    (sigma,) = (group for group in groups if group.lr_factor == 0.25)
    assert sigma.weight_decay == 0
    assert {name.rpartition(".")[2] for name, _ in sigma.params} == {"log_sigma"}
    assert len(sigma.params) == 7


def test_weights_of_a_plain_network_go_into_a_converted_one() -> None:
    train(*MODEL, "--epochs", "1", out="plain")
    arrays, _ = checkpoint.load("plain/" + BEST)
    for flags in (("--conv", "gaussian", "--sigma-kernel", "discrete", "--sigma0", "0"), ("--conv", "basis")):
        assert train(*MODEL, *flags, "--weights", "plain/" + BEST, "--epochs", "1", "--overwrite") == 0
    config = resolve({"model": "resnet8", "conv": "basis"})
    model = network(config, 10)
    assert load_into(model, "plain/" + BEST).endswith("; 7 filters projected on their bases")
    for path, layer in model.named_modules():
        if isinstance(layer, BasisConv2d):
            np.testing.assert_allclose(layer.weight.data, arrays[f"{path}.weight"], atol=1e-6)


def test_the_table_of_widths_is_whole_or_refused() -> None:
    model = network(resolve({"model": "resnet8", "conv": "gaussian"}), 10)
    path = Path("sigma.csv")
    for epoch in (0, 1, 2, 1):
        log_sigmas(model, epoch, path)
    with path.open() as file:
        assert [row[0] for row in csv.reader(file)] == ["epoch", "0", "1"]
    for text, message in (
        ("epoch,conv9\n0,1.0\n", "of other layers"),
        ("epoch\nx\n", "no table of σ"),
        ("", "no table"),
    ):
        path.write_text(text)
        with pytest.raises(Exception, match=message):
            log_sigmas(model, 2, path)
    log_sigmas(network(resolve({"model": "resnet8"}), 10), 0, Path("none.csv"))
    assert not Path("none.csv").exists()
    assert len(sigmas(model)) == 7


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--sigma0", "0.5"), "--sigma0 needs --conv gaussian, got none"),
        (("--conv", "basis", "--radius", "3"), "--radius needs --conv gaussian, got basis"),
        (
            ("--pool", "max", "--pool-parameters", "learned"),
            "--pool-parameters needs --pool gaussian or maxent, got max",
        ),
        (("--sigma-lr", "2"), "--sigma-lr needs --conv gaussian, got none"),
        (("--angle", "30"), "--angle needs --classifier statrot, got none"),
        (("--pool", "guassian"), "--pool must be one of gaussian, maxent, average, max, skip (did you mean gaussian?)"),
        (("--conv", "gaussian", "--sigma0", "0.1"), "--conv gaussian: GaussianConv2d: sigma0 must be a number from"),
        (("--conv", "gaussian", "--sigma0", "0.5", "--sigma-max", "0.4"), "GaussianConv2d: sigma0 must be"),
        (("--pool", "gaussian"), "--pool gaussian: convert: Noisy has no place for a pool"),
    ],
)
def test_what_is_refused_in_one_line(flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*flags) == 2
    assert message in error_line(capsys)
    assert not Path("run").exists()


def test_another_prior_cannot_be_chosen_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    train(*MODEL, "--conv", "gaussian", "--epochs", "1")
    capsys.readouterr()
    assert main(["--resume", "run", "--epochs", "2", "--sigma-kernel", "discrete"]) == 2
    assert "--sigma-kernel discrete: run/last.safetensors was trained with None" in error_line(capsys)
    assert main(["--resume", "run", "--epochs", "2", "--sigma-lr", "2"]) == 0
    assert "--sigma-lr 10.0 → 2.0" in capsys.readouterr().out


def test_a_detail_of_a_prior_that_a_run_has_not_may_have_another_default_since() -> None:
    train("--epochs", "1")
    path = Path("run", LAST)
    arrays, meta = checkpoint.load(path)
    checkpoint.save(path, arrays, {**meta, "config": {**meta["config"], "sigma_lr": 1.0}})
    assert main(["--resume", "run", "--epochs", "2"]) == 0
