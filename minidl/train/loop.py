"""The training loop.

    for every epoch:
        after the last epoch of the first stage, if there is a second: a new classifier           stages.advance
        for every batch:  lr from the schedule;  logits = model(x);  loss;  backward;  update     train_epoch
        loss and accuracy on the test images                                                       evaluate
        one row of the history                                                                     finish_epoch

Where training stands is in `run.position` after every step, so that it can stop after any of them and go on
as if it had not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from minidl.autograd import Tensor, no_grad
from minidl.device import Array, asnumpy
from minidl.errors import UserError
from minidl.train import stages
from minidl.train.build import Training
from minidl.train.long_tail import accuracies


class Hook:
    """What else happens while training runs; any method may raise to stop it."""

    def on_step(self, run: Training) -> None:
        """After a training step."""

    def on_test_step(self, run: Training, seen: int) -> None:
        """After a batch of test images; `seen` of them are done."""

    def on_epoch_end(self, run: Training, row: dict[str, float]) -> None:
        """After `row` became the last of the history; a hook may add columns for the hooks after it."""


class Diverged(UserError):
    """The loss is no longer a number."""


def fit(run: Training, hooks: Sequence[Hook] = ()) -> None:
    """Train `run` from where it stands to its last epoch.

    Raises:
        Diverged: the loss became infinite or NaN.
    """
    while run.position.epoch < run.config.total_epochs:
        stages.advance(run)
        train_epoch(run, hooks)
        row = finish_epoch(run, evaluate(run, hooks))
        for hook in hooks:
            hook.on_epoch_end(run, row)


def train_epoch(run: Training, hooks: Sequence[Hook] = ()) -> None:
    """The rest of the current epoch, from the step at which it stands."""
    run.model.eval()
    run.trained.train()  # the whole model, but for a second stage
    at, began = run.position, time.perf_counter()
    for x, labels in run.train_loader.epoch(at.epoch, start=at.step):
        loss, correct = train_step(run, x, labels)
        now = time.perf_counter()
        at.count(loss, correct, len(labels), now - began)
        began = now
        for hook in hooks:
            hook.on_step(run)


def train_step(run: Training, x: Array, labels: Array) -> tuple[float, int]:
    """One update from one batch; its loss and how many predictions were right, both before the update."""
    run.optimizer.lr = run.schedule(run.steps_done)
    x, labels = run.device.asarray(x), run.device.asarray(labels)
    logits = answer(run, x)
    loss = run.loss(logits, labels)
    value = loss.item()
    if not math.isfinite(value):
        raise Diverged(_diverged(run, value))
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    return value, int((logits.data.argmax(axis=1) == labels).sum())


def answer(run: Training, x: Array) -> Tensor:
    """Logits (N, classes) of normalised images (N, C, H, W).

    Raises:
        Diverged: a layer refused them, since a parameter of its prior became infinite or NaN before the loss did.
    """
    try:
        return run.model(Tensor(x))
    except ValueError as error:
        if all(np.isfinite(asnumpy(p.data)).all() for p in run.model.parameters()):
            raise
        raise Diverged(_diverged(run, math.nan)) from error


@no_grad()
def evaluate(run: Training, hooks: Sequence[Hook] = ()) -> dict[str, float]:
    """Mean loss and accuracy on the test images, in all and by shots, and the seconds it took."""
    run.model.eval()
    predicted, loss_sum, seen, began = [], 0.0, 0, time.perf_counter()
    for x, labels in run.test_loader.epoch(0):
        x, labels = run.device.asarray(x), run.device.asarray(labels)
        logits = answer(run, x)
        loss_sum += run.test_loss(logits, labels).item() * len(labels)
        predicted.append(asnumpy(logits.data.argmax(axis=1)))
        seen += len(labels)
        for hook in hooks:
            hook.on_test_step(run, seen)
    seconds = round(time.perf_counter() - began, 3)
    answers, labels = np.concatenate(predicted), run.test_set.labels
    accuracy = {"test_accuracy": int((answers == labels).sum()) / seen, **accuracies(answers, labels, run.shots)}
    return {"test_loss": loss_sum / seen, **accuracy, "test_seconds": seconds}


def finish_epoch(run: Training, test: dict[str, float]) -> dict[str, float]:
    """Append the epoch's row to the history, and stand at the start of the next epoch."""
    at = run.position
    row: dict[str, float] = {
        "epoch": at.epoch + 1,
        **({"stage": at.stage} if run.config.stage2_epochs else {}),
        "lr": run.optimizer.lr,
        "train_loss": at.loss_sum / at.seen,
        "train_accuracy": at.correct / at.seen,
        **test,
        "seconds": round(at.seconds, 3),
        "images_per_second": round(at.seen / at.seconds, 1),
    }
    at.next_epoch(row)
    return row


def _diverged(run: Training, value: float) -> str:
    at = run.position
    calmer = "" if run.config.warmup_epochs else ", or --warmup-epochs 1"
    step = min(at.step + 1, run.steps_per_epoch)  # on test images all steps are done
    return (
        f"the loss became {value} in epoch {at.epoch + 1}, step {step}, at a learning rate of "
        f"{run.optimizer.lr:.3g}; try --lr {run.config.lr / 10:g}{calmer}"
    )
