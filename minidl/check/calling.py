"""How the arguments of an op are given to somebody else's function: by which names, and which of them it lacks.

Arguments go by name where the function has ours, the one that `rename` says, or a usual synonym (`dim` for `axis`);
inputs without a namesake go, in order, to parameters without one.  What the function lacks is left at the op's
default: a call that needs another value is changed to one that does not, or skipped, and the report says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import ops
from minidl.check.spec.case import OpCase, Sample

SYNONYMS: dict[str, tuple[str, ...]] = {
    "x": ("input", "inputs"),
    "axis": ("dim", "dims"),
    "axes": ("dims", "perm"),
    "keepdims": ("keepdim",),
    "padding": ("pad",),
    "kernel_size": ("pool_size", "window", "ksize", "kernel"),
    "stride": ("strides",),
    "dilation": ("dilations",),
    "weight": ("w", "gamma", "scale"),
    "bias": ("b", "beta"),
    "eps": ("epsilon",),
    "target": ("targets", "labels"),
    "logits": ("input", "inputs"),
    "label_smoothing": ("smoothing",),
    "negative_slope": ("slope", "alpha"),
    "taps": ("kernel",),
    "lam": ("lambda_", "lmbda"),
}
LISTED = ("concat", "stack")  # ops that take their inputs as one list


class Unsupported(Exception):
    """The function has no way to be given this call."""


@dataclass(frozen=True)
class Signature:
    """The public arguments of an op, in order, and their defaults; inputs of `concat` are its `tensors`."""

    name: str
    arguments: tuple[str, ...]
    defaults: Mapping[str, Any]

    @classmethod
    def of(cls, case: OpCase) -> Signature:
        parameters = inspect.signature(getattr(ops, case.name)).parameters
        defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
        return cls(case.name, tuple(parameters), defaults)


def input_names(case: OpCase, count: int) -> list[str]:
    """What the op calls its first `count` inputs.

    Example:
        >>> from minidl.check.spec import CASES
        >>> input_names(next(case for case in CASES if case.name == "conv2d"), 3)
        ['x', 'weight', 'bias']
    """
    if case.name in LISTED:
        return [f"tensors[{i}]" for i in range(count)]
    return list(inspect.signature(case.op).parameters)[:count]


def same_value(a: Any, b: Any) -> bool:
    """Whether two parameters mean the same, as 1 and (1, 1) do.

    Example:
        >>> same_value((1, 1), 1), same_value(None, 0), same_value(False, False)
        (True, False, True)
    """
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is b
    if isinstance(a, tuple) and isinstance(b, int):
        return a == (b,) * len(a)
    return (a is None) == (b is None) and bool(a == b)


@dataclass
class Calling:
    """How one function is called with the arguments of an op.

    Attributes:
        fn: the function.
        op: the signature of the op.
        rename: our names of arguments, and the function's.
        positional: whether it takes arguments by position only, as `torch.autograd.Function.apply` does.
        drop: how many of its first parameters are not arguments of the op.
        notes: what was found about its parameters, for the report.
    """

    fn: Callable[..., Any]
    op: Signature
    rename: Mapping[str, str] = field(default_factory=dict)
    positional: bool = False
    drop: int = 0
    shown: Callable[..., Any] | None = None
    notes: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.rename:
            if name not in self.op.arguments:
                known = ", ".join(self.op.arguments)
                raise ValueError(f"rename: {self.op.name} has no argument {name!r}; it has {known}")
        try:
            parameters = list(inspect.signature(self.shown or self.fn).parameters.values())[self.drop :]
        except (ValueError, TypeError):  # a builtin
            parameters = []
        kinds = {p.kind for p in parameters}
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.parameters = {p.name: p for p in named}
        self.anything = not parameters or (not named and len(kinds) == 2)  # *args, **kwargs, or nothing known
        self.any_keyword = inspect.Parameter.VAR_KEYWORD in kinds
        self.listed = inspect.Parameter.VAR_POSITIONAL in kinds and self.op.name in LISTED
        self.theirs = {} if self.anything else self._matched()

    def _matched(self) -> dict[str, str]:
        """Our names → theirs."""
        found: dict[str, str] = {}
        for name in self.op.arguments:
            wish = self.rename.get(name, name)
            if wish in self.parameters or (self.any_keyword and name in self.rename):
                found[name] = wish
            elif name in self.rename:
                have = ", ".join(self.parameters)
                raise ValueError(f"rename: {name_of(self.fn)} has no parameter {wish!r}; it has {have}")
        for name in self.op.arguments:
            for synonym in SYNONYMS.get(name, ()):
                if name not in found and synonym in self.parameters and synonym not in found.values():
                    found[name] = synonym
        return found

    def place(self, inputs: Sequence[str]) -> None:
        """Give the op's inputs that have no namesake to parameters that have none, in order."""
        if self.anything:
            return
        lone = [n for n in self.op.arguments if n in inputs and n not in self.theirs]
        free = [
            name
            for name, p in self.parameters.items()
            if name not in self.theirs.values() and p.kind is not p.KEYWORD_ONLY and p.default in (p.empty, None)
        ]
        self.theirs |= dict(zip(lone, free, strict=False))
        for name, p in self.parameters.items():
            if name not in self.theirs.values() and p.default is p.empty:
                raise ValueError(
                    f"{name_of(self.fn)}: parameter {name!r} has no default and no counterpart in {self.op.name}"
                    f"({', '.join(self.op.arguments)}); say which it is: rename={{'…': {name!r}}}"
                )

    def lacks(self, name: str) -> bool:
        """Whether the function has no parameter for our argument `name`."""
        return not (self.anything or self.any_keyword or self.listed) and name not in self.theirs

    def __call__(self, values: Mapping[str, Any], *front: Any) -> Any:
        """Call the function with our named `values`, `front` before them.

        Raises:
            Unsupported: it cannot be given them.
        """
        given = {name: values[name] for name in self.op.arguments if name in values}
        if self.listed:
            return self.fn(*given.pop("tensors"), **{self.rename.get(n, n): v for n, v in given.items()})
        if self.anything:
            return self._called_blindly(given, front)
        keywords: dict[str, Any] = {}
        for name, value in given.items():
            if name in self.theirs or self.any_keyword:
                keywords[self.theirs.get(name, name)] = value
            elif not (value is None or (name in self.op.defaults and same_value(value, self.op.defaults[name]))):
                raise Unsupported(f"{name} is not taken")
        for name in self.theirs.keys() - given.keys():
            self._default(name, keywords)
        for name, theirs in self.theirs.items():
            if given.get(name, ...) is None and self._required(theirs) and self.op.name != "batch_norm":
                raise Unsupported(f"{name} must be given")
        return self._called(keywords, front)

    def _required(self, theirs: str) -> bool:
        parameter = self.parameters.get(theirs)
        return parameter is not None and parameter.default is parameter.empty

    def _default(self, name: str, keywords: dict[str, Any]) -> None:
        """What to give for an argument that this call leaves at its default."""
        theirs = self.theirs[name]
        parameter = self.parameters.get(theirs)
        if parameter is None or name not in self.op.defaults:
            return
        ours = self.op.defaults[name]
        if parameter.default is parameter.empty:
            keywords[theirs] = ours
        elif not same_value(parameter.default, ours):
            if ours is None:
                raise Unsupported(f"{name}=None is not taken: its default is {parameter.default!r}")
            if parameter.default is not None:
                self.notes[f"the default of {theirs} is {parameter.default!r}, that of {self.op.name} {ours!r}"] = None
            keywords[theirs] = ours

    def _called(self, keywords: dict[str, Any], front: tuple[Any, ...]) -> Any:
        """By position as far as the parameters go without a gap, then by keyword."""
        args: list[Any] = []
        last = max((i for i, name in enumerate(self.parameters) if name in keywords), default=-1)
        for i, (name, p) in enumerate(self.parameters.items()):
            if name in keywords and p.kind is not p.KEYWORD_ONLY:
                args.append(keywords.pop(name))
            elif self.positional and i < last:
                args.append(p.default)
            else:
                break
        return self.fn(*front, *args, **keywords)

    def _called_blindly(self, given: dict[str, Any], front: tuple[Any, ...]) -> Any:
        """A function that does not say what it takes: arguments without a default by position, the rest by name."""
        args: list[Any] = list(front)
        keywords: dict[str, Any] = {}
        for name, value in given.items():
            if (name not in self.op.defaults or _is_array(value)) and not keywords:
                args.append(value)
            elif not (name in self.op.defaults and same_value(value, self.op.defaults[name])):
                keywords[self.rename.get(name, name)] = value
        return self.fn(*args, **keywords)


