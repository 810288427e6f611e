"""Every test here trains a small network on few images, in a folder of its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from train_helpers import Noisy

from minidl.data import ArrayDataset, draw
from minidl.models import registry
from minidl.train import loop


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


@pytest.fixture
def disk_full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def fill() -> None:
        def fsync(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)

    return fill
