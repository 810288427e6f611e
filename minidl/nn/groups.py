"""Parameters of equal treatment: which of them decay, and which learn faster or slower than the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minidl.nn.module import Module
from minidl.nn.parameter import Parameter

__all__ = ["Group", "parameter_groups"]


@dataclass(frozen=True)
class Group:
    """Parameters that are treated alike.

    Attributes:
        params: (name, Parameter) pairs; the names label what is saved and what messages say.
        weight_decay: λ of these parameters.
        lr_factor: their learning rate as a multiple of the optimizer's.
    """

    params: tuple[tuple[str, Parameter], ...]
    weight_decay: float
    lr_factor: float = 1.0


def parameter_groups(model: Module, weight_decay: float, lr_factors: Mapping[str, float] | None = None) -> list[Group]:
    """Groups of equal treatment: parameters that decay, and those that a layer keeps from it, for each learning rate.

    Decay makes a function flatter through its weights; pulling a scale to 0 that BatchNorm sets right after does not,
    nor does pulling the logarithm of a width.  Every layer says which of its own parameters are exempt (biases, all
    of a norm layer's): `Module.no_weight_decay`.

    Args:
        model: whose parameters are meant.
        weight_decay: λ of those that decay.
        lr_factors: learning rates of parameters by name, as multiples of the optimizer's; 1 for all others.

    Returns:
        Groups whose parameters have names, for any optimizer.

    Raises:
        ValueError: a name in `lr_factors` is no parameter's.

    Example:
        >>> import numpy as np
        >>> from minidl import nn
        >>> model = nn.Linear(3, 2, rng=np.random.default_rng(0))
        >>> [([name for name, _ in group.params], group.weight_decay) for group in parameter_groups(model, 1e-4)]
        [(['weight'], 0.0001), (['bias'], 0.0)]
    """
    exempt = {
        id(value)
        for _, module in model.named_modules()
        for name, value in vars(module).items()
        if name in module.no_weight_decay
    }
    named, factors = dict(model.named_parameters()), dict(lr_factors or {})
    if unknown := factors.keys() - named.keys():
        raise ValueError(f"parameter_groups: lr_factors names {min(unknown)!r}, which is no parameter of the model")
    alike: dict[tuple[float, float], list[tuple[str, Parameter]]] = {}
    for factor in dict.fromkeys((1.0, *factors.values())):
        alike |= {(factor, weight_decay): [], (factor, 0.0): []}
    for name, parameter in named.items():
        decay = 0.0 if id(parameter) in exempt else weight_decay
        alike[factors.get(name, 1.0), decay].append((name, parameter))
    return [Group(tuple(params), decay, factor) for (factor, decay), params in alike.items() if params]
