"""The record from which tests, tables and checks of one public op are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One call of an op.

    Attributes:
        inputs: float64 arrays (None for an absent one), in the order of the op's positional arguments.
        params: keyword arguments.  Arrays among them (labels, masks) are constants to the op.
    """

    inputs: tuple[np.ndarray | None, ...]
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = " ".join("None" if x is None else "×".join(map(str, x.shape)) or "scalar" for x in self.inputs)
        return f"{shapes} {self.params}" if self.params else shapes


@dataclass(frozen=True)
class Kink:
    """Where the op has no derivative, and the subgradient it states there.

    Attributes:
        where: in words, as the table in the docs prints it: "x = 0".
        sample: a call at the kink.
        gradients: what backward must return for a cotangent of ones, one array (or None) per input.
    """

    where: str
    sample: Sample
    gradients: tuple[np.ndarray | None, ...]


@dataclass(frozen=True)
class ErrorCase:
    """A call that must be refused.

    Attributes:
        sample: the call.
        exception: its class.
        message: a regular expression its message must match: the op's name, the rule, the value.
        reads: whether the values of a Tensor must be read to see it.  On a GPU that would stall the step: the call is
            not refused there.
    """

    sample: Sample
    exception: type[Exception]
    message: str
    reads: bool = False


@dataclass(frozen=True)
class OpCase:
    """The specification of one public op.

    Attributes:
        name: its name in `minidl.ops`.
        op: the function; called `op(*inputs, **params)`, returns a Tensor.
        samples: calls drawn from a Generator, away from kinks: every parameter, every branch, and sizes
            that tell axes apart (height ≠ width in sizes, kernels, strides and paddings).
        reference: the forward formula in plain loops on arrays, sharing no code with the op; same arguments.
        equations: the formula, one line, for tables.
        constants: indices of inputs that have no gradient (noise, say).
        linear_in: indices of the inputs in which the op is linear, for the adjoint identity.
        analytic: whether forward works on complex arrays and is analytic there, so that complex step applies.
        normwise: whether the output is exact relative to its largest element only, not to each, as a transform's is.
        kinks: stated subgradients.
        errors: calls refused.
        draw: returns a hypothesis strategy of Samples, for windowed and broadcasting ops.
    """

    name: str
    op: Callable[..., Any]
    samples: Callable[[np.random.Generator], Iterable[Sample]]
    reference: Callable[..., np.ndarray]
    equations: str
    constants: tuple[int, ...] = ()
    linear_in: tuple[int, ...] = ()
    analytic: bool = True
    normwise: bool = False
    kinks: tuple[Kink, ...] = ()
    errors: tuple[ErrorCase, ...] = ()
    draw: Callable[[], Any] | None = None
