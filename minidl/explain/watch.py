"""What every inspection needs: a model in evaluation mode whose parameters gather no gradient, and a look inside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd import Tensor
from minidl.device import Array, asnumpy, get_array_module
from minidl.nn import Module, ModuleList


@dataclass(frozen=True)
class Call:
    """One call of a layer: its path in the model, what went in and what came out."""

    path: str
    module: Module
    inputs: tuple[Any, ...]
    output: Any


@contextmanager
def inspected(model: Module) -> Iterator[Module]:
    """`model` in evaluation mode, its parameters without gradients; afterwards all is as it was.

    Gradients then flow to what is asked for and nowhere else, and no `.grad` of a parameter changes.
    """
    modes = [(module, module.training) for _, module in model.named_modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield model.eval().requires_grad_(False)
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad = flag


@contextmanager
def watched(layers: Iterable[tuple[str, Module]]) -> Iterator[list[Call]]:
    """A list that grows by a `Call` whenever one of `layers` has run."""
    seen: list[Call] = []

    def watching(path: str) -> Any:
        return lambda module, inputs, output: seen.append(Call(path, module, inputs, output))

    removals = [module.register_forward_hook(watching(path)) for path, module in layers]
    try:
        yield seen
    finally:
        for remove in removals:
            remove()


def images_for(model: Module, op: str, images: Any) -> Array:
    """`images` as a batch in the dtype and on the device of `model`.

    Raises:
        ValueError: they have not four axes, or there is none.
    """
    parameter = next(model.parameters(), None)
    xp = np if parameter is None else get_array_module(parameter.data)
    array = asnumpy(images) if xp is np else xp.asarray(images)
    if array.ndim != 4 or not len(array):
        raise ValueError(f"{op}: images must have shape (N, C, H, W), N >= 1, got {array.shape}")
    return array.astype(np.float32 if parameter is None else parameter.dtype)


def is_map(value: Any) -> bool:
    """Whether a layer's output is a batch of maps, (N, C, h, w)."""
    return isinstance(value, Tensor) and value.ndim == 4


def last_stage(calls: Iterable[Call]) -> str | None:
    """The path whose output ends the last convolutional stage, or None if there is no map.

    It is looked for from the last layer that multiplies and gives a map of more than one pixel, or, if that is inside
    of a block (a ResNet's, with its shortcut and its pool), from this block; and is the last in a row of layers of the
    same resolution: a ResNet's last stage, the relu after VGG's last convolution, before the pool.

    Args:
        calls: all calls of one forward pass, in the order in which they ended.
    """
    calls = [call for call in calls if call.path]
    maps = [i for i, call in enumerate(calls) if is_map(call.output)]
    wide = [i for i in maps if max(calls[i].output.shape[2:]) > 1] or maps
    multiplying = [i for i in wide if hasattr(calls[i].module, "multiply_adds")] or wide
    if not multiplying:
        return None
    inside = calls[multiplying[-1]].path
    around = [i for i in wide if _is_block(calls[i].module) and inside.startswith(f"{calls[i].path}.")]
    found = min(around, key=lambda i: -len(calls[i].path), default=multiplying[-1])
    size = calls[found].output.shape[2:]
    for call in calls[found + 1 :]:
        if not is_map(call.output) or call.output.shape[2:] != size:
            break
        found += 1
    return calls[found].path


def _is_block(module: Module) -> bool:
    """Whether a layer joins others in a way of its own, not one after the other."""
    return not isinstance(module, ModuleList) and next(module.named_children(), None) is not None
