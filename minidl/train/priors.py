"""Priors from the command line: which layers of the network they replace, and σ over the epochs.

    --pool gaussian --pool-prior half_gaussian …        arguments of `priors.GaussianPool2d`, or `priors.MaxEntPool2d`
    --conv gaussian --sigma0 0.5 …                      of `priors.GaussianConv2d`, or `priors.BasisConv2d`
    --classifier statrot --angle 45                     of `priors.StatRotLinear`, in degrees

sigma.csv has a row an epoch, and one before the first: σ of each Gaussian convolution, the mean over its channels.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidl.autograd import Tensor
from minidl.errors import ConfigError, UserError
from minidl.files import written_whole
from minidl.nn import Module
from minidl.priors import BasisConv2d, Conversion, convert, sigma_parameters, sigmas
from minidl.train.config import FIELDS, Config, flag
from minidl.weights import load_weights, read_weights

__all__ = [
    "SIGMA",
    "consistent_priors",
    "load_into",
    "log_sigmas",
    "lr_factors",
    "of_chosen_priors",
    "put_priors",
    "said_of",
]

SIGMA = "sigma.csv"
PRIORS_STREAM = 0x9A055  # keeps the priors' first values apart: the rest of a network starts as it does without them


@dataclass(frozen=True)
class Detail:
    """What a flag says of a prior: `argument` of the layers that `choice` puts in, if that is one of `of`."""

    choice: str
    of: tuple[str, ...]
    argument: str | None


DETAILS = {
    "pool_parameters": Detail("pool", ("gaussian", "maxent"), "parameters"),
    "pool_prior": Detail("pool", ("gaussian",), "prior"),
    "pool_noise": Detail("pool", ("gaussian",), "noise"),
    "pool_inference": Detail("pool", ("gaussian",), "inference"),
    "pool_activation": Detail("pool", ("maxent",), "activation"),
    "sigma0": Detail("conv", ("gaussian",), "sigma0"),
    "sigma_max": Detail("conv", ("gaussian",), "sigma_max"),
    "sigma_per": Detail("conv", ("gaussian",), "per"),
    "sigma_kernel": Detail("conv", ("gaussian",), "kernel"),
    "sigma_border": Detail("conv", ("gaussian",), "border"),
    "sigma_lr": Detail("conv", ("gaussian",), None),
    "radius": Detail("conv", ("gaussian",), "radius"),
    "basis": Detail("conv", ("basis",), "basis"),
    "basis_order": Detail("conv", ("basis",), "order"),
    "angle": Detail("classifier", ("statrot",), "angle"),
}


def consistent_priors(config: Config) -> None:
    """Refuse a detail of a prior that was not asked for.

    Raises:
        ConfigError: one line, naming what it needs.
    """
    for name, detail in DETAILS.items():
        chosen = getattr(config, detail.choice)
        if getattr(config, name) != FIELDS[name].default and chosen not in detail.of:
            needed = " or ".join(detail.of)
            raise ConfigError(f"{flag(name)} needs --{detail.choice} {needed}, got {chosen or 'none'}")


def of_chosen_priors(stored: Mapping[str, Any]) -> dict[str, Any]:
    """`stored` without the details of priors that the run has not: they decided nothing, whatever their default was."""
    return {
        name: value
        for name, value in stored.items()
        if name not in DETAILS or stored.get(DETAILS[name].choice) in DETAILS[name].of
    }


def options_of(config: Config, choice: str) -> dict[str, Any]:
    """Keyword arguments of the layers of a choice, as far as they were given."""
    found = {
        detail.argument: getattr(config, name)
        for name, detail in DETAILS.items()
        if detail.choice == choice and detail.argument and getattr(config, name) is not None
    }
    if "angle" in found:
        found["angle"] = math.radians(found["angle"])
    return found


def put_priors(config: Config, model: Module, image_shape: tuple[int, int, int] | None = None) -> Conversion | None:
    """Put the priors of `config` into `model`; None if there are none.

    Args:
        config: of the run.
        model: as `create_model` made it.
        image_shape: (C, H, W), to count multiply-adds, and for models whose pools are found by running them.

    Raises:
        ConfigError: the model has no such place, or an argument is impossible.
    """
    chosen = {name: getattr(config, name) for name in ("pool", "conv", "classifier")}
    if not any(chosen.values()):
        return None
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(PRIORS_STREAM,)))
    options: dict[str, Any] = {f"{name}_options": options_of(config, name) for name in chosen}
    try:
        return convert(model, **chosen, **options, input_shape=image_shape, rng=rng)
    except ValueError as error:
        flags = " ".join(f"--{name} {value}" for name, value in chosen.items() if value)
        raise ConfigError(f"{flags}: {error}") from error


def said_of(conversion: Conversion) -> str:
    """A conversion in one line."""
    kinds = [word for change in conversion.changes for word in change.after.split(" + ") if "stride" not in word]
    parts = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    unstrided = sum("stride" in change.after for change in conversion.changes)
    parts += [f"{unstrided} strides taken over by pools"] if unstrided else []
    before, after = conversion.parameters
    cost = f"parameters ×{after / before:.3f}"
    if conversion.multiply_adds is not None:
        before, after = conversion.multiply_adds
        cost += f", multiply-adds ×{after / max(before, 1):.3f}"
    return f"priors: {', '.join(parts) or 'the strided layout as it is'}; {cost}"


def lr_factors(config: Config, model: Module) -> dict[str, float]:
    """Learning rates of σ as multiples of the others'."""
    return dict.fromkeys(sigma_parameters(model), config.sigma_lr)


def load_into(model: Module, path: str) -> str:
    """`load_weights` of what agrees; whole filters of a plain network are projected on the bases there are.

    Raises:
        CheckpointError: the file cannot be read, or nothing in it fits.
    """
    said = load_weights(model, path, strict=False)
    bases = {f"{p}.weight": layer for p, layer in model.named_modules() if isinstance(layer, BasisConv2d)}
    given = read_weights(path) if bases else {}
    projected = 0
    for name, layer in bases.items():
        if name in given and given[name].shape == layer.weight.shape:
            layer.project(Tensor(given[name].astype(layer.coefficients.dtype)))
            projected += 1
    return f"{said}; {projected} filters projected on their bases" if projected else said


def log_sigmas(model: Module, epoch: int, path: Path) -> None:
    """Set the row of `epoch` in the table at `path`, dropping later ones; nothing where there is no σ.

    Raises:
        UserError: the table is damaged, or of other layers.
    """
    found = {name: float(np.mean(sigma, dtype=np.float64)) for name, sigma in sigmas(model).items()}
    if not found:
        return
    header = ["epoch", *found]
    kept: list[list[str]] = []
    if path.is_file():
        try:
            with open(path, newline="", encoding="utf-8") as lines:
                first, *rows = csv.reader(lines)
            kept = [row for row in rows if int(row[0]) < epoch]
        except (OSError, ValueError, IndexError, csv.Error) as error:
            raise UserError(f"{path}: is no table of σ; move it away") from error
        if first != header:
            raise UserError(f"{path}: is a table of other layers; move it away")
    with written_whole(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *kept, [epoch, *map(repr, found.values())]])
