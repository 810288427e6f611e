"""Mistakes and misfortunes: one line each, and nothing half-written."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from train_helpers import FILES, STEPS, Noisy, error_line, train

from minidl import Tensor, checkpoint
from minidl.models import registry
from minidl.train.record import LAST


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nope"], "unknown argument --nope"),
        (["--batch-size", "71"], "--batch-size must be at most the number of training images, 70, got 71"),
        (["--limit-train", "8"], "--batch-size must be at most the number of training images, 8, got 16"),
        (["--data", "multiscael"], "(did you mean multiscale?)"),
        (["--data", "a" * 5000], ": File name too long"),
        (["--resume", "a" * 5000], ": File name too long"),
        (["--weights", "a" * 5000 + ".npz"], ": File name too long"),
        (["--out", "taken/run"], "cannot make the folder taken/run: Not a directory"),
        (["--out", "taken"], "--out: taken is a file, not a folder"),
        (["--out", "/proc/run"], "cannot make the folder /proc/run"),
        (["--model", "resnet18", "--limit-train", "1"], "--batch-size must be at most"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("")
    assert train(*flags) == 2
    assert message in error_line(capsys)
    assert not Path("run").exists()


def test_what_can_be_refused_at_once_is_refused_before_the_data_is_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(name: str, **places: object) -> None:
        raise AssertionError("the data was asked for")

    monkeypatch.setattr("minidl.train.images.create_dataset", draw)
    Path("taken").write_text("")
    Path("old").mkdir()
    Path("old", LAST).write_text("")
    for flags, message in {
        ("--out", "taken"): "--out: taken is a file, not a folder",
        ("--out", "old"): "--out: there is a run in old already",
        ("--weights", "none.npz"): "none.npz: there is no such file",
        ("--weights", "taken"): "taken: weights must be .npz or .safetensors",
    }.items():
        assert train(*flags, out="a/b/c" if "--weights" in flags else flags[1]) == 2
        assert error_line(capsys).startswith(message)
    assert sorted(path.name for path in Path().iterdir()) == ["old", "taken"]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("fc.bias", np.full(10, np.nan, np.float32), "w.npz: fc.bias must be finite, got nan"),
        ("fc.bias", np.zeros(10, np.int8), "w.npz: fc.bias must hold floating-point numbers, got dtype int8"),
        ("bn.running_var", np.full(4, -2.0), "w.npz: bn.running_var must be >= 0, got -2.0"),
    ],
)
def test_weights_that_are_none_are_one_line(
    name: str, array: np.ndarray, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("w.npz", **{name: array})
    assert train("--weights", "w.npz") == 2
    assert error_line(capsys) == message
    assert not Path("run").exists()


def test_a_missing_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert train("--device", "gpu") == 2
    assert error_line(capsys).startswith("device 'gpu': CuPy is not installed")


def test_a_wrong_number_of_threads_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIDL_THREADS", "many")
    assert train() == 2
    assert error_line(capsys) == "MINIDL_THREADS must be an integer >= 1, got 'many'"


def test_a_loss_that_is_no_number_stops_with_advice(at_step, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--lr", "1e30", "--sched", "constant") == 2
    line = error_line(capsys)
    assert line.startswith("the loss became ")
    assert "in epoch 1, step " in line
    assert "try --lr 1e+29, or --warmup-epochs 1" in line
    assert not Path("run", LAST).exists()


@pytest.mark.parametrize("act", ["train", "eval"])
def test_a_prior_that_refuses_nan_stops_with_the_same_advice(
    act: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Prior(Noisy):
        def forward(self, x: Tensor) -> Tensor:
            if not np.isfinite(self.fc.weight.data).all():
                raise ValueError("gaussian_kernel1d: sigma must be > 0, got nan")
            logits = super().forward(x)
            if self.training == (act == "train") and x.shape[0] > 1:  # not the image that is tried before training
                self.fc.weight.data = np.full_like(self.fc.weight.data, np.nan)
                return self(x)
            return logits

    monkeypatch.setitem(registry._MODELS, "noisy", registry.ModelInfo("noisy", Prior, 32, ()))
    assert train() == 2
    assert error_line(capsys).startswith(f"the loss became nan in epoch 1, step {1 if act == 'train' else STEPS}, at")


def test_images_too_small_for_the_model_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Picky(Noisy):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("conv2d: the output would be empty,\ngot 3")

    monkeypatch.setitem(registry._MODELS, "noisy", registry.ModelInfo("noisy", Picky, 32, ()))
    assert train() == 2
    assert error_line(capsys).startswith("--model noisy cannot take images of 3×32×32: conv2d: the output would be")


def test_too_little_memory_is_one_line(at_step, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise MemoryError("Unable to allocate 9 PiB")

    at_step(1, fail)
    assert train() == 2
    assert error_line(capsys).startswith("out of memory (Unable to allocate 9 PiB); try a smaller --batch-size")


def test_a_disk_full_from_the_start_is_one_line(disk_full, capsys: pytest.CaptureFixture[str]) -> None:
    disk_full()
    assert train() == 2
    assert error_line(capsys) == "cannot write run/config.toml: No space left on device"
    assert list(Path("run").iterdir()) == []


def test_a_disk_that_fills_leaves_the_last_checkpoint(disk_full, at_step, capsys: pytest.CaptureFixture[str]) -> None:
    train(out="whole")
    at_step(STEPS + 1, disk_full)
    capsys.readouterr()
    assert train() == 2
    line = error_line(capsys)
    assert line.startswith("cannot write run/last.safetensors: No space left on device; make room, then go on with: ")
    assert {path.name for path in Path("run").iterdir()} == FILES
    assert checkpoint.load("run/" + LAST)[1]["position"]["epoch"] == 1


def test_whoever_reads_the_output_may_leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return os.open(tmp_path / "gone", os.O_WRONLY | os.O_CREAT)

    monkeypatch.setattr(sys, "stdout", Gone())
    assert train() == 141
