"""A small run, and what is asked of what it leaves."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from minidl import Tensor, checkpoint, nn
from minidl.device import get_array_module
from minidl.train.__main__ import main
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
            noise = self.noise.normal(1, 0.1, x.shape).astype(x.dtype)
            x = x * Tensor(get_array_module(x.data).asarray(noise))
        return self.fc(x)


def train(*flags: str, out: str = "run") -> int:
    """A small run of 3 epochs in the folder `out`."""
    small = ["--model", "noisy", "--batch-size", "16", "--epochs", "3", "--lr", "0.05", "--augment", "crop,flip"]
    return main([*small, "--out", out, *flags])


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
