"""What a model costs: parameters and multiply-adds of every layer, for an input size.

One forward pass with hooks on the leaves: each tells its shapes, and a layer that multiplies (convolution, linear)
says how often from them: `multiply_adds(x_shape, y_shape)`.  Additions, norms, activations and pools count nothing,
which is how the field counts: ResNet-50 has 25.6 M parameters and 4.09 G multiply-adds for a 224×224 image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from minidl.autograd import Tensor, no_grad
from minidl.device import get_array_module
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter

__all__ = ["LayerCost", "ModelCost", "count", "run_once"]


@dataclass(frozen=True)
class LayerCost:
    """One layer that has parameters or multiplies.

    Attributes:
        name: its path in the model.
        kind: its class.
        output: shape of its output for one image, without the batch axis; of the last call, if there are several.
        parameters: its own.
        multiply_adds: for one image, over all calls.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class ModelCost:
    """The layers in order, and their sums; printed as a table.

    Attributes:
        layers: in their order.
    """

    layers: tuple[LayerCost, ...]

    @property
    def parameters(self) -> int:
        """The sum over the layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """The sum over the layers, for one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    def __str__(self) -> str:
        rows = [("layer", "kind", "output", "parameters", "multiply-adds")]
        rows += [
            (x.name, x.kind, "×".join(map(str, x.output)), f"{x.parameters:,}", f"{x.multiply_adds:,}")
            for x in self.layers
        ]
        rows.append(("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def count(model: Module, input_shape: tuple[int, int, int]) -> ModelCost:
    """Parameters and multiply-adds of `model` for one image of shape (C, H, W).

    The model is left as it was, in the mode in which it was.

    Args:
        model: images → anything, of layers of this library.
        input_shape: (C, H, W) of one image.

    Returns:
        The layers that have parameters or multiply, in order, and their sums.

    Example:
        >>> import numpy as np
        >>> from minidl import nn
        >>> rng = np.random.default_rng(0)
        >>> print(count(nn.Sequential(nn.Conv2d(3, 8, 3, rng=rng), nn.BatchNorm2d(8)), (3, 10, 10)))
        layer  kind         output  parameters  multiply-adds
        0      Conv2d       8×8×8          224         13,824
        1      BatchNorm2d  8×8×8           16              0
        total                              240         13,824
    """
    costs: dict[str, LayerCost] = {}
    counted: set[int] = set()
    removals: list[Callable[[], None]] = []
    for name, module in model.named_modules():
        own = [p for p in vars(module).values() if isinstance(p, Parameter) and id(p) not in counted]
        counted.update(map(id, own))
        if own or hasattr(module, "multiply_adds"):
            costs[name] = LayerCost(name, type(module).__name__, (), sum(p.size for p in own), 0)
            removals.append(module.register_forward_hook(_measuring(costs, name)))
    try:
        run_once(model, input_shape)
    finally:
        for remove in removals:
            remove()
    return ModelCost(tuple(costs.values()))


@no_grad()
def run_once(model: Module, input_shape: tuple[int, int, int]) -> Tensor:
    """The output for one black image of shape (C, H, W) in evaluation mode; modes are as before afterwards."""
    modes = [(module, module.training) for _, module in model.named_modules()]
    parameter = next(model.parameters(), Tensor([0.0]))
    try:
        return model.eval()(Tensor(get_array_module(parameter.data).zeros((1, *input_shape), parameter.dtype)))
    finally:
        for module, mode in modes:
            module.training = mode


def _measuring(costs: dict[str, LayerCost], name: str) -> Callable[[Module, tuple[Any, ...], Any], None]:
    """A hook that adds a call of the layer `name` to its entry in `costs`."""

    def hook(module: Module, inputs: tuple[Any, ...], output: Any) -> None:
        before = costs[name]
        rule = getattr(module, "multiply_adds", lambda x_shape, y_shape: 0)
        costs[name] = replace(
            before,
            output=output.shape[1:],
            multiply_adds=before.multiply_adds + rule(inputs[0].shape, output.shape),
        )

    return hook
