"""The run's folder: configuration, metrics, curves and checkpoints, each whole or not there.

config.toml            every setting, to be used again with --config
metrics.csv            a row an epoch
curves.png             the same, drawn
last.safetensors       where training stands: --resume goes on from it
sigma.csv              σ of every layer that has one, a row an epoch; see `train.priors`
best.safetensors       the checkpoint of the epoch with the highest test accuracy
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from datetime import datetime
from pathlib import Path

from minidl import checkpoint
from minidl.errors import ConfigError, UserError
from minidl.files import written_whole
from minidl.train.build import Training
from minidl.train.cli import command
from minidl.train.config import Config
from minidl.train.loop import Hook
from minidl.train.plots import draw_curves
from minidl.train.position import Position
from minidl.train.priors import SIGMA, log_sigmas
from minidl.train.state import capture

CONFIG, METRICS, CURVES = "config.toml", "metrics.csv", "curves.png"
LAST, BEST = "last.safetensors", "best.safetensors"
CLOCK = (
    "seconds",
    "test_seconds",
    "images_per_second",
)  # the columns that differ between two equal runs; they come last
REDRAW = 20.0  # seconds between two drawings of the curves, which take a third of one


class Record(Hook):
    """Keeps a run's folder up to date.

    Attributes:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._drawn = -REDRAW

    def on_epoch_end(self, run: Training, row: dict[str, float]) -> None:
        self.save(run)
        if row is run.position.best:
            copy_whole(self.folder / LAST, self.folder / BEST)
        write_metrics(run.position, self.folder / METRICS)
        self.log_sigmas(run)
        if time.monotonic() - self._drawn > REDRAW or run.position.epoch == run.config.total_epochs:
            self.draw(run)

    def log_sigmas(self, run: Training) -> None:
        """Add σ as they are to their table, where an epoch begins."""
        if run.position.step == 0:
            log_sigmas(run.model, run.position.epoch, self.folder / SIGMA)

    def save(self, run: Training) -> None:
        """Write the checkpoint from which --resume goes on; if that fails, the one before is as it was."""
        try:
            checkpoint.save(self.folder / LAST, *capture(run))
        except UserError as error:
            before = (self.folder / LAST).is_file()
            hint = f"; make room, then go on with: {command('--resume', str(self.folder))}" if before else ""
            raise UserError(f"{error}{hint}") from error

    def draw(self, run: Training) -> None:
        if run.position.history:
            draw_curves(run.position.history, f"{run.config.model} on {run.config.data}", self.folder / CURVES)
            self._drawn = time.monotonic()


def check_folder(config: Config) -> None:
    """Refuse now what `new_folder` would refuse; nothing is left behind.

    Raises:
        UserError: as `new_folder`.
    """
    if not config.out:
        return  # a folder of its own is found when it is made
    folder = Path(config.out)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    _make(folder)
    for path in missing:
        path.rmdir()
    _there(folder, config)


def new_folder(config: Config) -> Path:
    """A folder of its own for a new run, made and writable, its configuration in it.

    Raises:
        UserError: there is a run in it already and `overwrite` was not asked for, or it cannot be written.
    """
    folder = Path(config.out) if config.out else _unused(config)
    _make(folder)
    try:
        for path in _there(folder, config):
            path.unlink()
    except OSError as error:
        raise UserError(f"--overwrite: cannot remove {path}: {error.strerror}") from error
    write_config(config, folder / CONFIG)
    return folder


def continued_folder(config: Config, path: Path, position: Position) -> Path:
    """The folder in which a resumed run goes on: the checkpoint's own, or a new one that branches off.

    Raises:
        UserError: it holds later epochs than the checkpoint, or another run, and `overwrite` was not asked for.
    """
    folder = Path(config.out or path.parent)
    if not (folder.exists() and folder.samefile(path.parent)):
        folder = new_folder(config)
        for name in (BEST, SIGMA):
            if (path.parent / name).is_file():
                copy_whole(path.parent / name, folder / name)
        write_metrics(position, folder / METRICS)
    elif path.name != LAST and (folder / LAST).exists() and not config.overwrite:
        raise ConfigError(
            f"--resume: {folder} holds {LAST}, which is further than {path.name}; "
            "add --out NEW to branch off, or --overwrite to lose it"
        )
    write_config(config, folder / CONFIG)
    return folder


def write_config(config: Config, path: Path) -> None:
    """Every setting as TOML, under the names of the flags; those that are unset are left out."""
    lines = [
        f"{name.replace('_', '-')} = {_toml(value)}\n"
        for name, value in config.items()
        if value is not None and name not in ("out", "overwrite")
    ]
    with written_whole(path) as beside:
        beside.write_text("".join(lines), encoding="utf-8")


def write_metrics(position: Position, path: Path) -> None:
    """The history as CSV.  Numbers are exact: read back, they are the same floats."""
    columns = sorted(position.columns, key=lambda name: name in CLOCK)  # stable: the others keep their order
    with written_whole(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(position.history)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that `target` is whole or as it was."""
    with written_whole(target) as beside:
        shutil.copyfile(source, beside)


def _there(folder: Path, config: Config) -> list[Path]:
    """The files of a run in `folder`, which may be replaced."""
    there = [folder / name for name in (LAST, BEST, METRICS, SIGMA, CURVES) if (folder / name).exists()]
    if there and not config.overwrite:
        raise ConfigError(f"--out: there is a run in {folder} already; choose another, --resume it, or add --overwrite")
    return there


def _toml(value: object) -> str:
    """A TOML value; JSON's strings are TOML's, but for DEL, which TOML wants escaped."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(f"--out: {folder} is a file, not a folder") from error
    except OSError as error:
        raise UserError(f"--out: cannot make the folder {folder}: {error.strerror}") from error


def _unused(config: Config) -> Path:
    """runs/DATE-MODEL-DATA, numbered if it is taken."""
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    data = re.sub(r"[^\w.-]+", "-", Path(config.data).resolve().name) or "data"
    name = f"{stamp}-{config.model}-{data}"
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(f"cannot make the folder {folder}: {error.strerror}; choose another with --out") from error
        else:
            return folder
