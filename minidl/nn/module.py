"""Module: a tree of layers whose parameters have names.

A Module is what its attributes are.  Assigning a `Parameter`, a `Buffer`, a `numpy.random.Generator` or another
`Module` to an attribute registers it under that attribute's name, in the order of first assignment; there is no
list to keep up to date, and no `super().__init__()` to forget.  Names of the tree join with dots:

    model.layer1[0].conv1.weight        →   "layer1.0.conv1.weight"

which are PyTorch's names, so that state dicts are exchanged with it as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from minidl.autograd import Tensor
from minidl.device import Device, asnumpy, get_array_module
from minidl.nn.parameter import Buffer, Parameter
from minidl.nn.state import compare_states

Self = TypeVar("Self", bound="Module")
Hook = Callable[["Module", tuple[Any, ...], Any], Any]


class Module:
    """Base of all layers and models; subclasses assign attributes and define `forward`.

    Attributes:
        training: whether the layer acts as in training (dropout drops, BatchNorm uses the batch); see `train`.
        no_weight_decay: names of the own parameters that `optim.parameter_groups` keeps from decaying.

    Example:
        >>> class Scale(Module):
        ...     def __init__(self):
        ...         self.factor = Parameter(3.0)
        ...
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> scale = Scale()
        >>> scale(Tensor([2.0])).data
        array([6.], dtype=float32)
        >>> [name for name, _ in scale.named_parameters()]
        ['factor']
    """

    training: bool = True
    no_weight_decay: tuple[str, ...] = ("bias",)
    _forward_hooks: tuple[Hook, ...] = ()

    def forward(self, *inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: forward is not defined")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        output = self.forward(*inputs, **options)
        for hook in self._forward_hooks:
            replaced = hook(self, inputs, output)
            output = output if replaced is None else replaced
        return output

    @property
    def is_watched(self) -> bool:
        """Whether a forward hook is registered, which must see this module's own output."""
        return bool(self._forward_hooks)

    def register_forward_hook(self, hook: Hook) -> Callable[[], None]:
        """Call `hook(module, inputs, output)` after every forward; what it returns, unless None, becomes the output.

        Returns:
            A function that removes the hook.

        Example:
            >>> seen = []
            >>> layer = Module()
            >>> layer.forward = lambda x: x
            >>> remove = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
            >>> layer(1), remove(), layer(2), seen
            (1, None, 2, [1])
        """
        self._forward_hooks = (*self._forward_hooks, hook)

        def remove() -> None:
            self._forward_hooks = tuple(h for h in self._forward_hooks if h is not hook)

        return remove

    # The tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The Modules directly below, in order."""
        return self._own(Module)

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Every Module of the tree with its path, this one first (path ""), a shared one once.

        The tree is walked before the first is given, so that the caller may replace modules on the way.
        """
        found: dict[int, tuple[str, Module]] = {}

        def walk(path: str, module: Module) -> None:
            if id(module) not in found:
                found[id(module)] = path, module
                for name, child in module.named_children():
                    walk(f"{path}.{name}" if path else name, child)

        walk("", self)
        return iter(found.values())

    def get_submodule(self, path: str) -> Module:
        """The Module at `path`, such as "layer1.0.conv1"; "" is this one.

        Raises:
            ValueError: there is none; the message names the first part that is missing.
        """
        module = self
        for depth, name in enumerate(path.split(".") if path else []):
            child = vars(module).get(name)
            if not isinstance(child, Module):
                parent = ".".join(path.split(".")[:depth]) or type(self).__name__
                names = ", ".join(n for n, _ in module.named_children()) or "none"
                raise ValueError(f"get_submodule: {parent} has no submodule {name!r}; it has {names}")
            module = child
        return module

    def set_submodule(self, path: str, module: Module) -> None:
        """Put `module` in the place of the one at `path`; its position in the order stays.

        Raises:
            ValueError: nothing is at `path`.
            TypeError: `module` is no Module.
        """
        if not isinstance(module, Module):
            raise TypeError(f"set_submodule: {path!r} must become a Module, got {type(module).__name__}")
        if not path:
            raise ValueError("set_submodule: path must name a submodule, got ''")
        self.get_submodule(path)
        parent, _, name = path.rpartition(".")
        setattr(self.get_submodule(parent), name, module)

    # What the tree holds

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every Parameter with its name, in order, a shared one once."""
        return self._all(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Every Buffer with its name, in order."""
        return self._all(Buffer)

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """Every generator from which a layer draws noise: with the state dict, all that a resumed run needs."""
        return self._all(np.random.Generator)

    def parameters(self) -> Iterator[Parameter]:
        """Every Parameter, in order."""
        return (parameter for _, parameter in self.named_parameters())

    def _own(self, kind: type) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name, value in list(vars(self).items()) if isinstance(value, kind))

    def _all(self, kind: type) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in module._own(kind):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    # State

    def _state(self) -> dict[str, Tensor]:
        """Parameters and buffers under every name they have, in PyTorch's order: a module's parameters, its buffers,
        then its children; a shared module appears under each of its paths, as PyTorch's state dicts have it."""
        own = {name: value for kind in (Parameter, Buffer) for name, value in self._own(kind)}
        for path, child in self.named_children():
            own.update((f"{path}.{name}", value) for name, value in child._state().items())
        return own

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every parameter and buffer by name, as NumPy arrays.

        They are a snapshot: parameters change by getting new arrays, never by writing into old ones.
        """
        return {name: tensor.numpy() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Set parameters and buffers from `state`; values are converted to this model's dtype and device.

        All is checked before anything is set.  BatchNorm's `num_batches_tracked`, which PyTorch counts and nothing
        here needs, is passed over.

        Args:
            state: arrays by name, as `state_dict` gives them, PyTorch's included.
            strict: refuse names that are missing or unknown.  A wrong shape is refused in any case.

        Raises:
            ValueError: names or shapes differ; one line with the first differences.
        """
        own = self._state()
        difference = compare_states({name: tensor.shape for name, tensor in own.items()}, state)
        if difference.mismatched or (strict and difference):
            raise ValueError(f"load_state_dict: {type(self).__name__} and the state differ: {difference}")
        for name, tensor in own.items():
            if name in state:
                value = asnumpy(state[name]).astype(tensor.dtype, order="C")
                tensor.data = get_array_module(tensor.data).asarray(value)

    # Modes and places

    def train(self: Self, mode: bool = True) -> Self:
        """Set the whole tree to training (or, with `mode=False`, evaluation) mode; returns self."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Set the whole tree to evaluation mode; returns self."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Let gradients flow to every parameter below, or with `requires_grad` False freeze them; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def astype(self: Self, dtype: Any) -> Self:
        """Convert parameters and buffers to float32 or float64, in place; gradients are dropped.  Returns self.

        Raises:
            ValueError: `dtype` is another one.
        """
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"astype: dtype must be float32 or float64, got {np.dtype(dtype)}")
        return self._replace(lambda array: array.astype(dtype))

    def to(self: Self, device: Device) -> Self:
        """Move parameters and buffers to `device`, in place; gradients are dropped.  Returns self."""
        return self._replace(device.asarray)

    def _replace(self: Self, convert: Callable[[Any], Any]) -> Self:
        for tensor in self._state().values():
            tensor.data = convert(tensor.data)
            tensor.grad = None
        return self

    # Text

    def extra_repr(self) -> str:
        """The layer's settings as its line in `repr` shows them."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return f"{head}\n  " + "\n  ".join(lines) + "\n)" if lines else f"{head})"
