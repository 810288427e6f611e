"""What is shown while training runs: a bar on a terminal, now and then a line anywhere else, a table row an epoch."""

from __future__ import annotations

import shutil
import sys
import time

from tqdm import tqdm

from minidl.train.build import Training
from minidl.train.loop import Hook, read

HEADER = "epoch  train: loss      acc  test: loss      acc        lr  images/s    time    left"
BAR = "{desc} |{bar:8}| {n_fmt}/{total_fmt}{postfix}"  # fits 80 columns with all its numbers
TERMINAL, LOG = 0.2, 30.0  # seconds between two updates, where --log-every does not say


class Display(Hook):
    """Progress on stderr, the table on stdout.

    Args:
        log_every: training steps between two updates; 0: as fits, by the clock.
    """

    def __init__(self, log_every: int = 0) -> None:
        self.log_every = log_every
        self.terminal = sys.stderr.isatty()
        self._bar: tqdm | None = None
        self._said = time.monotonic()
        self._titled = False
        self._test_seconds: float | None = None

    def on_step(self, run: Training) -> None:
        at = run.position
        if not (at.step % self.log_every == 0 if self.log_every else self._time_to_speak()):
            return
        read(run)
        numbers = (
            f"loss {at.loss_sum / at.seen:.4f} acc {at.correct / at.seen:.1%} "
            f"{at.seen / at.seconds:,.0f} images/s left {duration(self._left(run, at.seen / at.seconds))}"
        )
        self._show(f"epoch {at.epoch + 1}/{run.config.total_epochs}", at.step, run.steps_per_epoch, numbers)

    def on_test_step(self, run: Training, seen: int) -> None:
        if self._time_to_speak():
            self._show(f"epoch {run.position.epoch + 1}/{run.config.total_epochs}, test", seen, len(run.test_set))

    def on_epoch_end(self, run: Training, row: dict[str, float]) -> None:
        self.close()
        if not self._titled:
            print(HEADER)
            self._titled = True
        self._test_seconds = row["test_seconds"]
        left = duration(self._left(run, row["images_per_second"]))
        print(
            f"{row['epoch']:5.0f} {row['train_loss']:12.4f} {row['train_accuracy']:8.2%} "
            f"{row['test_loss']:11.4f} {row['test_accuracy']:8.2%} {row['lr']:9.2g} "
            f"{row['images_per_second']:9,.0f} {duration(row['seconds'] + row['test_seconds']):>7} {left:>7}",
            flush=True,
        )
        if run.config.stage2_epochs and run.position.epoch == run.config.epochs:
            print("second stage: a new classifier, class-aware; features frozen, in evaluation mode", flush=True)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _time_to_speak(self) -> bool:
        now = time.monotonic()
        if now - self._said < (TERMINAL if self.terminal else LOG):
            return False
        self._said = now
        return True

    def _show(self, title: str, done: int, total: int, numbers: str = "") -> None:
        if not self.terminal:
            print(f"  {title}: {done}/{total}{', ' if numbers else ''}{numbers}", file=sys.stderr, flush=True)
            return
        if self._bar is None:
            self._bar = tqdm(total=total, bar_format=BAR, leave=False, nrows=2, file=sys.stderr)
        self._bar.ncols = shutil.get_terminal_size().columns - 1  # never 0, as a terminal without a size claims
        self._bar.total, self._bar.n = total, done
        self._bar.set_description_str(title, refresh=False)
        self._bar.set_postfix_str(numbers, refresh=False)
        self._bar.refresh()

    def _left(self, run: Training, images_per_second: float) -> float:
        """Seconds to the end of the last epoch, its test included."""
        steps = run.config.total_epochs * run.steps_per_epoch - run.steps_done
        tests = run.config.total_epochs - run.position.epoch
        test = self._test_seconds
        if test is None:
            test = len(run.test_set) / (3 * images_per_second)  # a forward pass takes about a third of a step
        return steps * run.config.batch_size / images_per_second + tests * test


def duration(seconds: float) -> str:
    """Minutes and seconds, hours where there are any.

    Example:
        >>> duration(75), duration(3675)
        ('1:15', '1:01:15')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
