"""Models by name: `create_model("resnet20", num_classes=10, rng=rng)`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.nn.module import Module

__all__ = ["ModelInfo", "create_model", "model_info", "model_names", "register"]

Builder = Callable[..., Module]


@dataclass(frozen=True)
class ModelInfo:
    """What the registry knows of a model.

    Attributes:
        name: by which it is created.
        build: function with keyword arguments num_classes, rng and the model's options.
        image_size: side of the images that it was designed for, in pixels.
        options: names of the further keyword arguments.
    """

    name: str
    build: Builder
    image_size: int
    options: tuple[str, ...]


_MODELS: dict[str, ModelInfo] = {}


def register(name: str, *, image_size: int) -> Callable[[Builder], Builder]:
    """Decorator that puts a builder, `build(*, num_classes, rng, **options) -> Module`, under `name`.

    Args:
        name: under which `create_model` will find it.
        image_size: side of the images that it is designed for, in pixels.

    Returns:
        The decorator, which gives the builder back as it is.

    Raises:
        ValueError: the name is taken, or the builder lacks one of the two arguments.

    Example:
        >>> @register("half", image_size=32)
        ... def half(num_classes):
        ...     return Module()
        Traceback (most recent call last):
        ValueError: ...
    """

    def add(build: Builder) -> Builder:
        arguments = [p.name for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
        if not {"num_classes", "rng"} <= set(arguments):
            raise ValueError(f"register: {name}'s builder must take keywords num_classes and rng, got {arguments}")
        if name in _MODELS:
            raise ValueError(f"register: a model named {name!r} is there already")
        options = tuple(a for a in arguments if a not in ("num_classes", "rng"))
        _MODELS[name] = ModelInfo(name, build, image_size, options)
        return build

    return add


def model_names() -> list[str]:
    """The names that `create_model` knows, in the order of registration.

    Example:
        >>> "resnet20" in model_names()
        True
    """
    return list(_MODELS)


def model_info(name: str) -> ModelInfo:
    """What is known of the model called `name`.

    Args:
        name: one of `model_names()`.

    Returns:
        Its builder, image size and options.

    Raises:
        ValueError: there is none; the message suggests similar names.

    Example:
        >>> model_info("resnet20").image_size
        32
    """
    if name not in _MODELS:
        near = difflib.get_close_matches(str(name), _MODELS, n=3) or list(_MODELS)
        raise ValueError(f"create_model: there is no model {name!r}; try {', '.join(near)}")
    return _MODELS[name]


def create_model(name: str, *, num_classes: int, rng: np.random.Generator, **options: Any) -> Module:
    """A new model in float32, in training mode.

    Args:
        name: one of `model_names()`.
        num_classes: number of outputs, >= 1.
        rng: where the initial weights come from.
        options: the model's own, such as `in_channels`; see `model_info(name).options`.

    Returns:
        The model, a Module from images (N, C, H, W) to logits (N, num_classes).

    Raises:
        ValueError: there is no such model or option, or an option's value is impossible.

    Example:
        >>> model = create_model("resnet20", num_classes=10, rng=np.random.default_rng(0))
        >>> sum(p.size for p in model.parameters())
        269722
    """
    info = model_info(name)
    for option in options:
        if option not in info.options:
            raise ValueError(f"create_model: {name} has no option {option!r}; it has {', '.join(info.options)}")
    if isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)) or num_classes < 1:
        raise ValueError(f"create_model: num_classes must be an integer >= 1, got {num_classes!r}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"create_model: rng must be a numpy.random.Generator, got {type(rng).__name__}")
    return info.build(num_classes=int(num_classes), rng=rng, **options)
