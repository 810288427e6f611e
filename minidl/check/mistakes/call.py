"""What mistakes are written with: one call, its right answers, and the op with something changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor, no_grad
from minidl.check.calling import Signature, input_names
from minidl.check.spec.case import OpCase, Sample
from minidl.kernels import use_kernels

Gradients = Mapping[str, np.ndarray]


class Call:
    """One call of an op.

    Attributes:
        case, sample: the call.
        y: the right output.
        gy: the cotangent.
        before: the inputs of the call made before this one, for functions that remember them.

    Example:
        >>> from minidl.check.spec import CASES
        >>> case = next(case for case in CASES if case.name == "linear")
        >>> call = Call(case, Sample((np.array([[3.0]]), np.array([[2.0]]), np.array([1.0]))), np.ones((1, 1)))
        >>> call["bias"], call(bias=None), call.pull()["x"]
        (array([1.]), array([[6.]]), array([[2.]]))
    """

    def __init__(self, case: OpCase, sample: Sample, gy: np.ndarray, before: Sample | None = None) -> None:
        self.case, self.sample, self.gy, self.before = case, sample, gy, before
        self.names = input_names(case, len(sample.inputs))
        self._defaults = Signature.of(case).defaults
        self._right: dict[str, np.ndarray] | None = None
        self.y = self()

    def __getitem__(self, name: str) -> Any:
        """An input, or a parameter with its default."""
        if name in self.names:
            return self.sample.inputs[self.names.index(name)]
        return self.sample.params.get(name, self._defaults.get(name))

    def _changed(self, changes: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        inputs = [changes.get(n, x) for n, x in zip(self.names, self.sample.inputs, strict=True)]
        params = {**self.sample.params, **{k: v for k, v in changes.items() if k not in self.names}}
        return inputs, params

    def __call__(self, **changes: Any) -> np.ndarray:
        """The op's output with some arguments changed."""
        inputs, params = self._changed(changes)
        with no_grad(), use_kernels("array"):
            y = self.case.op(*[None if x is None else Tensor(np.asarray(x, np.float64)) for x in inputs], **params)
        return np.asarray(y.data, np.float64)

    def pull(self, gy: Any = None, **changes: Any) -> dict[str, np.ndarray]:
        """The op's gradients, by name of input, for another cotangent or with some arguments changed."""
        if gy is None and not changes and self._right is not None:
            return self._right
        inputs, params = self._changed(changes)
        wanted = [i for i, x in enumerate(inputs) if x is not None and i not in self.case.constants]
        xs = [
            None if x is None else Tensor(np.asarray(x, np.float64), requires_grad=i in wanted)
            for i, x in enumerate(inputs)
        ]
        with use_kernels("array"):
            y = self.case.op(*xs, **params)
            y.backward(np.asarray(self.gy if gy is None else gy, y.dtype))
        found = {self.names[i]: np.asarray(g) for i in wanted if (x := xs[i]) is not None and (g := x.grad) is not None}
        if gy is None and not changes:
            self._right = found
        return found


@dataclass(frozen=True)
class Mistake:
    """A known mistake.

    Attributes:
        name: a few words.
        ops: the ops in which it is made; none for all.
        says: one sentence: what the result is, and what it should be.
        output: the output with that mistake; None to say that this call would not show it.
        gradient: the wrong gradients with that mistake, by name of input, for a right forward.
        left: the constants that it leaves behind with that mistake, by name.
    """

    name: str
    ops: tuple[str, ...]
    says: str
    output: Callable[[Call], Any] | None = None
    gradient: Callable[[Call], Gradients] | None = None
    left: Callable[[Call], Gradients] | None = None

    @property
    def of(self) -> str:
        """Of what results it is: "output", "gradient" or "left"."""
        return "output" if self.output is not None else "gradient" if self.gradient is not None else "left"


def run(name: str, *xs: Any, **params: Any) -> np.ndarray:
    """The output of another op of minidl on these arrays."""
    with no_grad():
        y = getattr(ops, name)(*[None if x is None else Tensor(np.asarray(x, np.float64)) for x in xs], **params)
    return np.asarray(y.data)


def pair(value: Any) -> tuple[Any, Any]:
    """One number stands for both axes."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def swapped(value: Any) -> tuple[Any, Any]:
    """(vertical, horizontal) the other way round."""
    vertical, horizontal = pair(value)
    return horizontal, vertical


def with_swapped(*names: str) -> Callable[[Call], np.ndarray]:
    """The output with pairs the other way round; words and None stay."""
    return lambda c: c(**{n: swapped(c[n]) for n in names if c[n] is not None and not isinstance(c[n], str)})


def flipped(kernel: np.ndarray) -> np.ndarray:
    """A kernel turned by half a turn."""
    return kernel[..., ::-1, ::-1]


def flag(c: Call, name: str) -> dict[str, bool]:
    """A truth value turned round."""
    return {name: not c[name]}
