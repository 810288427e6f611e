"""Every op of the specification, forward and backward, in both precisions: within its rounding bound, the same twice.

The truth is `check.truth`: loops in float64 for the output, derivatives of the forward for the gradients, and for
both how far rounding alone can carry them.  All of that is computed on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl.check.properties import truths
from minidl.check.spec import CASES, OpCase
from minidl.check.truth import Arrays, Truth
from minidl.selfcheck.finding import Finding, Part, Setting, failed, judged

QUICK = 1  # samples of an op in a quick check


def operations(setting: Setting) -> Iterator[Finding]:
    """A finding for every op in float64 and in float32."""
    for i, case in enumerate(CASES):
        setting.progress(f"{i + 1} of {len(CASES)} ops: {case.name}")
        samples = list(case.samples(np.random.default_rng(0)))
        calls = truths(case, samples[:QUICK] if setting.quick else samples)
        for dtype in (np.float64, np.float32):
            name = f"{case.name} {np.dtype(dtype).name}"
            try:
                yield checked(case, calls, dtype, setting, name)
            except Exception as error:  # whatever a device may do wrong
                yield failed(name, error)


def checked(case: OpCase, calls: list[Truth], dtype: type, setting: Setting, name: str) -> Finding:
    """The largest error over its bound among these calls, of outputs and of gradients."""
    worst, where, repeats = 0.0, "", True
    for truth in calls:
        there = truth.on(setting.device)
        inputs: Arrays = [None if x is None else x.astype(dtype) for x in truth.sample.inputs]
        params = {k: v.astype(dtype) if _is_floating(v) else v for k, v in truth.sample.params.items()}
        gy: np.ndarray = truth.gy.astype(dtype)
        (y, gxs), (y_2, gxs_2) = (there.results(inputs, params, gy) for _ in range(2))
        repeats &= _bits([y, *gxs]) == _bits([y_2, *gxs_2])
        found = {f"output of {truth}": ratio(y, truth.y, truth.output_bound(dtype), truth.output_dtype(dtype))}
        for i in truth.wanted:
            right, bound = truth.gradient(i, gy.astype(float)), truth.gradient_bound(i, gy.astype(float), dtype)
            found[f"gradient of input {i} of {truth}"] = ratio(gxs[i], right, bound, np.dtype(dtype))
        largest = max(found, key=lambda key: found[key] if found[key] == found[key] else np.inf)  # NaN is worst
        if not found[largest] <= worst:
            worst, where = found[largest], largest
    if not repeats:
        return Finding(name, "wrong", "gives other bits the second time", {"ratio": worst})
    return judged(name, worst, f"{worst:.2g} of its rounding bound" + (f", {where}" if not worst <= 1 else ""))


def ratio(actual: np.ndarray | None, right: np.ndarray, bound: np.ndarray, dtype: np.dtype) -> float:
    """The largest error over its bound; infinite where shape or dtype differ."""
    if actual is None or actual.shape != right.shape or actual.dtype != dtype:
        return np.inf
    with np.errstate(all="ignore"):
        error = np.where(actual == right, 0.0, np.abs(actual.astype(np.float64) - right))  # ∞ may equal ∞
        return float((error / bound).max(initial=0.0))


def _is_floating(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _bits(arrays: list[np.ndarray | None]) -> list[bytes]:
    return [b"" if a is None else a.tobytes() for a in arrays]


OPERATIONS = Part("operations", operations)
