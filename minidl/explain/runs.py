"""Finished runs of `minidl.train`, opened to be looked at: the network, the images it was tested on, its tables."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidl import checkpoint
from minidl.data import Dataset, create_dataset, decode
from minidl.errors import CheckpointError, DataError, UserError
from minidl.nn import Module
from minidl.train.build import network
from minidl.train.config import Config
from minidl.train.images import limited
from minidl.train.record import LAST, METRICS
from minidl.train.state import continued, restore_model

__all__ = ["Run", "choose", "open_run", "picture_files", "read_table", "table_of"]

SIGMA = "sigma.csv"
PRIORS = ("pool", "conv", "classifier")


@dataclass(frozen=True)
class Run:
    """A network as a run left it.

    Attributes:
        path: of the checkpoint.
        config: all settings of the run.
        model: in evaluation mode, on the CPU.
        class_names: what its outputs mean.
    """

    path: Path
    config: Config
    model: Module
    class_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The run's folder, with the checkpoint where that is not the last."""
        return self.path.parent.name if self.path.name == LAST else f"{self.path.parent.name}/{self.path.stem}"

    @property
    def title(self) -> str:
        """Network and priors: "resnet20, pool gaussian"."""
        values = [(name, getattr(self.config, name, None)) for name in PRIORS]
        return ", ".join([self.config.model, *(f"{name} {value}" for name, value in values if value)])

    def test_images(self, data: str | None = None, data_dir: str | None = None) -> Dataset:
        """The images that the run was tested on, in the same order.

        Args:
            data: in place of the run's own `--data`, should it have moved.
            data_dir: likewise.

        Raises:
            DataError: they cannot be had, or have other classes.
        """
        config, name = self.config, data or self.config.data
        try:
            dataset = create_dataset(
                name,
                split="test",
                data_dir=data_dir or config.data_dir,
                verify=config.verify,
                image_size=config.image_size,
                workers=0,  # a handful of images
            )
        except DataError as error:
            raise DataError(f"{error}; --data and --data-dir say where the images are now") from error
        if dataset.class_names != self.class_names:
            raise DataError(f"{name}: has other classes than those that {self.path} was trained on")
        return limited(dataset, config.limit_test)


def open_run(path: str) -> Run:
    """The run in a folder (its last checkpoint), or of one checkpoint.

    Raises:
        UserError: there is no run, or its checkpoint is damaged.
    """
    file = Path(path)
    if file.is_dir():
        file = file / LAST
        if not file.is_file():
            raise CheckpointError(f"{path}: is no run's folder, it has no {LAST}")
    arrays, meta = checkpoint.load(file)
    config, _ = continued(file, meta, {})
    names = _class_names(meta, file)
    model = network(config, len(names))
    restore_model(model, arrays, meta, str(file))
    return Run(file, config, model.eval(), names)


def _class_names(meta: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    names = meta.get("classes")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{file}: does not say what its classes are")
    return tuple(names)


def choose(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Indices of `count` images, of as many classes as there can be; the same for the same labels and seed.

    Nothing but the labels is looked at: what a network makes of an image has no part in the choice.

    Raises:
        DataError: there are fewer images.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 2])
        >>> sorted(labels[choose(labels, 3)].tolist())
        [0, 1, 2]
    """
    if count > len(labels):
        raise DataError(f"--rows must be at most {len(labels)}, the number of test images, got {count}")
    order = np.random.default_rng(seed).permutation(len(labels))
    seen: dict[int, int] = {}
    turns = []
    for i in order:  # an image's turn is how many of its class come before it
        turns.append(seen.get(int(labels[i]), 0))
        seen[int(labels[i])] = turns[-1] + 1
    return order[np.argsort(turns, kind="stable")[:count]]


def picture_files(paths: Sequence[str], size: int) -> np.ndarray:
    """Image files as a network sees them that was trained on a folder: upright RGB, the middle 7/8 as a square.

    Returns:
        uint8 (n, 3, size, size).

    Raises:
        DataError: a file gives no image.
    """
    views = []
    for path in paths:
        try:
            views.append(decode.view(decode.decode(path, 2 * size), size, None, 1.0))
        except decode.Unreadable as reason:
            raise DataError(f"{path}: {reason}") from reason
    return np.stack(views).transpose(0, 3, 1, 2)  # (n,S,S,3) → (n,3,S,S)


def table_of(path: str, name: str) -> tuple[str, dict[str, np.ndarray]]:
    """What a run is called, and the columns of one of its tables, `metrics.csv` or `sigma.csv`.

    Args:
        path: the run's folder, or a file in it.

    Raises:
        UserError: there is none, or it is damaged.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    file = folder / name
    if not file.is_file():
        why = ""
        if name == SIGMA and (folder / METRICS).is_file():
            why = ": the run has no layer with a learned σ; train with --conv gaussian"
        raise UserError(f"{path}: there is no {name}{why}")
    return folder.resolve().name, read_table(file)


def read_table(file: Path) -> dict[str, np.ndarray]:
    """The columns of a CSV file of numbers, one of them "epoch"; what is missing is NaN.

    Raises:
        UserError: it cannot be read, or is no such table.
    """
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(lines)
        columns = {name: np.array([float(row[i] or "nan") for row in rows]) for i, name in enumerate(header)}
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, csv.Error) as error:
        raise UserError(f"{file}: is damaged, or no table of numbers") from error
    if "epoch" not in columns or not rows:
        raise UserError(f"{file}: has no epoch in it")
    epochs = columns["epoch"]
    if not ((epochs >= 0) & (epochs < 2**32)).all():
        raise UserError(f"{file}: epoch must be a number from 0 to {2**32 - 1}, got {epochs.tolist()}"[:200])
    return columns