def name_of(fn: Any) -> str:
    """What to call a function in a report."""
    return getattr(fn, "__name__", None) or type(fn).__name__


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") or isinstance(value, list)


def simplified(case: OpCase, sample: Sample, lacking: set[str], single: set[str]) -> Sample:
    """The sample without the arguments that are `lacking`, and with one number for both axes where that is all."""
    names = input_names(case, len(sample.inputs))
    inputs, params = list(sample.inputs), dict(sample.params)
    if "groups" in lacking and "groups" in params:
        inputs = _without_groups(case.name, inputs, params["groups"])
    if "variance" in lacking and len(names) > 1 and inputs[-1] is not None and inputs[-2] is None:
        inputs[-2] = np.sqrt(inputs[-1])  # of the Gaussian kernels: by σ instead
    for name in lacking:
        params.pop(name, None)
        if name in names and Signature.of(case).defaults.get(name, ...) is None:
            inputs[names.index(name)] = None
    for name in single & params.keys():
        if isinstance(value := params[name], tuple) and value and isinstance(value[0], int):
            params[name] = value[0]
    return Sample(tuple(inputs), params)


def _without_groups(op: str, inputs: list[np.ndarray | None], groups: int) -> list[np.ndarray | None]:
    """The first group alone."""
    x, weight, bias = inputs
    assert x is not None and weight is not None
    x, weight = x[:, : x.shape[1] // groups], weight[: len(weight) // groups]
    return [x, weight, None if bias is None else bias[: len(bias) // groups]]
