"""Modules that hold others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minidl import ops
from minidl.autograd import Tensor
from minidl.nn.activation import ReLU, after_norm
from minidl.nn.module import Module


class ModuleList(Module):
    """Modules by number; calling them is the owner's business.

    Args:
        modules: in their order.

    Example:
        >>> [name for name, _ in ModuleList([Identity(), Identity()]).named_children()]
        ['0', '1']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add `module` under the next number."""
        setattr(self, str(len(self)), module)

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]


class Sequential(ModuleList):
    """Modules one after the other, called "0", "1", … or by the names they are given.

    A batch norm takes a ReLU that follows it along in one pass (`after_norm`): the same bits in less time.

    Args:
        modules: in their order, without names.
        named: or with names, in the order in which they are given.

    Example:
        >>> [name for name, _ in Sequential(conv=Identity(), norm=Identity()).named_children()]
        ['conv', 'norm']
    """

    def __init__(self, *modules: Module, **named: Module) -> None:
        super().__init__(modules)
        for name, module in named.items():
            setattr(self, name, module)

    def forward(self, x: Any) -> Any:
        modules = list(self)
        while modules:
            module = modules.pop(0)
            relu_follows = bool(modules) and type(modules[0]) is ReLU
            x = after_norm(modules.pop(0), module, x) if relu_follows else module(x)
        return x


class Identity(Module):
    """Its input: a place where another layer can be put.

    Example:
        >>> Identity()(Tensor([1.0])).data
        array([1.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """(N, …) to (N, Π…).

    Example:
        >>> Flatten()(Tensor([[[1.0, 2.0], [3.0, 4.0]]])).shape
        (1, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x, 1)  # (N, C, H, W) → (N, C·H·W)
