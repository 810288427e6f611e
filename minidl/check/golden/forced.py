"""Our model's step with another implementation's values in place of ours, after every layer and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor
from minidl.check.golden import step
from minidl.nn import Module

__all__ = ["Arrays", "Chain", "Reach", "alone", "forced"]

Arrays = dict[str, dict[str, np.ndarray]]  # by group and name
AROUND = 8  # elementwise operations beside a layer's sums


class Replaced(Function):
    """Another implementation's output in place of ours and, on the way back, its gradient in place of ours."""

    def forward(
        self, y: np.ndarray, *, name: str, output: np.ndarray | None, gradient: np.ndarray | None, seen: Any
    ) -> np.ndarray:
        self.layer, self.gradient, self.seen = name, gradient, seen
        return y.copy() if output is None else output

    def backward(self, gy: np.ndarray) -> tuple[np.ndarray | None, ...]:
        self.seen[self.layer] = gy  # from all that read this layer
        return (gy if self.gradient is None else self.gradient,)


def forced(
    model: Module, own: Arrays, given: Arrays, scaled: Callable[[np.ndarray], np.ndarray] = lambda a: a
) -> tuple[Arrays, dict[str, Reach]]:
    """One step of `model` in float64: what each layer makes of what the others handed in.

    Args:
        model: its state is set from `own`.
        own: "inputs", "parameters" and "noise" of the export.
        given: "activations" and "gradients" of the other implementation, those that there are.
        scaled: applied to every array that goes into the step.

    Returns:
        What the activations, gradients, parameter gradients and buffers of the other implementation must be, by group
        and name; and how far roundings reach, by name of the layer.
    """
    model.load_state_dict({n: scaled(a.astype(np.float64)) for n, a in own["parameters"].items()})
    for parameter in model.parameters():
        parameter.grad = None
    step.noise_of(model, own.get("noise", {}))
    seen: dict[str, np.ndarray] = {}
    replacing: dict[int, str] = {}  # id of a Function → its layer

    def replace(name: str, output: Tensor) -> Tensor:
        theirs = [given.get(group, {}).get(name) for group in ("activations", "gradients")]
        activation, gradient = (None if a is None else scaled(a.astype(np.float64)) for a in theirs)
        y = Replaced.apply(output, name=name, output=activation, gradient=gradient, seen=seen)
        if y.grad_fn is not None:
            replacing[id(y.grad_fn)] = name
        return y

    with step.watched(model, replace) as steps:
        loss = step.loss_of(model, scaled(own["inputs"]["x"].astype(np.float64)), own["inputs"]["labels"])
    reads = {name: _nearest(layer.output.grad_fn, replacing) for name, layer in steps.layers.items()}
    reads[step.LOSS] = _nearest(loss.grad_fn, replacing)
    reach = _reach(steps.layers, reads, given)
    loss.backward()
    activations = {name: layer.output.numpy() for name, layer in steps.layers.items()}
    return {
        "activations": activations | {step.LOSS: loss.numpy()},
        "gradients": {name: seen[name] for name in activations if name in seen},
        "parameter_gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
        "buffers": {n: b.numpy() for n, b in model.named_buffers()},
    }, reach


# How far the roundings of a layer reach


@dataclass(frozen=True)
class Chain:
    """The sums that end in a result: terms of the longest, and by how much a norm among them magnifies errors."""

    terms: int = 0
    condition: float = 1.0

    def after(self, *others: Chain) -> Chain:
        """This one behind others.

        Example:
            >>> Chain(9).after(Chain(4, 2.0), Chain(1))
            Chain(terms=14, condition=2.0)
        """
        chains = (self, *others)
        return Chain(sum(c.terms for c in chains), max(c.condition for c in chains))


@dataclass(frozen=True)
class Reach:
    """The chains of one layer's results, those of layers that were not handed in among them.

    Attributes:
        output, gradient, parameters: of its output, of the gradient with respect to it, of its parameters' gradients.
        reads: the layers it reads.
        readers: the layers that read it.
    """

    output: Chain
    gradient: Chain
    parameters: Chain
    reads: tuple[str, ...]
    readers: tuple[str, ...]


