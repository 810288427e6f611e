r"""Optimizers: how a gradient moves a parameter.

With g = ∂L/∂p, learning rate η and weight decay λ, a step of

SGD, momentum μ (v = 0 before the first step):

    g ← g + λ p                                                         (1)
    v ← μ v + g                                                         (2)
    p ← p - η v,            or with Nesterov   p ← p - η (g + μ v)      (3)

AdamW (Loshchilov and Hutter, ICLR 2019), betas β₁ β₂, t = 1, 2, … counting this parameter's steps:

    p ← (1 - η λ) p                                                     (4)
    m ← β₁ m + (1 - β₁) g,  s ← β₂ s + (1 - β₂) g²                      (5)
    p ← p - η m̂ / (√ŝ + ε), m̂ = m / (1 - β₁ᵗ),  ŝ = s / (1 - β₂ᵗ)       (6)

η multiplies v at use, so that a schedule does not rescale the velocity that is stored: PyTorch's convention.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minidl.device import Array, asnumpy, get_array_module
from minidl.kernels import kernels_for
from minidl.kernels.segments import Segment
from minidl.nn.flat import Flat
from minidl.nn.groups import Group, parameter_groups
from minidl.nn.parameter import Parameter

if TYPE_CHECKING:
    from minidl.precision import LossScale

__all__ = ["SGD", "AdamW", "Group", "Optimizer", "create_optimizer", "optimizer_names", "parameter_groups"]


@dataclass(frozen=True)
class _Kept:
    """What is kept for one parameter: steps it has taken, and an array of its shape for each slot."""

    steps: int
    arrays: dict[str, Array]


@dataclass
class _Pack:
    """Parameters of one dtype end to end, and what is kept for them: `kept` by slot, `steps` one for each."""

    names: tuple[str, ...]
    flat: Flat
    segments: tuple[Segment, ...]
    kept: dict[str, Array]
    steps: Array


class Optimizer:
    """What SGD and AdamW share: groups, the learning rate, saving and loading.

    A subclass names in `slots` the arrays it keeps for each parameter and defines `_update`.  Parameters that step
    together lie end to end in one array, and so does all that is kept for them: see `nn.flat`.

    Args:
        params: Parameters, or groups of them from `parameter_groups`.
        lr: the learning rate, >= 0.
        weight_decay: λ of parameters that come without a group.

    Attributes:
        lr: the learning rate; assign to it before a step, as a schedule does.
        groups: the parameters.

    Raises:
        ValueError: a parameter is given twice, or a number is out of its range.

    Example:
        >>> optimizer = SGD([Parameter([1.0])], lr=0.1)
        >>> optimizer.lr = 0.05
        >>> optimizer
        SGD(lr=0.05, 1 parameters)
    """

    slots: ClassVar[tuple[str, ...]] = ()
    not_negative: ClassVar[tuple[str, ...]] = ()  # those of the slots that hold squares

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float) -> None:
        self.lr = lr
        self.groups = _as_groups(params, weight_decay)
        names = [name for group in self.groups for name, _ in group.params]
        if len({id(p) for group in self.groups for _, p in group.params}) != len(names):
            raise ValueError(f"{type(self).__name__}: a parameter was given twice")
        self._packs: list[_Pack] = []
        self._packed: object = None  # which parameters are in the packs
        self._apart: dict[str, _Kept] = {}  # of parameters that are in none

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _at_least_zero(type(self).__name__, "lr", value)

    def step(self, scale: LossScale | None = None) -> None:
        """Move every parameter that has a gradient.

        Args:
            scale: by which the loss was multiplied, in mixed precision; it may leave the step out, and moves on.

        Raises:
            ValueError: there is a scale, and parameters are not all float32.
        """
        active = [(name, p, group) for group in self.groups for name, p in group.params if p.grad is not None]
        packed = [(name, p.dtype) for name, p, _ in active]
        if packed != self._packed:
            self._pack(active)
            self._packed = packed
        if scale is not None and any(dtype != np.float32 for _, dtype in packed):
            raise ValueError(f"{type(self).__name__}: parameters must be float32 in mixed precision")
        for pack in self._packs:
            p, g = pack.flat.values(), pack.flat.gradients()
            kernels, scaling = kernels_for(get_array_module(p)), {} if scale is None else scale.judge(g)
            with nullcontext() if scale is None else np.errstate(all="ignore"):  # of a step that is then left out
                pack.flat.give(self._update(kernels, pack, p, g, **scaling))

    def _update(self, kernels: ModuleType, pack: _Pack, p: Array, g: Array, **scaling: Array) -> Array:
        """New parameters from old ones and their gradients, all end to end; moves `pack.kept` and `pack.steps`."""
        raise NotImplementedError(f"{type(self).__name__}: _update is not defined")

    def _pack(self, active: Sequence[tuple[str, Parameter, Group]]) -> None:
        """Put parameters that step together, and what is kept for them, end to end: a pack for each dtype."""
        self._apart = self._kept()
        self._packs = []
        for dtype in dict.fromkeys(p.dtype for _, p, _ in active):
            names, params, groups = zip(*(entry for entry in active if entry[1].dtype == dtype), strict=True)
            flat = Flat(params)
            xp = get_array_module(flat.values())
            kept = []
            for name, p in zip(names, params, strict=True):
                fresh = _Kept(0, {slot: xp.zeros_like(p.data) for slot in self.slots})
                kept.append(self._apart.pop(name, fresh))
            segments = [Segment(n, g.weight_decay, g.lr_factor) for n, g in zip(flat.ends, groups, strict=True)]
            slots = {slot: flat.joined([k.arrays[slot] for k in kept]) for slot in self.slots}
            self._packs.append(_Pack(names, flat, tuple(segments), slots, np.array([k.steps for k in kept], np.int64)))

    def _kept(self) -> dict[str, _Kept]:
        """What is kept for each parameter, by its name, wherever it is; waits for a GPU."""
        found = dict(self._apart)
        for pack in self._packs:
            parts = {slot: pack.flat.parts(array) for slot, array in pack.kept.items()}
            for i, (name, steps) in enumerate(zip(pack.names, asnumpy(pack.steps).tolist(), strict=True)):
                found[name] = _Kept(steps, {slot: arrays[i] for slot, arrays in parts.items()})
        return {name: found[name] for group in self.groups for name, _ in group.params if name in found}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for _, parameter in group.params:
                parameter.grad = None

    def state_dict(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What a later run needs to go on: (arrays by "slot.parameter", JSON-able rest)."""
        kept = self._kept()
        arrays = {f"{slot}.{name}": asnumpy(k.arrays[slot]) for slot in self.slots for name, k in kept.items()}
        steps = {name: k.steps for name, k in kept.items()}
        return arrays, {"optimizer": type(self).__name__, "lr": self.lr, "steps": steps}

    def load_state_dict(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        """Go on from the `arrays` and `scalars` that `state_dict` gave.

        Raises:
            ValueError: the state is another optimizer's, or its names or shapes are not those of these parameters.
        """
        who = f"{type(self).__name__}.load_state_dict"
        if scalars.get("optimizer") != type(self).__name__:
            raise ValueError(f"{who}: the state is of optimizer {scalars.get('optimizer')!r}")
        parameters = {name: p for group in self.groups for name, p in group.params}
        steps = scalars.get("steps")
        if not isinstance(steps, Mapping) or not all(
            n in parameters and type(t) is int and t >= 1 for n, t in steps.items()
        ):
            raise ValueError(f"{who}: steps must count the steps of these parameters, got {steps!r:.80}")
        expected = {f"{slot}.{name}": (slot, name) for slot in self.slots for name in steps}
        different = sorted(expected.keys() ^ arrays.keys())
        if different:
            raise ValueError(f"{who}: {different[0]} is {'missing' if different[0] in expected else 'unknown'}")
        for key, (slot, name) in expected.items():
            if arrays[key].shape != parameters[name].shape:
                raise ValueError(f"{who}: {key} must have shape {parameters[name].shape}, got {arrays[key].shape}")
            if arrays[key].dtype.kind != "f" or not np.isfinite(arrays[key]).all():
                raise ValueError(f"{who}: {key} must hold finite floating-point numbers")
            if slot in self.not_negative and (arrays[key] < 0).any():
                raise ValueError(f"{who}: {key} must be >= 0, got {arrays[key].min()}")
        self.lr = scalars.get("lr", self.lr)
        self._packs, self._packed, self._apart = [], None, {}
        for name, count in steps.items():
            p = parameters[name].data
            like = {slot: asnumpy(arrays[f"{slot}.{name}"]).astype(p.dtype) for slot in self.slots}
            self._apart[name] = _Kept(count, {slot: get_array_module(p).asarray(a) for slot, a in like.items()})

    def __repr__(self) -> str:
        count = sum(p.size for group in self.groups for _, p in group.params)
        return f"{type(self).__name__}(lr={self.lr:g}, {count:,} parameters)"


class SGD(Optimizer):
    """Stochastic gradient descent with momentum; see (1)-(3).

    Args:
        params: Parameters, (name, Parameter) pairs, or `Group`s (as `parameter_groups` makes them).
        lr: learning rate η >= 0.
        momentum: μ in [0, 1).
        nesterov: look ahead; needs a momentum.
        weight_decay: λ >= 0, for parameters not given as a `Group`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> p = Parameter([1.0])
        >>> sgd = SGD([p], lr=0.1, momentum=0.9)
        >>> p.grad = np.array([2.0], np.float32)
        >>> sgd.step()
        >>> p.data
        array([0.8], dtype=float32)
    """

    slots = ("velocity",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        self.momentum, self.nesterov = _fraction("SGD", "momentum", momentum), bool(nesterov)
        if nesterov and momentum == 0:
            raise ValueError("SGD: nesterov needs momentum > 0, got 0")

    def _update(self, kernels: ModuleType, pack: _Pack, p: Array, g: Array, **scaling: Array) -> Array:
        options = {**scaling, "lr": self.lr, "momentum": self.momentum, "nesterov": self.nesterov}
        p, v, _ = kernels.sgd_step(p, g, pack.kept["velocity"], pack.segments, **options)  # (1)-(3)
        pack.kept, pack.steps = {"velocity": v}, pack.steps + 1
        return p


class AdamW(Optimizer):
    """Adam with decoupled weight decay; see (4)-(6).

    Args:
        params: Parameters, (name, Parameter) pairs, or `Group`s (as `parameter_groups` makes them).
        lr: learning rate η >= 0.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε > 0.
        weight_decay: λ >= 0, for parameters not given as a `Group`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> p = Parameter([1.0])
        >>> adam = AdamW([p], lr=0.1, weight_decay=0.0)
        >>> p.grad = np.array([2.0], np.float32)
        >>> adam.step()
        >>> p.data.round(4)
        array([0.9], dtype=float32)
    """

    slots = ("mean", "square")
    not_negative = ("square",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        self.betas = (_fraction("AdamW", "beta 1", betas[0]), _fraction("AdamW", "beta 2", betas[1]))
        self.eps = _at_least_zero("AdamW", "eps", eps)
        if eps == 0:
            raise ValueError("AdamW: eps must be > 0, got 0")

    def _update(self, kernels: ModuleType, pack: _Pack, p: Array, g: Array, **scaling: Array) -> Array:
        options = {**scaling, "lr": self.lr, "betas": self.betas, "eps": self.eps}
        m, s, steps = pack.kept["mean"], pack.kept["square"], get_array_module(p).asarray(pack.steps)
        p, m, s, pack.steps, _ = kernels.adamw_step(p, g, m, s, steps, pack.segments, **options)  # (4)-(6)
        pack.kept = {"mean": m, "square": s}
        return p


_OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW}


def optimizer_names() -> list[str]:
    """The names that `create_optimizer` knows.

    Example:
        >>> optimizer_names()
        ['sgd', 'adamw']
    """
    return list(_OPTIMIZERS)


def create_optimizer(name: str, params: Iterable[Any], *, lr: float, **options: Any) -> Optimizer:
    """The optimizer called `name`; `options` are its other arguments.

    Args:
        name: one of `optimizer_names()`.
        params: parameters, or groups of them from `parameter_groups`.
        lr: the learning rate, >= 0.
        options: of the optimizer, such as `momentum`.

    Returns:
        The optimizer.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> create_optimizer("sgd", [Parameter([1.0])], lr=0.1, nesterov=True)
        SGD(lr=0.1, 1 parameters)
    """
    if name not in _OPTIMIZERS:
        raise ValueError(f"create_optimizer: name must be one of {', '.join(_OPTIMIZERS)}, got {name!r}")
    return _OPTIMIZERS[name](params, lr, **options)


def _as_groups(params: Iterable[Any], weight_decay: float) -> list[Group]:
    """`params` as Groups; parameters given without a name are called by their position."""
    given = list(params)
    if not given:
        raise ValueError("optimizer: there are no parameters to train")
    if all(isinstance(item, Group) for item in given):
        groups = given
    else:
        pairs = [item if isinstance(item, tuple) else (str(i), item) for i, item in enumerate(given)]
        groups = [Group(tuple(pairs), weight_decay)]
    for group in groups:
        _at_least_zero("optimizer", "weight_decay", group.weight_decay)
        _at_least_zero("optimizer", "lr_factor", group.lr_factor)
        for _, parameter in group.params:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"optimizer: params must be Parameters, got {type(parameter).__name__}")
    return groups


def _at_least_zero(who: str, name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{who}: {name} must be a finite number >= 0, got {value}")
    return float(value)


def _fraction(who: str, name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{who}: {name} must be in [0, 1), got {value}")
    return float(value)
