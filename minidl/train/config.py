"""Everything that decides a run: one field of `Config` is one flag and one entry of a configuration file.

    --batch-size 64          on the command line
    batch-size = 64          in a TOML file
    config.batch_size        in the source

A field's metadata holds its help text, its rule, and what a resumed run may do with it:

    fixed    decides the shape or the order of what the checkpoint holds: cannot change
    free     has no influence on the numbers: may change silently
    noted    may change, but the run then differs from one that was never interrupted, and is told so
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from minidl.device import memory_limit
from minidl.errors import ConfigError

Rule = Callable[[Any], str | None]  # what is wrong with a value ("must be > 0"), or None
Resume = Literal["fixed", "free", "noted"]


def at_least(minimum: int) -> Rule:
    """An integer from `minimum` on, within what a slip of the finger may cost."""
    return lambda value: f"must be an integer >= {minimum}" if value < minimum else between(minimum, 2**32 - 1)(value)


def between(low: int, high: int) -> Rule:
    """An integer in [low, high]."""
    return lambda value: None if low <= value <= high else f"must be an integer from {low} to {high}"


def number(low: float, high: float = math.inf, *, open_low: bool = False) -> Rule:
    """A finite number in [low, high), or in (low, high)."""
    interval = f"> {low:g}" if open_low else f">= {low:g}"
    interval += "" if math.isinf(high) else f" and < {high:g}"

    def rule(value: float) -> str | None:
        inside = (value > low or (value == low and not open_low)) and value < high
        return None if inside and math.isfinite(value) else f"must be a finite number {interval}"

    return rule


def memory(value: str) -> str | None:
    """A share of a card's memory, or bytes."""
    try:
        memory_limit(value)
    except ValueError as error:
        return str(error).rpartition(", got")[0]
    return None


def share(value: float) -> str | None:
    """A part of a whole: in (0, 1]."""
    return None if 0 < value <= 1 else "must be > 0 and <= 1"


@dataclass(frozen=True)
class OneOf:
    """The rule of a name from a list; `names` is called only when it is needed."""

    names: Callable[[], Iterable[str]]

    def __call__(self, value: str) -> str | None:
        allowed = list(self.names())
        return None if value in allowed else f"must be one of {', '.join(allowed)}{did_you_mean(value, allowed)}"


