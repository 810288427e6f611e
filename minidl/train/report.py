"""What a run says at its start and at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minidl.data import class_counts
from minidl.train.build import Training
from minidl.train.cli import command
from minidl.train.interrupt import Interrupted
from minidl.train.priors import said_of
from minidl.train.progress import duration
from minidl.train.record import BEST, CONFIG, CURVES, LAST, METRICS
from minidl.train.state import longer


def heading(run: Training, folder: Path, notes: Sequence[str] = ()) -> str:
    """What will be trained on what, and where it is recorded."""
    config, at = run.config, run.position
    shape = "×".join(map(str, run.train_set.image_shape))
    lines = [
        f"{config.model}, {run.parameter_count:,} parameters, on the {config.device}"
        f"{'' if run.scale is None else ', mixed precision'}",
        f"{config.data}: {len(run.train_set):,} training and {len(run.test_set):,} test images, "
        f"{shape}, {run.train_set.num_classes} classes",
        f"{config.epochs} epochs of {run.steps_per_epoch} steps of {config.batch_size} images; "
        f"{config.opt}, {config.sched}, lr {config.lr:g}, seed {config.seed}",
        f"run folder: {folder}",
    ]
    if run.conversion is not None:
        lines.insert(1, said_of(run.conversion))
    if config.stage2_epochs:
        lines.append(f"then {config.stage2_epochs} epochs of a new classifier, lr {config.stage2_lr or config.lr:g}")
    lines += [class_sizes(run)] if run.shots else []
    if at.epoch or at.step:
        lines.append(f"going on after {place(run)}")
    return "\n".join([*lines, *notes]) + "\n"


def summary(run: Training, folder: Path) -> str:
    """Results, where they are, and what to try next."""
    history, best = run.position.history, run.position.best
    seconds = sum(row["seconds"] + row["test_seconds"] for row in history)
    lines = [
        f"test accuracy   {history[-1]['test_accuracy']:.2%} after the last epoch; "
        f"best {best['test_accuracy']:.2%}, epoch {best['epoch']:.0f}",
        *([f"by shots        {by_shots(run, history[-1])}"] if run.shots else []),
        *first_stage(run),
        f"time            {duration(seconds)} for {len(history)} epochs",
        f"parameters      {run.parameter_count:,}",
        f"in {folder}:   {CURVES}, {METRICS}, {CONFIG}, {BEST}, {LAST}",
        f"to try next:    {next_command(run, folder)}",
    ]
    return "\n" + "\n".join(lines)


def class_sizes(run: Training) -> str:
    """How unequal classes are, and which are many-, medium- and few-shot."""
    counts, config = class_counts(run.train_set), run.config
    limits = {"many": f" (> {config.many_shot})", "medium": "", "few": f" (< {config.few_shot})"}
    groups = ", ".join(f"{len(classes)} {name}-shot{limits[name]}" for name, classes in run.shots.items())
    return f"classes of {counts.max():,} to {counts.min():,} training images: {groups}"


def by_shots(run: Training, row: dict[str, float]) -> str:
    """Accuracy in each group of classes, from a row of the history."""
    return ", ".join(f"{name} {row[f'test_accuracy_{name}']:.2%}" for name in run.shots)


def first_stage(run: Training) -> list[str]:
    """What the network had reached before its classifier was renewed, if it was."""
    if run.position.stage == 1:
        return []
    row = run.position.history[run.config.epochs - 1]
    shots = f"; {by_shots(run, row)}" if run.shots else ""
    return [f"first stage     {row['test_accuracy']:.2%}{shots}"]


def next_command(run: Training, folder: Path) -> str:
    """A step further: from drawn images to photographs, and there to a longer run."""
    if run.config.data == "multiscale":
        return command("--data", "cifar10", "--download")
    return command("--resume", str(folder), *longer(run.config))


def place(run: Training) -> str:
    """Where training stands, in words."""
    at = run.position
    if at.step == 0:
        return f"epoch {at.epoch} of {run.config.total_epochs}"
    return f"step {at.step} of {run.steps_per_epoch} in epoch {at.epoch + 1} of {run.config.total_epochs}"


def stopped(run: Training, folder: Path, interrupted: Interrupted) -> str:
    """What was saved on a signal, and how to go on."""
    return f"\n{interrupted}: saved after {place(run)}; go on with\n  {command('--resume', str(folder))}"
