"""Stopping a run and going on: as if nothing had happened, or not at all."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from train_helpers import FILES, STEPS, assert_same_run, error_line, press_ctrl_c, rows, train

from minidl import checkpoint
from minidl.train import loop
from minidl.train.__main__ import main
from minidl.train.record import LAST


@pytest.mark.parametrize("step", [1, STEPS, STEPS + 2, 3 * STEPS])
def test_a_resumed_run_equals_one_never_interrupted(at_step, step: int, capsys: pytest.CaptureFixture[str]) -> None:
    train(out="whole")
    at_step(step, press_ctrl_c)
    assert train(out="cut") == 130
    assert {path.name for path in Path("cut").iterdir()} <= FILES
    line = capsys.readouterr().out.splitlines()[-1].strip()
    assert line == "python -m minidl.train --resume cut"
    assert main(shlex.split(line)[3:]) == 0
    assert_same_run("whole", "cut")


@pytest.mark.parametrize(
    "flags",
    [
        ("--model", "resnet8"),
        ("--opt", "adamw", "--label-smoothing", "0.1"),
        ("--sched", "cosine", "--warmup-epochs", "1"),
    ],
)
def test_so_it_does_whatever_is_trained(at_step, flags: tuple[str, ...]) -> None:
    train(*flags, out="whole")
    at_step(STEPS + 2, press_ctrl_c)
    assert train(*flags, out="cut") == 130
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


def test_a_run_may_be_stopped_again_and_again(at_step) -> None:
    train(out="whole")
    at_step(2, press_ctrl_c)
    assert train(out="cut") == 130
    for _ in range(3):
        at_step(3, press_ctrl_c)
        assert main(["--resume", "cut/" + LAST]) == 130
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


def test_a_test_of_the_model_may_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    train(out="whole")
    evaluate = loop.evaluate

    def evaluated(*arguments):
        press_ctrl_c()
        return evaluate(*arguments)

    monkeypatch.setattr(loop, "evaluate", evaluated)
    assert train(out="cut") == 130
    monkeypatch.setattr(loop, "evaluate", evaluate)
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


def test_sigterm_saves_as_well(at_step) -> None:
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert train() == 128 + signal.SIGTERM
    assert checkpoint.load("run/" + LAST)[1]["position"]["step"] == 2


def test_a_second_ctrl_c_stops_at_once(at_step, capsys: pytest.CaptureFixture[str]) -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    at_step(STEPS + 2, twice)
    before = signal.getsignal(signal.SIGINT)  # a shell's job in the background ignores it
    assert train() == 130
    assert "stopped at once" in capsys.readouterr().err
    assert {path.name for path in Path("run").iterdir()} <= FILES
    assert checkpoint.load("run/" + LAST)[1]["position"]["step"] == 0  # of the epoch's end: nothing was saved since
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_can_be_extended(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    assert main(["--resume", "run"]) == 2
    assert error_line(capsys) == "--resume: run/last.safetensors has finished its 3 epochs; add --epochs 6 to train on"
    assert main(["--resume", "run", "--epochs", "4"]) == 0
    assert "changed on the way, so not the run it would have been: --epochs 3 → 4" in capsys.readouterr().out
    assert [row["epoch"] for row in rows("run")] == ["1", "2", "3", "4"]


def test_a_run_can_branch_off(at_step) -> None:
    at_step(STEPS + 2, press_ctrl_c)
    train()
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    assert main(["--resume", "run", "--out", "branch"]) == 0
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    train(out="whole")
    assert_same_run("whole", "branch")


def test_going_on_from_an_older_checkpoint_asks_first(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    Path("run/early.safetensors").write_bytes(Path("run", LAST).read_bytes())
    assert main(["--resume", "run/early.safetensors", "--epochs", "4"]) == 2
    assert "add --out NEW to branch off, or --overwrite to lose it" in error_line(capsys)
    assert main(["--resume", "run/early.safetensors", "--epochs", "4", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "resnet8"], "--model resnet8: run/last.safetensors was trained with noisy, which cannot change"),
        (["--batch-size", "8"], "--batch-size 8: run/last.safetensors was trained with 16"),
        (["--data", "cifar10"], "--data cifar10: run/last.safetensors was trained with multiscale"),
        (["--opt", "adamw"], "--opt adamw: run/last.safetensors was trained with sgd"),
    ],
)
def test_what_cannot_change_on_the_way(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "1")
    assert main(["--resume", "run", "--epochs", "2", *flags]) == 2
    assert error_line(capsys).startswith(message)


def tampered(change: Callable[[dict, dict], object]) -> None:
    """run/last.safetensors with its arrays or dictionary changed."""
    arrays, meta = checkpoint.load("run/" + LAST)
    change(arrays, meta)
    checkpoint.save("run/" + LAST, arrays, meta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, m: m.update(format="other"), "is no checkpoint of a training run"),
        (lambda a, m: m.pop("config"), "has no config"),
        (lambda a, m: m["config"].pop("model"), "its configuration has no model"),
        (lambda a, m: m["config"].update(lr="0.1"), "lr must be a number"),
        (lambda a, m: m["config"].update(evil=1), "unknown entry 'evil'"),
        (lambda a, m: m["config"].update(model="resnet8"), "belongs to another"),
        (lambda a, m: m["position"].update(step=-1), "record of where training stood"),
        (lambda a, m: m["position"].update(step=10**9), "record of where training stood"),
        (lambda a, m: m["position"].update(step=STEPS), "contradicts itself"),  # of which no image was counted
        (lambda a, m: m["position"].update(step=1, seen=16), "contradicts itself"),  # in no time
        (lambda a, m: m["position"].update(correct=1), "contradicts itself"),
        (lambda a, m: m["position"].update(loss_sum=10**400), "where training stood is damaged"),
        (lambda a, m: m["position"].update(loss_sum=float("nan")), "where training stood is damaged"),
        (lambda a, m: m["position"].update(epoch=2), "record of where training stood"),
        (lambda a, m: m["position"].update(history=[]), "record of where training stood"),
        (lambda a, m: m["position"]["history"]["rows"][0].pop(), "record of where training stood"),
        (lambda a, m: m["generators"]["noise"].update(state=1), "random generator noise"),
        (lambda a, m: m["generators"].clear(), "random generators differ"),
        (lambda a, m: m.update(optimizer=3), "has no optimizer"),
        (lambda a, m: m["optimizer"].update(optimizer="AdamW"), "does not fit the optimiser"),
        (lambda a, m: a.pop("optimizer.velocity.fc.bias"), "velocity.fc.bias is missing"),
        (lambda a, m: a.pop("fc.bias"), "fc.bias is missing"),
        (
            lambda a, m: a.update({"fc.bias": np.zeros(10, np.int8)}),
            "fc.bias must hold floating-point numbers, got dtype",
        ),
        (lambda a, m: a.update({"fc.bias": np.full(10, np.nan)}), "is damaged: fc.bias must be finite, got nan"),
        (lambda a, m: a.update({"bn.running_var": np.full(4, -1.0)}), "bn.running_var must be >= 0, got -1.0"),
        (
            lambda a, m: a.update({"optimizer.velocity.fc.bias": np.full(10, np.inf)}),
            "velocity.fc.bias must hold finite floating-point numbers",
        ),
        (lambda a, m: a.update({"fc.bias": np.zeros(3, np.float32)}), "fc.bias must have shape (10,), got (3,)"),
        (lambda a, m: m.update(images=[70, 41]), "was trained on other data"),
        (lambda a, m: m.update(classes=["cat"]), "was trained on other data"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "1")
    tampered(change)
    assert main(["--resume", "run", "--epochs", "2"]) == 2
    assert message in error_line(capsys)
    assert [row["epoch"] for row in rows("run")] == ["1"]


def test_a_checkpoint_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("half.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    for path, message in {
        "nowhere": "there is no run or checkpoint nowhere",
        "empty": "there is no last.safetensors in empty",
        "half.safetensors": "half.safetensors: is truncated or no safetensors file",
    }.items():
        assert main(["--resume", path]) == 2
        assert message in error_line(capsys)


def test_the_real_program_stops_on_ctrl_c_and_goes_on(tmp_path: Path) -> None:
    flags = ["--limit-train", "256", "--limit-test", "64", "--batch-size", "32", "--epochs", "200", "--log-every", "1"]
    command = [sys.executable, "-m", "minidl.train"]
    process = subprocess.Popen(
        [*command, *flags, "--out", "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    process.stderr.readline()  # the first step is done
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out.splitlines()[-1].strip() == "python -m minidl.train --resume run"
    arrays, meta = checkpoint.load(tmp_path / "run" / LAST)
    assert 0 < meta["position"]["step"] + 8 * meta["position"]["epoch"] < 200 * 8
    assert all(np.isfinite(a).all() for a in arrays.values())
