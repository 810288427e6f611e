"""Training on few images of many classes: which images stay, how often each comes, what the loss makes of it.

    --imbalance 50                 class sizes fall exponentially, the first has 50 times the last's
    --sampling class_aware         every class equally often, whatever its size
    --loss logit_adjusted          z + τ ln π in training alone, π the class frequencies; see `priors.LogitAdjustment`

Accuracy is then reported for many-, medium- and few-shot classes, told apart by their training images.
The second stage, a classifier anew, is in `train.stages`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.data import Dataset, accuracy_by_shots, class_aware, class_counts, long_tailed, shot_groups
from minidl.data.loader import Order
from minidl.device import Device
from minidl.errors import ConfigError
from minidl.priors import LogitAdjustment
from minidl.train.config import Config

__all__ = ["accuracies", "balanced_order", "imbalanced", "loss", "order", "shots"]

Loss = Callable[[Tensor, Any], Tensor]

SUBSET_STREAM = 0x7A11  # keeps the choice of images apart from other random numbers of the same seed


def imbalanced(dataset: Dataset, config: Config) -> Dataset:
    """`dataset`, or the part of it that `--imbalance` asks for; the seed chooses which images stay.

    Raises:
        ConfigError: a class has no image.
    """
    if config.imbalance is None:
        return dataset
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(SUBSET_STREAM,)))
    try:
        return long_tailed(dataset, config.imbalance, rng=rng)
    except ValueError as error:
        raise ConfigError(f"--imbalance: {error}") from error


def order(config: Config, dataset: Dataset) -> Order | None:
    """The order in which training images come; None: each once an epoch, shuffled."""
    return balanced_order(config, dataset) if config.sampling == "class_aware" else None


def balanced_order(config: Config, dataset: Dataset) -> Order:
    """Class-aware: all classes equally often."""
    return class_aware(dataset.labels, config.samples_per_class)


def loss(config: Config, dataset: Dataset, device: Device) -> Loss:
    """Of training: (logits, labels) → mean over the batch."""
    if config.loss == "logit_adjusted":
        adjust = LogitAdjustment(class_counts(dataset), config.tau).to(device)
        return lambda z, labels: ops.cross_entropy(adjust(z), labels, label_smoothing=config.label_smoothing)
    return lambda z, labels: ops.cross_entropy(z, labels, label_smoothing=config.label_smoothing)


def shots(config: Config, train_set: Dataset, test_set: Dataset) -> dict[str, np.ndarray]:
    """Class numbers of the groups, many-, medium- and few-shot, whose accuracy is reported.

    Groups without test images are left out; and all are where there is but one and nobody asked for imbalance.
    """
    groups = shot_groups(class_counts(train_set), many=config.many_shot, few=config.few_shot)
    groups = {name: classes for name, classes in groups.items() if np.isin(test_set.labels, classes).any()}
    return groups if len(groups) > 1 or config.imbalance is not None else {}


def accuracies(predicted: np.ndarray, labels: np.ndarray, groups: dict[str, np.ndarray]) -> dict[str, float]:
    """Columns of the history, `test_accuracy_many` and so on; the arguments are those of `accuracy_by_shots`."""
    return {f"test_accuracy_{name}": value for name, value in accuracy_by_shots(predicted, labels, groups).items()}
