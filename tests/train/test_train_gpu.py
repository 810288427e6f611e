"""Training on a GPU, on the strict stand-in for CuPy: where it waits, what it copies, what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from train_helpers import STEPS, assert_same_run, error_line, press_ctrl_c, rows, train

from minidl import checkpoint
from minidl.device import Device, get_device, memory_limit
from minidl.precision import LossScale
from minidl.train import loop
from minidl.train.__main__ import main
from minidl.train.record import LAST
from tests.gpu.strict import HostWaits, counts, installed, no_waits


@pytest.fixture
def gpu() -> Iterator[Device]:
    with installed():
        yield get_device("gpu")


@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_a_step_waits_for_nothing(gpu: Device, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, seen = loop.train_step, []

    def without_a_wait(*arguments):
        with no_waits():
            seen.append(step(*arguments))
        return seen[-1]

    monkeypatch.setattr(loop, "train_step", without_a_wait)
    assert train("--device", "gpu", "--epochs", "1", "--precision", precision) == 0
    assert len(seen) == STEPS
    with pytest.raises(HostWaits), no_waits():
        float(seen[0][0])


@pytest.mark.parametrize(("log_every", "at"), [(0, [4]), (1, [1, 2, 3, 4]), (3, [3, 4])])
def test_the_loss_is_read_where_it_is_asked_for(
    gpu: Device, log_every: int, at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, steps = loop.read, []
    monkeypatch.setattr(loop, "read", lambda run: (steps.append(run.position.step), read(run)))
    assert train("--device", "gpu", "--epochs", "1", "--log-every", str(log_every)) == 0
    assert steps == at


def test_a_run_there_is_the_run_here(gpu: Device) -> None:
    train(out="cpu")
    train("--device", "gpu", out="gpu")
    for a, b in zip(rows("cpu"), rows("gpu"), strict=True):
        np.testing.assert_allclose([float(v) for v in b.values()], [float(v) for v in a.values()], rtol=0.02)
    first = [checkpoint.load(f"{run}/{LAST}")[0]["fc.weight"] for run in ("cpu", "gpu")]
    np.testing.assert_allclose(first[1], first[0], atol=1e-4)


@pytest.mark.parametrize("opt", ["sgd", "adamw"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(gpu: Device, at_step, opt: str) -> None:
    flags = ["--device", "gpu", "--opt", opt, "--epochs", "2"]
    train(*flags, out="whole")
    at_step(STEPS + 2, press_ctrl_c)
    assert train(*flags, out="cut") == 130
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_mixed_precision_trains_stops_and_goes_on_to_the_same_bits(
    gpu: Device, at_step, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--device", device, "--precision", "mixed"]
    train(*flags, out="whole")
    assert f"on the {device}, mixed precision" in capsys.readouterr().out
    at_step(STEPS + 2, press_ctrl_c)
    assert train(*flags, out="cut") == 130
    arrays, meta = checkpoint.load("cut/" + LAST)
    assert {a.dtype.name for a in arrays.values()} == {"float32"}
    assert set(meta["loss_scale"]) == {"scale", "good_steps"}
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")
    train(out="single")
    losses = [[float(row["train_loss"]) for row in rows(run)] for run in ("whole", "single")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


def test_a_damaged_loss_scale_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    train("--precision", "mixed", "--epochs", "1")
    arrays, meta = checkpoint.load("run/" + LAST)
    meta["loss_scale"]["scale"] = float("nan")
    checkpoint.save("run/" + LAST, arrays, meta)
    assert main(["--resume", "run", "--epochs", "2"]) == 2
    assert "run/last.safetensors: its loss scale is damaged" in error_line(capsys)


def test_gradients_that_never_fit_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("minidl.train.build.LossScale", lambda device: LossScale(device, first=2.0**-14))
    judge = LossScale.judge
    monkeypatch.setattr(LossScale, "judge", lambda self, g: judge(self, g * np.float32(np.inf)))
    assert train("--precision", "mixed") == 2
    assert error_line(capsys) == "gradients do not fit into float16 in epoch 1; try --precision float32"


def test_a_run_moves_from_one_device_to_the_other(gpu: Device, at_step, capsys: pytest.CaptureFixture[str]) -> None:
    at_step(STEPS + 2, press_ctrl_c)
    assert train("--device", "gpu") == 130
    assert main(["--resume", "run", "--device", "cpu"]) == 0
    assert "changed on the way, so not the run it would have been: --device gpu → cpu" in capsys.readouterr().out


def test_a_loss_that_is_no_number_is_told_with_the_steps_it_may_be_of(
    gpu: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--device", "gpu", "--lr", "1e30", "--sched", "constant") == 2
    assert "in epoch 1, steps 1 to 4, at a learning rate of 1e+30; try --lr 1e+29" in error_line(capsys)
    assert not Path("run", LAST).exists()


def test_batches_come_whole_and_in_order(gpu: Device) -> None:
    rng = np.random.default_rng(0)
    made = [(rng.normal(size=(n, 3, 4, 4)).astype(np.float32), np.arange(n)) for n in (4, 4, 2)]
    for depth in (0, 1, 2, 5):
        given = list(gpu.ahead(iter(made), depth))
        for (images, labels), (x, same) in zip(made, given, strict=True):
            assert isinstance(x, gpu.xp.ndarray)
            assert same is labels
            np.testing.assert_array_equal(x.get(), images)
    counts.clear()
    batches = gpu.ahead(iter(made))
    with no_waits():
        first = next(batches)[0]
        next(batches)
    batches.close()  # as a `break` does: the copies under way are waited for, then
    assert counts.waits == {"Stream.synchronize": 1}
    np.testing.assert_array_equal(first.get(), made[0][0])


def test_too_little_memory_is_one_line_with_what_to_do(gpu: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--device", "gpu", "--gpu-memory", "100kB") == 2
    line = error_line(capsys)
    assert line.startswith("out of memory (")
    assert "try a smaller --batch-size" in line
    assert line.endswith("; or more of the card: --gpu-memory 1.0")


@pytest.mark.parametrize("text", ["", "much", "0", "1.5", "-1", "0.5GBB", "4 XB", "nan"])
def test_a_limit_of_memory_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a share of the card as 0\.9, or bytes as 4GB or 512MiB, got"):
        memory_limit(text)


def test_a_limit_of_memory_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--gpu-memory", "much") == 2
    assert error_line(capsys) == "--gpu-memory must be a share of the card as 0.9, or bytes as 4GB or 512MiB, got much"
