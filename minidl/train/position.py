"""Where training stands: with the arrays of the model and the optimiser, all that a resumed run needs.

The sums over an epoch stay where they are computed.  To look at one is to wait for every step before, which a GPU
would spend idle, so `read` is called now and then, and `count` after every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minidl.device import Array
from minidl.errors import CheckpointError


@dataclass
class Position:
    """The current epoch, and the sums over its steps so far.

    Attributes:
        stage: 1, or 2 in which the classifier is trained alone; see `train.stages`.
        epoch: epochs finished, of both.
        step: steps done of the current one.
        loss_sum: of every image's loss, before each step's update; on the device until it is read.
        correct: predictions that were right; likewise.
        seen: images.
        seconds: spent on them.
        history: a row for each finished epoch, as `metrics.csv` shows it.
    """

    stage: int = 1
    epoch: int = 0
    step: int = 0
    loss_sum: float | Array = 0.0
    correct: int | Array = 0
    seen: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.read_step = self.step  # the step at which the sums were last read

    def count(self, loss: Array, correct: Array, images: int) -> None:
        """One step more: its mean loss and right predictions, arrays of shape () that are not looked at."""
        self.step += 1
        self.loss_sum = self.loss_sum + loss.astype(np.float64) * images
        self.correct = self.correct + correct
        self.seen += images

    def read(self) -> tuple[int, int]:
        """Make numbers of the sums, waiting for them; returns the first and the last step that are new in them."""
        steps = min(self.read_step + 1, self.step), self.step
        self.loss_sum, self.correct, self.read_step = float(self.loss_sum), int(self.correct), self.step
        return steps

    def next_epoch(self, row: dict[str, float]) -> None:
        """The start of the next epoch, `row` having been this one's."""
        self.history.append(row)
        self.epoch += 1
        self.step, self.loss_sum, self.correct, self.seen, self.seconds, self.read_step = 0, 0.0, 0, 0, 0.0, 0

    @property
    def best(self) -> dict[str, float]:
        """The row with the highest test accuracy, the first of equals."""
        return max(self.history, key=lambda row: row["test_accuracy"])

    @property
    def columns(self) -> list[str]:
        """The names in the history's rows, in the order in which they came."""
        return list(dict.fromkeys(name for row in self.history for name in row))

    def to_json(self) -> dict[str, Any]:
        """JSON-able; the history as a table, which keeps the order of its columns."""
        self.read()
        rows = [[row.get(name) for name in self.columns] for row in self.history]
        return {**asdict(self), "history": {"columns": self.columns, "rows": rows}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> Position:
        """The position that `to_json` wrote.

        Raises:
            CheckpointError: it is not one.
        """
        try:
            columns = [str(name) for name in values["history"]["columns"]]
            rows = [zip(columns, row, strict=True) for row in values["history"]["rows"]]
            history = [{name: _number(value) for name, value in row if value is not None} for row in rows]
            counts = {name: _count(values[name]) for name in ("epoch", "step", "correct", "seen")}
            stage = _count(values.get("stage", 1))
            sums = {name: _finite(values[name]) for name in ("loss_sum", "seconds")}
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise CheckpointError(f"{source}: its record of where training stood is damaged") from error
        needed = {"epoch", "test_accuracy"}
        if stage not in (1, 2) or counts["epoch"] != len(history) or any(not needed <= row.keys() for row in history):
            raise CheckpointError(f"{source}: its record of where training stood contradicts itself")
        return cls(stage=stage, **counts, **sums, history=history)  # type: ignore[arg-type]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    return value


def _finite(value: Any) -> float:
    if not math.isfinite(_number(value)):
        raise ValueError(value)
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return value
