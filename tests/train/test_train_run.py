"""Runs of `python -m minidl.train`: what they leave, and what they show."""

from __future__ import annotations

import io
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from train_helpers import FILES, STEPS, assert_same_run, error_line, press_ctrl_c, rows, train

from minidl import checkpoint
from minidl.data import create_dataset
from minidl.train import loop
from minidl.train.__main__ import main
from minidl.train.build import build
from minidl.train.cli import parse
from minidl.train.plots import TEST, TRAIN, draw_curves
from minidl.train.recipes import resolve
from minidl.train.record import BEST, CONFIG, LAST


def test_a_run_leaves_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    assert {path.name for path in Path("run").iterdir()} == FILES
    assert tomllib.loads(Path("run", CONFIG).read_text())["batch-size"] == 16
    table = rows("run")
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    assert list(table[0]) == ["epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    text = capsys.readouterr().out
    best = max(float(row["test_accuracy"]) for row in table)
    assert f"best {best:.2%}" in text
    assert f"{float(table[-1]['test_accuracy']):.2%} after the last epoch" in text
    assert "parameters      2,690" in text


def test_the_best_checkpoint_is_of_the_best_epoch() -> None:
    train()
    accuracy = [float(row["test_accuracy"]) for row in rows("run")]
    position = checkpoint.load("run/" + BEST)[1]["position"]
    assert position["epoch"] == 1 + accuracy.index(max(accuracy))
    assert checkpoint.load("run/" + LAST)[1]["position"]["epoch"] == 3


def test_the_same_seed_gives_the_same_bits_and_another_gives_others() -> None:
    train(out="a")
    train(out="b")
    train("--seed", "1", out="c")
    assert_same_run("a", "b")
    assert rows("a") != rows("c")


@pytest.mark.parametrize("threads", ["1", "3"])
def test_results_do_not_depend_on_the_number_of_threads(threads: str) -> None:
    small = ["--model", "resnet8", "--batch-size", "32", "--epochs", "1", "--threads"]
    assert main([*small, "2", "--out", "a"]) == 0
    assert main([*small, threads, "--out", "b"]) == 0
    for key, array in checkpoint.load("a/" + LAST)[0].items():
        np.testing.assert_array_equal(array, checkpoint.load("b/" + LAST)[0][key], err_msg=key)


@pytest.fixture
def pets(monkeypatch: pytest.MonkeyPatch, drawn) -> list[str]:
    """A folder of images, and the flags to train on it."""
    monkeypatch.setattr("minidl.train.images.create_dataset", create_dataset)
    for split, (images, labels) in drawn.items():
        for i, (image, label) in enumerate(zip(images[:32], labels % 2, strict=False)):
            path = Path("pets", split, ("cat", "dog")[label], f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)  # (3,H,W) → (H,W,3)
    return ["--data", "pets", "--image-size", "32", "--epochs", "1"]


def test_a_folder_of_images_trains(pets: list[str]) -> None:
    changes = ["--augment", "flip,jitter,lighting", "--cutout", "4"]
    assert train(*pets, *changes, "--workers", "0", "--prefetch", "0", out="a") == 0
    assert train(*pets, *changes, "--workers", "2", "--prefetch", "3", out="b") == 0
    assert rows("a") == rows("b")  # who decodes, and how far ahead, is no matter
    assert checkpoint.load("a/" + LAST)[1]["classes"] == ["cat", "dog"]


def test_a_folder_without_random_changes_shows_the_same_images_every_epoch(pets: list[str]) -> None:
    def two_epochs(augment: str) -> list[np.ndarray]:
        run = build(resolve(parse([*pets, "--batch-size", "32", "--workers", "0", "--augment", augment]).given))
        return [np.sort(next(run.train_loader.epoch(e))[0].sum(axis=(1, 2, 3))) for e in (0, 1)]

    first, second = two_epochs("none")
    np.testing.assert_allclose(first, second, rtol=1e-3)  # the order of summation may differ
    first, second = two_epochs("cutout")
    assert not np.allclose(first, second, rtol=1e-3)


def test_default_folders_are_never_shared() -> None:
    flags = ["--model", "noisy", "--batch-size", "64", "--epochs", "1"]
    assert main(flags) == main(flags) == 0
    names = [path.name for path in Path("runs").iterdir()]
    assert len(names) == 2
    assert all("noisy-multiscale" in name for name in names)


def test_a_run_is_replaced_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    Path("run/notes.txt").write_text("mine")
    before = Path("run", LAST).read_bytes()
    assert train() == 2
    assert error_line(capsys).startswith("--out: there is a run in run already; choose another")
    assert Path("run", LAST).read_bytes() == before
    assert train("--seed", "1", "--overwrite") == 0
    assert Path("run", LAST).read_bytes() != before
    assert Path("run/notes.txt").read_text() == "mine"


def test_the_written_configuration_repeats_the_run() -> None:
    train(out="a")
    assert main(["--config", "a/" + CONFIG, "--out", "b"]) == 0
    assert_same_run("a", "b")


def test_curves_are_a_readable_picture(tmp_path: Path) -> None:
    columns = ("lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
    history = [{"epoch": e, **{name: (1 + i) / (9 + e) for i, name in enumerate(columns)}} for e in (1, 2, 3)]
    draw_curves(history, "a model on a $folder_with_price", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert picture.width >= 1000
    for colour in (TRAIN, TEST):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(axis=1).sum() > 200  # both curves are there


def test_a_run_starts_from_given_weights(capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "1", out="a")
    train("--weights", "a/" + LAST, "--lr", "1e-30", "--epochs", "1", out="b")
    assert "weights: 8 of 8 arrays loaded" in capsys.readouterr().out
    before, after = (checkpoint.load(f"{run}/{LAST}")[0]["fc.weight"] for run in "ab")
    np.testing.assert_array_equal(before, after)


def test_options_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--shortcut", "A") == 2
    assert error_line(capsys) == "--shortcut is no option of noisy"
    assert train("--model", "resnet8", "--shortcut", "B", "--epochs", "1") == 0
    assert "layer2.0.downsample.0.weight" in checkpoint.load("run/" + LAST)[0]


# What is shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_all_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert train("--log-every", "1") == 0
    text = terminal.getvalue()
    for part in ("epoch 2/3 |", "| 3/4, loss ", " acc ", " images/s left 0:0"):
        assert part in text


def test_elsewhere_lines_are_rare_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(out="a") == 0
    assert capsys.readouterr().err == ""
    assert train("--log-every", "2", out="b") == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 * STEPS // 2
    assert lines[0].startswith("  epoch 1/3: 2/4, loss ")


# Hooks


def test_hooks_add_columns_that_resume_keeps(at_step, monkeypatch: pytest.MonkeyPatch) -> None:
    class Extra(loop.Hook):
        def on_epoch_end(self, run, row) -> None:
            row["zebra"] = row["ant"] = float(run.position.epoch)

    fit = loop.fit
    monkeypatch.setattr("minidl.train.__main__.fit", lambda run, hooks: fit(run, [Extra(), *hooks]))
    at_step(STEPS + 1, press_ctrl_c)
    train()
    assert main(["--resume", "run"]) == 0
    assert list(rows("run")[0])[-2:] == ["zebra", "ant"]
    assert [row["zebra"] for row in rows("run")] == ["1.0", "2.0", "3.0"]
