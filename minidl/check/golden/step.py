"""One training step of a model, watched layer by layer.

A layer is a module's call that makes a new Tensor; a module that hands on what another made (a Sequential, an
Identity, a block that ends in a ReLU) is another name of that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.errors import UserError
from minidl.models import create_model
from minidl.nn import Module
from minidl.priors import convert

__all__ = ["LOSS", "Layer", "Steps", "made", "noise_of", "recorded_noise", "watched"]

LOSS = "loss"  # what follows the last layer


@dataclass
class Layer:
    """One call that made a new Tensor.

    Attributes:
        name: path of the module; "relu-2" for its second call.
        module: the innermost that returned the Tensor.
        inputs, output: of the call.
        also: paths of modules that returned the same Tensor.
    """

    name: str
    module: Module
    inputs: tuple[Any, ...]
    output: Tensor
    also: list[str] = field(default_factory=list)


Replace = Callable[[str, Tensor], Tensor | None]


class Steps:
    """The layers of one forward pass, in the order in which they were computed."""

    def __init__(self, replace: Replace | None = None) -> None:
        self.layers: dict[str, Layer] = {}
        self.replace = replace
        self._by_tensor: dict[int, Layer] = {}
        self._handed_on: list[Tensor] = []  # kept alive: ids are those of living objects

    def hook(self, path: str) -> Callable[[Module, tuple[Any, ...], Any], Tensor | None]:
        """What `register_forward_hook` takes, for the module at `path`."""

        def note(module: Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or id(output) in self._by_tensor or any(output is x for x in inputs):
                self._rename(path, output)
                return None
            if not path:
                return None
            calls = sum(layer.name.rpartition("-")[0] == path or layer.name == path for layer in self.layers.values())
            name = f"{path}-{calls + 1}" if calls else path
            self.layers[name] = layer = Layer(name, module, inputs, output)
            replaced = None if self.replace is None else self.replace(name, output)
            self._by_tensor[id(output if replaced is None else replaced)] = layer
            self._handed_on.append(output if replaced is None else replaced)
            return replaced

        return note

    def _rename(self, path: str, output: Any) -> None:
        if path and (layer := self._by_tensor.get(id(output))) is not None:
            layer.also.append(path)


@contextmanager
def watched(model: Module, replace: Replace | None = None) -> Iterator[Steps]:
    """Watch the forward passes of `model` inside.

    Args:
        model: any.
        replace: called with every layer's name and output; a Tensor it returns goes on in the output's place.
    """
    steps = Steps(replace)
    removals = [module.register_forward_hook(steps.hook(path)) for path, module in model.named_modules()]
    try:
        yield steps
    finally:
        for remove in removals:
            remove()


def made(
    name: str, num_classes: int, options: Mapping[str, Any], priors: Mapping[str, str], image_size: int, seed: int
) -> Module:
    """The model, converted to `priors` ("pool", "conv", "classifier"), in float64 and training mode.

    Raises:
        UserError: there is no such model, option or prior.
    """
    try:
        for option in ("name", "num_classes", "rng"):
            if option in options:
                raise ValueError(f"{name} has no option {option!r}")
        model = create_model(name, num_classes=num_classes, rng=np.random.default_rng(seed), **options)
        if priors:
            shape = (options.get("in_channels", 3), image_size, image_size)
            kinds: dict[str, Any] = dict(priors)
            convert(model, **kinds, input_shape=shape, rng=np.random.default_rng([seed, 2]))
    except (ValueError, TypeError) as error:
        raise UserError(" ".join(str(error).splitlines())) from error
    return model.astype(np.float64).train()


def loss_of(model: Module, x: np.ndarray, labels: np.ndarray) -> Tensor:
    """Mean cross-entropy of the model's logits.

    Raises:
        UserError: the model cannot take images of this size.
    """
    try:
        return ops.cross_entropy(model(Tensor(x)), labels)
    except ValueError as error:
        raise UserError(f"the model cannot take images of shape {x.shape[1:]}: {error}") from error


class _Noise(np.random.Generator):
    """A generator whose draws, by `random` and `standard_normal`, go through `given`."""

    def __init__(self, source: np.random.Generator, given: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(source.bit_generator)
        self._given = given

    def random(self, *args: Any, **kwargs: Any) -> Any:
        return self._given(np.asarray(super().random(*args, **kwargs)))

    def standard_normal(self, *args: Any, **kwargs: Any) -> Any:
        return self._given(np.asarray(super().standard_normal(*args, **kwargs)))


def _set_generators(model: Module, make: Callable[[str, np.random.Generator], np.random.Generator]) -> None:
    for path, generator in list(model.named_generators()):
        owner, _, attribute = path.rpartition(".")
        setattr(model.get_submodule(owner), attribute, make(path, generator))


def recorded_noise(model: Module, dtype: str) -> dict[str, np.ndarray]:
    """Let the layers of `model` draw numbers that `dtype` holds, and keep them: path.0, path.1, … by generator."""
    kept: dict[str, np.ndarray] = {}

    def recording(path: str, generator: np.random.Generator) -> np.random.Generator:
        count = iter(range(1 << 30))

        def keep(drawn: np.ndarray) -> np.ndarray:
            kept[f"{path}.{next(count)}"] = array = drawn.astype(dtype)
            return array.astype(np.float64)

        return _Noise(generator, keep)

    _set_generators(model, recording)
    return kept


def noise_of(model: Module, noise: Mapping[str, np.ndarray]) -> None:
    """Let the layers of `model` draw `noise`, in order, from its beginning.

    Raises:
        UserError: (when a layer draws) another number of arrays, or another shape, is wanted.
    """

    def replaying(path: str, generator: np.random.Generator) -> np.random.Generator:
        count = iter(range(1 << 30))

        def give(drawn: np.ndarray) -> np.ndarray:
            name = f"{path}.{next(count)}"
            if name not in noise or noise[name].shape != drawn.shape:
                raise UserError(f"noise {name} must be there, with shape {drawn.shape}")
            return noise[name].astype(np.float64)

        return _Noise(generator, give)

    _set_generators(model, replaying)
