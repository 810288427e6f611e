"""The images that a configuration asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minidl.data import Compose, Cutout, Dataset, Subset, create_augment, create_dataset, dataset_names
from minidl.errors import DataError
from minidl.train.config import Config, did_you_mean
from minidl.train.long_tail import imbalanced


def datasets(config: Config) -> tuple[Dataset, Dataset]:
    """Training and test images, limited to as many as `config` says; then classes of training become imbalanced.

    Raises:
        UserError: they cannot be had.
    """
    places: dict[str, Any] = {
        "data_dir": config.data_dir,
        "verify": config.verify,
        "download": config.download,
        "image_size": config.image_size,
        "min_area": config.min_area,
        "workers": config.workers,
    }
    known = [name.split(":")[0] for name in dataset_names()]
    if config.data.split(":")[0] not in known and not Path(config.data).expanduser().exists():
        suggestion = did_you_mean(config.data, known)
        raise DataError(
            f"--data must be one of {', '.join(dict.fromkeys(known))}, or a folder of images, "
            f"got {config.data}{suggestion}"
        )
    train = create_dataset(config.data, split="train", **places)
    test = create_dataset(config.data, split="test", **places)
    return imbalanced(limited(train, config.limit_train), config), limited(test, config.limit_test)


def limited(dataset: Dataset, count: int | None) -> Dataset:
    """`count` images drawn from all over `dataset`, in its order; the same for every seed of the run."""
    if count is None or count >= len(dataset):
        return dataset
    return Subset(dataset, np.sort(np.random.default_rng(0).permutation(len(dataset))[:count]))


def augmentation(config: Config, dataset: Dataset) -> Compose | None:
    """The random changes of training images: those of `--augment`, then `--cutout`.

    None for "none": then a folder's images are not cut at random either; see `Loader`.
    """
    if config.augment == "none" and not config.cutout:
        return None
    chosen = config.augment.split(",") if config.augment else dataset.default_augment
    changes = create_augment([name for name in chosen if name != "none"], min(dataset.image_shape[1:]))
    return Compose(*changes.transforms, *([Cutout(config.cutout)] if config.cutout else []))
