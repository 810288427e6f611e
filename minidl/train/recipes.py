"""Defaults that suit each data set, so that `--data NAME` alone trains well.

What a person gives goes before the recipe, the recipe before the defaults of `Config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minidl.data.cifar import CIFAR10, CIFAR100, find
from minidl.errors import ConfigError
from minidl.train.config import Config
from minidl.train.priors import consistent_priors

RECIPES: dict[str, dict[str, Any]] = {
    "multiscale": {"model": "resnet8", "epochs": 5, "batch_size": 64},
    "cifar10": {"model": "resnet20", "epochs": 8},
    "cifar100": {"model": "resnet20", "epochs": 12},
    "folder": {"model": "resnet18", "epochs": 10, "batch_size": 64, "image_size": 64},
}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"lr": 3e-3, "weight_decay": 0.05},  # steps of Adam do not grow with the gradient
}


def resolve(given: Mapping[str, Any]) -> Config:
    """The configuration that `given` asks for, its gaps filled from the recipes.

    Raises:
        ConfigError: two values contradict each other.

    Example:
        >>> config = resolve({"data": "cifar10", "lr": 0.2})
        >>> config.model, config.lr
        ('resnet20', 0.2)
    """
    data, opt = given.get("data", Config.data), given.get("opt", Config.opt)
    recipe = RECIPES[kind_of(data)]
    config = Config(**{**recipe, **OPTIMISERS[opt], **given, "data": data})
    consistent(config)
    return config


def kind_of(data: str) -> str:
    """The recipe that suits `data`: a name, a folder that holds CIFAR's files, or one of images."""
    name, folder = data.split(":")[0], Path(data).expanduser()
    held = (files.title for files in (CIFAR10, CIFAR100) if find(files, folder))
    return name if name in RECIPES else next(held, "folder")


def consistent(config: Config) -> None:
    """Refuse values that are possible each, but not together."""
    if config.warmup_epochs >= config.epochs:
        raise ConfigError(
            f"--warmup-epochs must be less than --epochs, got {config.warmup_epochs:g} and {config.epochs}"
        )
    if config.sched == "onecycle" and config.warmup_epochs:
        raise ConfigError(
            f"--sched onecycle warms up by itself; --warmup-epochs must be 0, got {config.warmup_epochs:g}"
        )
    if config.opt == "sgd" and config.nesterov and config.momentum == 0:
        raise ConfigError("--nesterov needs a --momentum > 0, got 0; add --no-nesterov")
    if config.loss == "logit_adjusted" and config.sampling == "class_aware":
        raise ConfigError("--loss logit_adjusted and --sampling class_aware both balance the classes; choose one")
    consistent_priors(config)
    if config.few_shot > config.many_shot:
        raise ConfigError(f"--few-shot must be at most --many-shot, {config.many_shot}, got {config.few_shot}")