@dataclass(frozen=True)
class AllOf(OneOf):
    """The rule of names from a list, joined by commas."""

    def __call__(self, value: str) -> str | None:
        wrong = [w for w in map(super().__call__, value.split(",")) if w]
        return wrong[0].replace("one of", "of") if wrong else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` if something in `known` is close to `word`, else nothing.

    Example:
        >>> did_you_mean("--epoch", ["--epochs", "--lr"])
        ' (did you mean --epochs?)'
    """
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def option(default: Any, group: str, help: str, rule: Rule | None = None, resume: Resume = "fixed") -> Any:
    """A field of the configuration that is also a flag, with what `--help` says of it and what it refuses."""
    metadata = {"group": group, "help": help, "rule": rule, "resume": resume}
    return dataclasses.field(default=default, metadata=metadata)


def _models() -> list[str]:
    from minidl.models import model_names

    return model_names()


def _augments() -> list[str]:
    from minidl.data import augment_names

    return [*augment_names(), "none"]


def _optimizers() -> list[str]:
    from minidl.optim import optimizer_names

    return optimizer_names()


def _pools() -> list[str]:
    from minidl.priors.convert import POOLS

    return list(POOLS)


def _convs() -> list[str]:
    from minidl.priors.convert import CONVS

    return list(CONVS)


def _classifiers() -> list[str]:
    from minidl.priors.convert import CLASSIFIERS

    return list(CLASSIFIERS)


def _schedules() -> list[str]:
    from minidl.schedule import schedule_names

    return schedule_names()


SAMPLINGS = ("natural", "class_aware")
LOSSES = ("cross_entropy", "logit_adjusted")
PRECISIONS = ("float32", "mixed")


@dataclass(frozen=True)
class Config:
    """A checked configuration.  `recipes.resolve` fills what a person left out."""

    model: str = option("resnet8", "model", "network", OneOf(_models))

    shortcut: str | None = option(None, "model", "of a CIFAR ResNet's blocks", OneOf(lambda: ("A", "B")))
    weights: str | None = option(None, "model", "start from the weights in this .npz or .safetensors file")

    pool: str | None = option(None, "priors", "pooling in the places of Gaussian pooling", OneOf(_pools))
    pool_prior: str | None = option(
        None, "priors", "law of the pooling weight", OneOf(lambda: ("inverse_softplus", "half_gaussian"))
    )
    pool_parameters: str | None = option(
        None, "priors", "where its parameters come from", OneOf(lambda: ("adaptive", "learned", "fixed"))
    )
    pool_noise: str | None = option(None, "priors", "one draw for each", OneOf(lambda: ("channel", "position", "none")))
    pool_inference: str | None = option(None, "priors", "weight in evaluation", OneOf(lambda: ("median", "mean")))
    pool_activation: str | None = option(None, "priors", "of maxent", OneOf(lambda: ("sigmoid", "softplus")))
    conv: str | None = option(None, "priors", "convolutions larger than 1×1", OneOf(_convs))
    sigma0: float | None = option(None, "priors", "σ of the Gaussian at first, in pixels of its map", number(0))
    sigma_max: float | None = option(None, "priors", "largest σ", number(0, open_low=True))
    sigma_per: str | None = option(None, "priors", "one σ for each", OneOf(lambda: ("layer", "channel")))
    sigma_kernel: str | None = option(None, "priors", "of the Gaussian", OneOf(lambda: ("sampled", "discrete")))
    sigma_border: str | None = option(None, "priors", "of the blurred map", OneOf(lambda: ("exact", "crop")))
    sigma_lr: float = option(10.0, "priors", "learning rate of σ, times --lr", number(0), resume="noted")
    radius: int | None = option(
        None, "priors", "of the Gaussian's kernel; default: three times --sigma-max", between(1, 100)
    )
    basis: str | None = option(None, "priors", "of the filters", OneOf(lambda: ("gaussian", "dct")))
    basis_order: int | None = option(None, "priors", "highest order in the basis; default: all", between(0, 100))
    classifier: str | None = option(None, "priors", "the last linear layer", OneOf(_classifiers))
    angle: float | None = option(None, "priors", "of statrot, in degrees", number(0, 180))

    data: str = option(
        "multiscale", "data", "multiscale (drawn, needs no download), cifar10, cifar100, or a folder of images"
    )
    data_dir: str | None = option(None, "data", "where the files of cifar10 and cifar100 are", resume="free")
    download: bool = option(False, "data", "fetch cifar10 or cifar100 where they are missing", resume="free")
    verify: bool = option(
        True, "data", "files are what they must be: official MD5 sums; in a folder, images", resume="free"
    )
    image_size: int | None = option(None, "data", "pixels on a side; default: the data set's own", at_least(4))
    augment: str | None = option(
        None,
        "data",
        "random changes of training images, or none; default: as is customary for the set",
        AllOf(_augments),
        "noted",
    )
    cutout: int = option(
        0, "data", "side in pixels of a square blanked in training images; 0: none", at_least(0), "noted"
    )
    limit_train: int | None = option(None, "data", "use this many training images only", at_least(1))
    limit_test: int | None = option(None, "data", "test on this many images only", at_least(1))
    min_area: float = option(
        0.25, "data", "smallest random part of a folder's image in training", share, resume="noted"
    )
    workers: int | None = option(
        None, "data", "processes that decode a folder's images; default: a core each, at most 4", between(0, 64), "free"
    )
    prefetch: int = option(2, "data", "batches made ahead, in the background", between(0, 64), "free")

    epochs: int = option(8, "training", "passes over the training images", at_least(1), resume="noted")
    batch_size: int = option(128, "training", "images a step", at_least(1))
    opt: str = option("sgd", "training", "optimiser", OneOf(_optimizers))
    lr: float = option(0.1, "training", "highest learning rate", number(0, open_low=True), resume="noted")
    momentum: float = option(0.9, "training", "of sgd", number(0, 1), resume="noted")
    nesterov: bool = option(True, "training", "Nesterov's momentum", resume="noted")
    weight_decay: float = option(5e-4, "training", "not for biases and norms", number(0), resume="noted")
    sched: str = option("onecycle", "training", "course of the learning rate", OneOf(_schedules), resume="noted")
    warmup_epochs: float = option(0.0, "training", "epochs of linear warm-up", number(0), resume="noted")
    label_smoothing: float = option(0.0, "training", "share given to all classes", number(0, 1), resume="noted")
    seed: int = option(0, "training", "decides every random number", at_least(0))

    imbalance: float | None = option(
        None, "long tail", "keep ever fewer images of each class: the first has X times those of the last", number(1)
    )
    sampling: str = option(
        "natural", "long tail", "images as frequent as in the set, or classes alike", OneOf(lambda: SAMPLINGS)
    )
    samples_per_class: int = option(
        4, "long tail", "images each time a class is drawn, in class-aware sampling", between(1, 10_000), "noted"
    )
    loss: str = option("cross_entropy", "long tail", "of training", OneOf(lambda: LOSSES), "noted")
    tau: float = option(1.0, "long tail", "of logit_adjusted: the weight of ln(class frequency)", number(0), "noted")
    stage2_epochs: int = option(
        0, "long tail", "epochs of a new classifier on frozen features, class-aware", between(0, 2**32 - 1), "noted"
    )
    stage2_lr: float | None = option(
        None, "long tail", "highest learning rate of that; default: --lr", number(0, open_low=True), "noted"
    )
    many_shot: int = option(100, "long tail", "classes with more training images are many-shot", at_least(1))
    few_shot: int = option(20, "long tail", "classes with fewer training images are few-shot", at_least(1))

    device: str = option(
        "cpu", "machine", "where to compute; gpu needs CuPy, see docs/gpu.md", OneOf(lambda: ("cpu", "gpu")), "noted"
    )
    precision: str = option(
        "float32",
        "machine",
        "mixed: float16 maps and products, float32 sums and weights; fast on a GPU, slow on a CPU",
        OneOf(lambda: PRECISIONS),
        "noted",
    )
    gpu_memory: str = option(
        "0.9", "machine", "most of the card's memory to take: a share, or bytes as 4GB", memory, resume="free"
    )
    threads: int | None = option(
        None, "machine", "default: MINIDL_THREADS, or every core; results do not depend on it", between(1, 256), "free"
    )

    out: str | None = option(None, "record", "the run's folder; default: runs/DATE-MODEL-DATA", resume="free")
    overwrite: bool = option(False, "record", "replace a run that is in that folder already", resume="free")
    log_every: int = option(0, "record", "steps between reports of progress; 0: as fits", at_least(0), resume="free")

    @property
    def total_epochs(self) -> int:
        """Of both stages."""
        return self.epochs + self.stage2_epochs

    def items(self) -> list[tuple[str, Any]]:
        return [(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)]


FIELDS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Config)}
TYPES: dict[str, Any] = typing.get_type_hints(Config)


def flag(name: str) -> str:
    """`batch_size` → `--batch-size`."""
    return "--" + name.replace("_", "-")


def kind(name: str) -> type:
    """The type of a field's value where it has one: int for `int | None`."""
    hint = TYPES[name]
    return next(t for t in typing.get_args(hint) if t is not type(None)) if isinstance(hint, types.UnionType) else hint


def checked(name: str, value: Any, said: str) -> Any:
    """`value` as the type of field `name`, refused in the words of `said` (`--lr`, or an entry of a file).

    Raises:
        ConfigError: the type is wrong, or the field's rule is broken.

    Example:
        >>> checked("lr", 1, "--lr")
        1.0
        >>> checked("lr", -1, "--lr")
        Traceback (most recent call last):
        minidl.errors.ConfigError: --lr must be a finite number > 0, got -1
    """
    wanted = kind(name)
    if value is None and wanted is not TYPES[name]:
        return None
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        words = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
        raise ConfigError(f"{said} must be {words[wanted]}, got {value!r}")
    if isinstance(value, str) and (not value or not value.isprintable()):
        raise ConfigError(f"{said} must be printable text, got {value!r}")
    rule: Rule | None = FIELDS[name].metadata["rule"]
    if rule is not None and (wrong := rule(value)):
        raise ConfigError(f"{said} {wrong}, got {f'{value:g}' if isinstance(value, float) else value}")
    return value


def from_mapping(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The entries of a file, their names turned into fields and their values checked.

    Args:
        values: names as flags have them, `batch-size` or `batch_size`; `no-verify = true` means `verify = false`.
        source: what the messages call the file.

    Raises:
        ConfigError: a name is unknown (the nearest is suggested), given twice, or has an impossible value.
    """
    given: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name.startswith("no_") and name[3:] in FIELDS and kind(name[3:]) is bool and isinstance(value, bool):
            name, value = name[3:], not value
        if name not in FIELDS:
            known = [n.replace("_", "-") for n in FIELDS]
            raise ConfigError(f"{source}: unknown entry {key!r}{did_you_mean(key.replace('_', '-'), known)}")
        if name in given:
            raise ConfigError(f"{source}: {key!r} is given twice")
        given[name] = checked(name, value, f"{source}: {key}")
    return given
