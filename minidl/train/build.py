"""From a configuration to everything that training needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor, no_grad
from minidl.data import Dataset, Loader
from minidl.data.loader import Order
from minidl.device import Device, get_device
from minidl.errors import ConfigError
from minidl.models import create_model, model_info
from minidl.nn import Module
from minidl.optim import Optimizer, create_optimizer, parameter_groups
from minidl.precision import LossScale
from minidl.priors import Conversion
from minidl.schedule import create_schedule
from minidl.train import long_tail
from minidl.train.config import Config
from minidl.train.images import augmentation, datasets
from minidl.train.long_tail import Loss
from minidl.train.position import Position
from minidl.train.priors import lr_factors, put_priors


@dataclass
class Training:
    """A network and all that trains it; `position` says how far it has come.

    Attributes:
        trained: what learns: the whole model, or in the second stage its classifier; the rest is frozen.
        loss: of training: (logits, labels) → mean over the batch.
        test_loss: the same on test images, without label smoothing.
        schedule: learning rate at each step, counted from the first epoch's first.
        shots: class numbers of the groups whose accuracy is reported; none where training is not long-tailed.
        conversion: what the priors replaced, if there are any.
        scale: by which the loss is multiplied in mixed precision, else None.
    """

    config: Config
    device: Device
    train_set: Dataset
    test_set: Dataset
    train_loader: Loader
    test_loader: Loader
    model: Module
    trained: Module
    loss: Loss
    test_loss: Loss
    optimizer: Optimizer
    schedule: Callable[[int], float]
    shots: dict[str, np.ndarray]
    conversion: Conversion | None = None
    scale: LossScale | None = None
    position: Position = field(default_factory=Position)

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train_loader)

    @property
    def steps_done(self) -> int:
        return self.position.epoch * self.steps_per_epoch + self.position.step

    @property
    def parameter_count(self) -> int:
        return sum(p.size for p in self.model.parameters())

    def close(self) -> None:
        """End the processes that decode images."""
        self.train_set.close()
        self.test_set.close()


def build(config: Config) -> Training:
    """Data, network, optimiser and schedule as `config` says, at the start of the first epoch.

    Raises:
        UserError: the data cannot be had, the device is missing, or the batch is larger than the data.
    """
    device = get_device(config.device)
    device.limit_memory(config.gpu_memory)
    return assembled(config, device, *datasets(config))


def assembled(config: Config, device: Device, train_set: Dataset, test_set: Dataset) -> Training:
    """The same from images and a device that are at hand."""
    train_loader, test_loader = loaders(config, train_set, test_set)
    model = plain_network(config, train_set.num_classes)
    conversion = put_priors(config, model, train_set.image_shape)
    model.to(device)
    takes(model, config.model, train_set.image_shape, device)
    return Training(
        config=config,
        device=device,
        train_set=train_set,
        test_set=test_set,
        train_loader=train_loader,
        test_loader=test_loader,
        model=model,
        trained=model,
        loss=long_tail.loss(config, train_set, device),
        test_loss=ops.cross_entropy,
        optimizer=optimizer(config, model),
        schedule=schedule(config, len(train_loader)),
        shots=long_tail.shots(config, train_set, test_set),
        conversion=conversion,
        scale=LossScale(device) if config.precision == "mixed" else None,
    )


def network(config: Config, num_classes: int) -> Module:
    """The network of `config` with its priors, as it is before the first step: all that a checkpoint fits.

    Raises:
        ConfigError: it has no such option, or no place for a prior.
    """
    model = plain_network(config, num_classes)
    size = config.image_size or model_info(config.model).image_size
    put_priors(config, model, (3, size, size))
    return model


def plain_network(config: Config, num_classes: int) -> Module:
    """The network of `config` with random weights, without priors.

    Raises:
        ConfigError: it has no such option.
    """
    options = {} if config.shortcut is None else {"shortcut": config.shortcut}
    for name in options.keys() - set(model_info(config.model).options):
        raise ConfigError(f"--{name} is no option of {config.model}")
    return create_model(config.model, num_classes=num_classes, rng=np.random.default_rng(config.seed), **options)


@no_grad()
def takes(model: Module, name: str, shape: tuple[int, int, int], device: Device) -> None:
    """Try one black image, so that a model that cannot take images of this size says so now.

    Raises:
        ConfigError: it cannot.
    """
    try:
        model.eval()(Tensor(device.asarray(np.zeros((1, *shape), np.float32))))
    except ValueError as error:
        raise ConfigError(f"--model {name} cannot take images of {'×'.join(map(str, shape))}: {error}") from error


def loaders(config: Config, train_set: Dataset, test_set: Dataset) -> tuple[Loader, Loader]:
    """Batches for training; every test image in order."""
    if config.batch_size > len(train_set):
        raise ConfigError(
            f"--batch-size must be at most the number of training images, {len(train_set)}, got {config.batch_size}"
        )
    size, seed, prefetch = config.batch_size, config.seed, config.prefetch
    test = Loader(test_set, size, seed=seed, shuffle=False, drop_last=False, prefetch=prefetch)
    return training_loader(config, train_set, long_tail.order(config, train_set)), test


def training_loader(config: Config, dataset: Dataset, order: Order | None) -> Loader:
    """Augmented batches of one size, shuffled or in the given order."""
    return Loader(
        dataset,
        config.batch_size,
        seed=config.seed,
        shuffle=True,
        drop_last=True,
        augment=augmentation(config, dataset),
        order=order,
        prefetch=config.prefetch,
    )


def optimizer(config: Config, model: Module) -> Optimizer:
    """The optimiser of `config`; biases, norm layers and σ do not decay."""
    options: dict[str, Any] = {}
    if config.opt == "sgd":
        options = {"momentum": config.momentum, "nesterov": config.nesterov}
    groups = parameter_groups(model, config.weight_decay, lr_factors(config, model))
    return create_optimizer(config.opt, groups, lr=config.lr, **options)


def schedule(config: Config, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate at each step of the whole run."""
    total, warmup = config.epochs * steps_per_epoch, round(config.warmup_epochs * steps_per_epoch)
    return create_schedule(config.sched, lr=config.lr, total_steps=total, warmup_steps=min(warmup, total - 1))


def check_environment() -> None:
    """Refuse a MINIDL_THREADS that the kernels would refuse later, in the middle of something else.

    Raises:
        ConfigError: it is no number of threads.
    """
    given = os.environ.get("MINIDL_THREADS")
    if given and not (given.isdecimal() and int(given) >= 1):
        raise ConfigError(f"MINIDL_THREADS must be an integer >= 1, got {given!r}")


@contextmanager
def use_threads(n: int | None) -> Iterator[None]:
    """Let the kernels run on `n` threads; None: as MINIDL_THREADS says, or on every core."""
    from minidl.kernels.cpu import threads  # reads the variable when it is imported

    with threads.use_threads(n or threads.num_threads()):
        yield
