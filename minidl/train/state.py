"""A run as one checkpoint, and back: model, optimiser, generators, position and configuration.

    arrays    NAME                parameters and buffers, under the model's own names
              optimizer.NAME      what the optimiser keeps for each parameter
    meta      config, classes, position (epoch, step, running sums, history), generators, optimizer's numbers,
              loss_scale in mixed precision, whose parameters are float32 here as everywhere

Batches need no state: batch b of epoch e depends on the seed, e and b alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidl import checkpoint
from minidl.errors import CheckpointError, ConfigError
from minidl.nn import Module
from minidl.train.build import Training
from minidl.train.config import FIELDS, Config, flag, from_mapping
from minidl.train.position import Position
from minidl.train.priors import of_chosen_priors
from minidl.train.recipes import consistent
from minidl.train.stages import classifier_alone, renew_classifier

FORMAT = "minidl.train 1"
OPTIMIZER = "optimizer."


def capture(run: Training) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything that `restore` needs, as arrays and JSON-able values."""
    kept, numbers = run.optimizer.state_dict()
    arrays = run.model.state_dict() | {OPTIMIZER + name: array for name, array in kept.items()}
    meta = {
        "format": FORMAT,
        "config": {name: value for name, value in run.config.items() if value is not None and name != "overwrite"},
        "classes": list(run.train_set.class_names),
        "images": [len(run.train_set), len(run.test_set)],
        "position": run.position.to_json(),
        "generators": {name: rng.bit_generator.state for name, rng in run.model.named_generators()},
        "optimizer": numbers,
        **({} if run.scale is None else {"loss_scale": run.scale.state()}),
    }
    return arrays, meta


def restore(run: Training, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], source: str) -> None:
    """Set `run`, built from the checkpoint's configuration, to where the checkpoint was.

    Raises:
        CheckpointError: the checkpoint is of other data or another network, or damaged.
    """
    images = [len(run.train_set), len(run.test_set)]
    if meta.get("images") != images or meta.get("classes") != list(run.train_set.class_names):
        raise CheckpointError(
            f"{source}: was trained on other data than {run.config.data}: "
            f"{meta.get('images')} training and test images there, {images} here, or other classes"
        )
    position = Position.from_json(_mapping(meta, "position", source), source)
    counted = position.seen == position.step * run.config.batch_size and (position.seconds > 0) == (position.step > 0)
    too_far = position.step > run.steps_per_epoch or (position.stage == 2 and position.epoch < run.config.epochs)
    if too_far or not counted or position.correct > position.seen:
        raise CheckpointError(f"{source}: its record of where training stood contradicts itself")
    unfinished(position, run.config, source)
    restore_model(run.model, arrays, meta, source)
    run.position = position
    if position.stage == 2:
        classifier_alone(run)
    kept = {name.removeprefix(OPTIMIZER): a for name, a in arrays.items() if name.startswith(OPTIMIZER)}
    try:
        run.optimizer.load_state_dict(kept, _mapping(meta, "optimizer", source))
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{source}: does not fit the optimiser: {error}") from error
    if run.scale is not None and "loss_scale" in meta:  # else the run was not of mixed precision until now
        try:
            run.scale.load_state(_mapping(meta, "loss_scale", source))
        except ValueError as error:
            raise CheckpointError(f"{source}: its loss scale is damaged: {error}") from error


def unfinished(position: Position, config: Config, source: str) -> None:
    """Refuse a run of which nothing is left to train, or whose first stage would end before where it stands.

    Raises:
        ConfigError: `config` says so.
    """
    begun = position.epoch + (position.step > 0)
    if position.stage == 1 and begun > config.epochs:
        raise ConfigError(f"--epochs must be at least {begun}, got {config.epochs}: {source} has come that far")
    if position.epoch >= config.total_epochs:
        again = " ".join(longer(config))
        raise ConfigError(f"--resume: {source} has finished its {position.epoch} epochs; add {again} to train on")


def longer(config: Config) -> tuple[str, str]:
    """The flag that makes a finished run go on: twice the epochs of its last stage."""
    if config.stage2_epochs:
        return "--stage2-epochs", str(2 * config.stage2_epochs)
    return "--epochs", str(2 * config.epochs)


def restore_model(model: Module, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], source: str) -> None:
    """Set `model`'s parameters, buffers and generators to those of a checkpoint, its classifier to that of its stage.

    Raises:
        CheckpointError: it is another network's, or damaged.
    """
    if _mapping(meta, "position", source).get("stage") == 2:
        renew_classifier(model, np.random.default_rng(0))  # its values come from the checkpoint
    generators, states = dict(model.named_generators()), _mapping(meta, "generators", source)
    if generators.keys() != states.keys():
        raise CheckpointError(f"{source}: belongs to another network: their random generators differ")
    checkpoint.load_module(model, {n: a for n, a in arrays.items() if not n.startswith(OPTIMIZER)}, source)
    try:
        for name, rng in generators.items():
            rng.bit_generator.state = states[name]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise CheckpointError(f"{source}: the state of its random generator {name} is damaged") from error


def find(resume: str) -> Path:
    """The checkpoint that `--resume` means: a file, or the last one in a run's folder."""
    path = Path(resume)
    if path.is_dir():
        path = path / "last.safetensors"
        if not path.is_file():
            raise CheckpointError(f"--resume: there is no last.safetensors in {path.parent}")
    if not path.is_file():
        raise CheckpointError(f"--resume: there is no run or checkpoint {resume}")
    return path


def continued(path: Path, meta: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """The configuration of a resumed run, and what makes it differ from one never interrupted.

    Args:
        path: of the checkpoint, for messages; its folder is the run's unless `given` names another.
        meta: of the checkpoint.
        given: what the command line said, which may change what does not decide the checkpoint's shape.

    Raises:
        UserError: the checkpoint is not of a training run, or `given` asks for another model, data, or order.
    """
    if meta.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is no checkpoint of a training run (format {meta.get('format')!r:.40})")
    stored = of_chosen_priors(from_mapping(_mapping(meta, "config", str(path)), str(path)))
    if missing := [name for name in ("model", "data", "epochs", "batch_size", "seed") if name not in stored]:
        raise CheckpointError(f"{path}: its configuration has no {missing[0]}")
    before, second = Config(**stored), _mapping(meta, "position", str(path)).get("stage") == 2
    changed = []
    for name, value in given.items():
        old, rule = getattr(before, name), FIELDS[name].metadata["resume"]
        if value == old or rule == "free":
            continue
        if rule == "fixed" or (name == "epochs" and second):
            raise ConfigError(f"{flag(name)} {value}: {path} was trained with {old}, which cannot change on the way")
        changed.append(f"{flag(name)} {old} → {value}")
    config = Config(**{**stored, "out": str(path.parent), **given})
    consistent(config)
    return config, changed


def _mapping(meta: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    value = meta.get(name)
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{source}: has no {name}; it cannot be resumed")
    return value
