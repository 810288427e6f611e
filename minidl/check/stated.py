"""What a specification states of single calls: the subgradients at kinks, and the calls that are refused."""

from __future__ import annotations

import re

import numpy as np

from minidl.check.spec.case import ErrorCase, Kink, OpCase
from minidl.check.truth import difference, fetched, forward, leaves, placed
from minidl.device import CPU, Device


def kink_violations(case: OpCase, kink: Kink, device: Device = CPU) -> list[str]:
    """What is wrong with output and gradients at a kink, in both precisions; empty if nothing is.

    Example:
        >>> from minidl.check.spec import CASES
        >>> [kink_violations(case, kink) for case in CASES if case.name == "relu" for kink in case.kinks]
        [[]]
    """
    found = []
    reference = np.asarray(case.reference(*kink.sample.inputs, **kink.sample.params))
    for dtype in (np.float32, np.float64):
        inputs = [None if x is None else x.astype(dtype) for x in kink.sample.inputs]
        xs = leaves(inputs, [i for i in range(len(inputs)) if i not in case.constants], device)
        y = case.op(*xs, **placed(kink.sample.params, device))
        bound = np.abs(reference) * 8 * np.finfo(dtype).eps  # inputs at a kink are few and simple
        if (line := difference(fetched(y.data, device), reference, bound, dtype)) is not None:
            found.append(f"{case.name} at {kink.where}: the output {line}")
        y.backward(device.xp.ones_like(y.data))
        for i, (x, expected) in enumerate(zip(xs, kink.gradients, strict=True)):
            if x is not None and expected is not None:
                line = difference(fetched(x.grad, device), np.asarray(expected), np.zeros(x.shape), dtype)
                if line is not None:
                    found.append(f"{case.name} at {kink.where}: the gradient of input {i} {line}")
    return found


def error_violations(case: OpCase, error: ErrorCase, device: Device = CPU) -> list[str]:
    """What is wrong with how a call is refused: not at all, by another exception, in other words, or in two lines.

    Example:
        >>> from minidl.check.spec import CASES
        >>> [line for case in CASES if case.name == "matmul" for e in case.errors for line in error_violations(case, e)]
        []
    """
    if error.reads and device.name != "cpu":
        return []
    call = f"{case.name}({error.sample})"
    try:
        forward(case, error.sample.inputs, error.sample.params, device)
    except error.exception as caught:
        if type(caught) is not error.exception:
            return [f"{call}: raises {type(caught).__name__}, not {error.exception.__name__}"]
        if not re.search(error.message, str(caught)) or "\n" in str(caught):
            return [f"{call}: says {str(caught)!r}, not one line with {error.message!r}"]
        return []
    return [f"{call}: is not refused"]
