"""Flags, configuration files and defaults of `python -m minidl.train`."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from minidl.data import augment_names
from minidl.errors import ConfigError
from minidl.train.cli import parse, parser
from minidl.train.config import FIELDS, Config, flag, kind
from minidl.train.recipes import OPTIMISERS, RECIPES, kind_of, resolve
from minidl.train.record import write_config


def test_every_field_is_a_flag_with_a_help_text() -> None:
    text = parser().format_help()
    assert all(flag(name) in text for name in FIELDS)
    assert "resnet20" in text  # the choices are listed


def test_values_get_their_types() -> None:
    given = parse(
        ["--lr", "0.2", "--batch-size=64", "--no-nesterov", "--download", "--data-dir", "a b", "--no-verify"]
    ).given
    assert given == {
        "lr": 0.2,
        "batch_size": 64,
        "nesterov": False,
        "download": True,
        "data_dir": "a b",
        "verify": False,
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch", "3"], "unknown argument --epoch (did you mean --epochs?); --help lists all"),
        (["--batch_size", "3"], "unknown argument --batch_size (did you mean --batch-size?); --help lists all"),
        (["resnet20"], "unknown argument resnet20; --help lists all"),
        (["--lr"], "--lr expected one argument"),
        (["--lr", "0"], "--lr must be a finite number > 0, got 0"),
        (["--lr", "-1"], "--lr must be a finite number > 0, got -1"),
        (["--lr", "nan"], "--lr must be a finite number > 0, got nan"),
        (["--lr", "1e999"], "--lr must be a finite number > 0, got inf"),
        (["--lr", "fast"], "--lr must be a number, got 'fast'"),
        (["--epochs", "0"], "--epochs must be an integer >= 1, got 0"),
        (["--epochs", "1.5"], "--epochs must be an integer, got '1.5'"),
        (["--batch-size", "0"], "--batch-size must be an integer >= 1, got 0"),
        (["--momentum", "1"], "--momentum must be a finite number >= 0 and < 1, got 1"),
        (["--label-smoothing", "1"], "--label-smoothing must be a finite number >= 0 and < 1, got 1"),
        (["--seed", "-1"], "--seed must be an integer >= 0, got -1"),
        (["--device", "fpga"], "--device must be one of cpu, gpu, got fpga"),
        (["--opt", "sdg"], "--opt must be one of sgd, adamw (did you mean sgd?), got sdg"),
        (
            ["--augment", "crop,filp"],
            f"--augment must be of {', '.join(augment_names())}, none (did you mean flip?), got crop,filp",
        ),
        (["--data-dir", ""], "--data-dir must be printable text, got ''"),
        (["--config", "no.toml"], "--config: cannot read no.toml: No such file or directory"),
        (["--radius", "101"], "--radius must be an integer from 1 to 100, got 101"),
        (["--samples-per-class", "10001"], "--samples-per-class must be an integer from 1 to 10000, got 10001"),
        (["--workers", "65"], "--workers must be an integer from 0 to 64, got 65"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(argv)
    assert str(error.value) == message


def test_an_unknown_model_lists_and_suggests() -> None:
    with pytest.raises(
        ConfigError, match=r"^--model must be one of .*resnet20.* \(did you mean resnet20\?\), got resnet-20$"
    ):
        parse(["--model", "resnet-20"])


def test_a_file_has_the_flags_names_and_flags_go_before_it(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('data = "cifar10"\nlr = 1\nbatch-size = 64\nweight_decay = 0.001\nno-verify = true\n')
    given = parse(["--config", str(file), "--lr", "0.3"]).given
    assert given == {"data": "cifar10", "lr": 0.3, "batch_size": 64, "weight_decay": 0.001, "verify": False}
    assert isinstance(parse(["--config", str(file)]).given["lr"], float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leraning-rate = 1", "unknown entry 'leraning-rate'"),
        ("batch-siez = 1", "unknown entry 'batch-siez' (did you mean batch-size?)"),
        ("lr = true", "lr must be a number, got True"),
        ("epochs = 3.0", "epochs must be an integer, got 3.0"),
        ("epochs = true", "epochs must be an integer, got True"),
        ("nesterov = 1", "nesterov must be true or false, got 1"),
        ("model = 20", "model must be text, got 20"),
        ("lr = inf", "lr must be a finite number > 0, got inf"),
        ("batch-size = 1\nbatch_size = 1", "'batch_size' is given twice"),
        ("verify = true\nno-verify = true", "'no-verify' is given twice"),
        ("[model]\nname = 1", "model must be text, got {'name': 1}"),
        ("lr = ", "is not TOML"),
    ],
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        parse(["--config", str(file)])
    assert str(file) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        parse(["--config", str(tmp_path / "a.toml")])
    with pytest.raises(ConfigError, match="cannot read"):
        parse(["--config", str(tmp_path)])


def test_recipes_fill_what_is_not_given() -> None:
    assert resolve({"data": "cifar10"}).model == RECIPES["cifar10"]["model"]
    assert resolve({"data": "some/folder"}).image_size == RECIPES["folder"]["image_size"]
    assert resolve({"data": "cifar10", "model": "resnet8"}).model == "resnet8"
    assert resolve({"opt": "adamw"}).lr == OPTIMISERS["adamw"]["lr"]
    assert resolve({"opt": "adamw", "lr": 0.5}).lr == 0.5


def test_a_folder_with_the_files_of_a_known_set_has_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "meta").touch()
    assert kind_of(str(tmp_path)) == kind_of(str(tmp_path / "cifar-100-python")) == "cifar100"
    assert kind_of(str(tmp_path / "other")) == "folder"
    assert kind_of("multiscale:2.5") == "multiscale"


@pytest.mark.parametrize("data", [*RECIPES, "some/folder"])
@pytest.mark.parametrize("opt", OPTIMISERS)
def test_recipes_obey_the_rules_of_the_flags(data: str, opt: str) -> None:
    config = resolve({"data": data, "opt": opt})
    argv = [w for n, v in config.items() if v is not None and kind(n) is not bool for w in (flag(n), str(v))]
    assert Config(**{**dict(config.items()), **parse(argv).given}) == config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"epochs": 2, "warmup_epochs": 2.0, "sched": "cosine"},
            "--warmup-epochs must be less than --epochs, got 2 and 2",
        ),
        ({"momentum": 0.0, "nesterov": True}, "--nesterov needs a --momentum > 0"),
        ({"sched": "onecycle", "warmup_epochs": 1.0}, "--sched onecycle warms up by itself"),
    ],
)
def test_values_that_contradict_each_other_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(given)


def test_a_written_configuration_reads_back_as_it_was(tmp_path: Path) -> None:
    config = resolve({"data": 'a "quoted" \\ folder é', "lr": 1e-05, "nesterov": False, "threads": 3})
    write_config(config, tmp_path / "config.toml")
    assert resolve(parse(["--config", str(tmp_path / "config.toml")]).given) == config
    assert "lr = 1e-05" in (tmp_path / "config.toml").read_text()
    assert tomllib.loads((tmp_path / "config.toml").read_text())["batch-size"] == config.batch_size