def alone(layer: step.Layer) -> tuple[Chain, Chain, Chain]:
    """The chains of one layer alone: of its output, of the gradients of its input, of those of its parameters.

    Example:
        >>> from minidl import nn
        >>> conv = nn.Conv2d(4, 8, 3, rng=np.random.default_rng(0))
        >>> x = Tensor(np.ones((2, 4, 5, 5), np.float32))
        >>> [chain.terms for chain in alone(step.Layer("conv", conv, (x,), conv(x)))]
        [36, 72, 18]
    """
    x, y, module = layer.inputs[0], layer.output, layer.module
    positions = y.size // (y.shape[1] if y.ndim > 1 else 1)  # that share a channel
    weight = getattr(module, "weight", None)
    if weight is not None and weight.ndim >= 2:
        taps = (2 * getattr(module, "radius", 0) + 1) * 2  # of a kernel's blur, along both axes
        taps = taps if taps > 2 else 0
        fan_in, fan_out = weight.size // weight.shape[0], weight.size // weight.shape[1]
        return Chain(fan_in + taps), Chain(fan_out + taps), Chain(positions + taps)
    size = getattr(module, "kernel_size", 1)
    window = size[0] * size[1] if isinstance(size, tuple) else size * size
    window = max(window, x.size // max(y.size, 1), 1)
    if hasattr(module, "eps") and not hasattr(module, "kernel_size"):  # a norm
        each = Chain(math.isqrt(max(positions, y.size // len(y))) + 1, _condition(module, x.data))
        return each, each, Chain(positions, each.condition)
    return Chain(window), Chain(window), Chain(positions)


def _condition(module: Module, x: np.ndarray) -> float:
    """√(mean x²/(v + ε)), at least 1: the mean is rounded by what x is, and moves what is left of x."""
    axes = tuple(i for i in range(x.ndim) if i != 1) if hasattr(module, "running_mean") else tuple(range(1, x.ndim))
    eps: float = vars(module)["eps"]
    return math.sqrt(max(1.0, float((np.square(x).mean(axis=axes) / (x.var(axis=axes) + eps)).max())))


def _nearest(fn: Function | None, replacing: Mapping[int, str]) -> tuple[str, ...]:
    """The layers from which the result of `fn` is made without another layer in between."""
    found: dict[str, None] = {}
    stack, visited = [fn], set[int]()
    while stack:
        fn = stack.pop()
        if fn is None or id(fn) in visited:
            continue
        visited.add(id(fn))
        if id(fn) in replacing:
            found[replacing[id(fn)]] = None
        else:
            stack += [x.grad_fn for x in fn.inputs if x is not None]
    return tuple(found)


def _reach(
    layers: Mapping[str, step.Layer], reads: Mapping[str, tuple[str, ...]], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, Reach]:
    """`Reach` of every layer; the chains of layers that were not handed in go on in the next that was."""
    own = {name: alone(layer) for name, layer in layers.items()}
    logits = layers[next(reversed(list(layers)))].output
    own[step.LOSS] = (Chain(logits.size),) * 3
    readers = {name: tuple(other for other, sources in reads.items() if name in sources) for name in reads}
    around = Chain(AROUND)
    output, gradient = dict[str, Chain](), {step.LOSS: Chain()}

    def missing(names: tuple[str, ...], group: str, chains: Mapping[str, Chain]) -> list[Chain]:
        return [chains[name] for name in names if name not in given.get(group, {})]

    for name in reads:
        output[name] = around.after(own[name][0], *missing(reads[name], "activations", output))
    for name in reversed(list(layers)):
        behind = readers[name]
        gradient[name] = around.after(
            *(own[reader][1] for reader in behind),
            *missing(behind, "gradients", gradient),
            *missing(behind, "activations", output),
        )
    parameters = {
        name: around.after(
            own[name][2],
            *missing((name,), "gradients", gradient),
            *missing(reads[name], "activations", output),
        )
        for name in layers
    }
    parameters[step.LOSS] = Chain()
    return {name: Reach(output[name], gradient[name], parameters[name], reads[name], readers[name]) for name in reads}
