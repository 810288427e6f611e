"""`python -m minidl.train` from the first line to the last: runs, their folders, and what stops them."""

from __future__ import annotations

import csv
import errno
import io
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minidl import Tensor, checkpoint, nn
from minidl.data import ArrayDataset, create_dataset, draw
from minidl.models import registry
from minidl.train import loop
from minidl.train.__main__ import main
from minidl.train.plots import TEST, TRAIN, draw_curves
from minidl.train.record import BEST, CLOCK, CONFIG, CURVES, LAST, METRICS

FILES = {BEST, CONFIG, CURVES, LAST, METRICS}
STEPS = 4  # an epoch: 70 images in batches of 16


class Noisy(nn.Module):
    """All that a resumed run must bring back: weights, running statistics, a generator."""

    def __init__(self, *, num_classes: int, rng: np.random.Generator) -> None:
        self.conv = nn.Conv2d(3, 4, 3, stride=4, rng=rng)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 8 * 8, num_classes, rng=rng)
        self.noise = rng.spawn(1)[0]

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x)).reshape(len(x), -1)  # (N,4,8,8) → (N,256)
        if self.training:
            x = x * self.noise.normal(1, 0.1, x.shape).astype(x.dtype)
        return self.fc(x)


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"train": draw(70, seed=0), "test": draw(40, seed=1)}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawn) -> None:
    """A small network and few images in place of the real ones, and a folder of their own to work in."""

    def few(name: str, *, split: str, **places: object) -> ArrayDataset:
        images, labels = drawn[split]
        return ArrayDataset(images, labels, class_names=[f"{name} {i}" for i in range(10)])

    monkeypatch.setitem(registry._MODELS, "noisy", registry.ModelInfo("noisy", Noisy, 32, ()))
    monkeypatch.setattr("minidl.train.images.create_dataset", few)
    monkeypatch.setattr("minidl.train.record.draw_curves", lambda rows, title, path: path.write_bytes(b""))  # slow
    monkeypatch.chdir(tmp_path)


def train(*flags: str, out: str = "run") -> int:
    """A small run of 3 epochs in the folder `out`."""
    small = ["--model", "noisy", "--batch-size", "16", "--epochs", "3", "--lr", "0.05", "--augment", "crop,flip"]
    return main([*small, "--out", out, *flags])


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """`at_step(n, act)`: call `act` in the n-th training step, before its update."""
    planned: dict[int, Callable[[], object]] = {}
    count = [0]
    step = loop.train_step

    def counted(*arguments):
        count[0] += 1
        if count[0] in planned:
            planned.pop(count[0])()
        return step(*arguments)

    monkeypatch.setattr(loop, "train_step", counted)

    def plan(n: int, act: Callable[[], object]) -> None:
        count[0] = 0
        planned[n] = act

    return plan


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def rows(folder: str) -> list[dict[str, str]]:
    """metrics.csv without the columns that a clock filled."""
    with open(Path(folder) / METRICS, newline="") as file:
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(file)]


def assert_same_run(a: str, b: str) -> None:
    """Every bit of two runs' results: metrics, weights, statistics, velocities, generators."""
    assert rows(a) == rows(b)
    for name in (LAST, BEST):
        (left, left_meta), (right, right_meta) = (checkpoint.load(Path(f) / name) for f in (a, b))
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key], err_msg=f"{name} {key}", strict=True)
        for meta in (left_meta, right_meta):
            meta["config"].pop("out", None)
            columns = meta["position"]["history"]["columns"]
            for row in meta["position"]["history"]["rows"]:
                row[:] = [value for name, value in zip(columns, row, strict=True) if name not in CLOCK]
        assert left_meta == right_meta


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that a refused command leaves."""
    text = capsys.readouterr().err
    assert text.startswith("minidl.train: error: ")
    assert text.count("\n") == 1
    return text.removeprefix("minidl.train: error: ").rstrip()


# What a run leaves


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


def test_a_folder_of_images_trains(monkeypatch: pytest.MonkeyPatch, drawn) -> None:
    monkeypatch.setattr("minidl.train.images.create_dataset", create_dataset)
    for split, (images, labels) in drawn.items():
        for i, (image, label) in enumerate(zip(images[:32], labels % 2, strict=False)):
            path = Path("pets", split, ("cat", "dog")[label], f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)  # (3,H,W) → (H,W,3)
    flags = ["--data", "pets", "--image-size", "32", "--workers", "0", "--augment", "flip", "--cutout", "4"]
    assert train(*flags, out="a") == train(*flags, out="b") == 0
    assert_same_run("a", "b")
    assert checkpoint.load("a/" + LAST)[1]["classes"] == ["cat", "dog"]


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


# Stopping and going on


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
    assert train() == 130
    assert "stopped at once" in capsys.readouterr().err
    assert {path.name for path in Path("run").iterdir()} <= FILES
    assert checkpoint.load("run/" + LAST)[1]["position"]["step"] == 0  # of the epoch's end: nothing was saved since
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
        (lambda a, m: m["position"].update(epoch=2), "record of where training stood"),
        (lambda a, m: m["position"].update(history=[]), "record of where training stood"),
        (lambda a, m: m["position"]["history"]["rows"][0].pop(), "record of where training stood"),
        (lambda a, m: m["generators"]["noise"].update(state=1), "random generator noise"),
        (lambda a, m: m["generators"].clear(), "random generators differ"),
        (lambda a, m: m.update(optimizer=3), "has no optimizer"),
        (lambda a, m: m["optimizer"].update(optimizer="AdamW"), "does not fit the optimiser"),
        (lambda a, m: a.pop("optimizer.velocity.fc.bias"), "velocity.fc.bias is missing"),
        (lambda a, m: a.pop("fc.bias"), "fc.bias is missing"),
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


# Mistakes and misfortunes


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nope"], "unknown argument --nope"),
        (["--batch-size", "71"], "--batch-size must be at most the number of training images, 70, got 71"),
        (["--limit-train", "8"], "--batch-size must be at most the number of training images, 8, got 16"),
        (["--data", "multiscael"], "(did you mean multiscale?)"),
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


@pytest.fixture
def disk_full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def fill() -> None:
        def fsync(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)

    return fill


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


# What is shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_all_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert train("--log-every", "1") == 0
    text = terminal.getvalue()
    for part in ("epoch 2/3 |", "| 3/4, loss ", ", acc ", " images/s, ", " left"):
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


# The real program


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
