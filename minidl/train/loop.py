"""The training loop.

    for every epoch:
        after the last epoch of the first stage, if there is a second: a new classifier           stages.advance
        for every batch:  lr from the schedule;  logits = model(x);  loss;  backward;  update     train_epoch
        loss and accuracy on the test images                                                       evaluate
        one row of the history                                                                     finish_epoch

Where training stands is in `run.position` after every step, so that it can stop after any of them and go on
as if it had not.  On a GPU a step is only asked for: nothing waits for its results until `read` does, every
--log-every steps and at the end of an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from minidl import ops
from minidl.autograd import Tensor, no_grad
from minidl.device import Array, asnumpy
from minidl.errors import UserError
from minidl.precision import mixed_precision
from minidl.train import stages
from minidl.train.build import Training
from minidl.train.long_tail import accuracies

READ_EVERY = 50  # steps on a GPU between two looks at the loss, where --log-every does not say


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
    for x, labels in run.device.ahead(run.train_loader.epoch(at.epoch, start=at.step)):
        at.count(*train_step(run, x, labels), len(labels))
        if at.step % read_every(run) == 0 or at.step == run.steps_per_epoch:
            read(run)
        now = time.perf_counter()
        at.seconds, began = at.seconds + now - began, now
        for hook in hooks:
            hook.on_step(run)


def train_step(run: Training, x: Array, labels: np.ndarray) -> tuple[Array, Array]:
    """One update from one batch; its loss and how many predictions were right, before the update and not waited for.

    Args:
        run: what is trained.
        x: images on the device.
        labels: in NumPy's memory, where they can be checked without a wait.
    """
    run.optimizer.lr = run.schedule(run.steps_done)
    logits = answer(run, x)
    loss = run.loss(logits, labels)
    run.optimizer.zero_grad()
    loss.backward(None if run.scale is None else run.scale.cotangent)
    run.optimizer.step(run.scale)
    return loss.data, (logits.data.argmax(axis=1) == run.device.asarray(labels)).sum()


def read_every(run: Training) -> int:
    """Steps between two looks at the loss: a look is free on the CPU, and a wait on a GPU."""
    return 1 if run.device.name == "cpu" else run.config.log_every or READ_EVERY


def read(run: Training) -> None:
    """Wait for the sums in `run.position`, and make numbers of them.

    Raises:
        Diverged: the loss was infinite or NaN in a step since they were last read; or, in mixed precision, gradients
            are infinite however small the loss is made.
    """
    first, last = run.position.read()
    if not math.isfinite(run.position.loss_sum):
        raise Diverged(_diverged(run, run.position.loss_sum, first, last))
    if run.scale is not None and run.scale.hopeless:
        raise Diverged(f"gradients do not fit into float16 in epoch {run.position.epoch + 1}; try --precision float32")


def answer(run: Training, x: Array) -> Tensor:
    """Logits (N, classes), float32, of normalised images (N, C, H, W).

    Raises:
        Diverged: a layer refused them, since a parameter of its prior became infinite or NaN before the loss did.
    """
    try:
        if run.scale is None:
            return run.model(Tensor(x))
        with mixed_precision():
            return ops.astype(run.model(Tensor(x)), np.float32)
    except ValueError as error:
        if all(np.isfinite(asnumpy(p.data)).all() for p in run.model.parameters()):
            raise
        first, step = run.position.read_step + 1, run.position.step + 1
        raise Diverged(_diverged(run, math.nan, first, step)) from error


@no_grad()
def evaluate(run: Training, hooks: Sequence[Hook] = ()) -> dict[str, float]:
    """Mean loss and accuracy on the test images, in all and by shots, and the seconds it took."""
    run.model.eval()
    predicted: list[Array] = []
    loss_sum: float | Array = 0.0
    seen, began = 0, time.perf_counter()
    for x, labels in run.device.ahead(run.test_loader.epoch(0)):
        logits = answer(run, x)
        loss_sum = loss_sum + run.test_loss(logits, labels).data.astype(np.float64) * len(labels)
        predicted.append(logits.data.argmax(axis=1))
        seen += len(labels)
        for hook in hooks:
            hook.on_test_step(run, seen)
    loss_sum, answers, labels = float(loss_sum), np.concatenate([asnumpy(p) for p in predicted]), run.test_set.labels
    seconds = round(time.perf_counter() - began, 3)
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


def _diverged(run: Training, value: float, first: int, last: int) -> str:
    calmer = "" if run.config.warmup_epochs else ", or --warmup-epochs 1"
    first, last = (min(step, run.steps_per_epoch) for step in (first, last))  # on test images all steps are done
    steps = f"step {last}" if first == last else f"steps {first} to {last}"
    return (
        f"the loss became {value} in epoch {run.position.epoch + 1}, {steps}, at a learning rate of "
        f"{run.optimizer.lr:.3g}; try --lr {run.config.lr / 10:g}{calmer}"
    )
