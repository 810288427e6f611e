"""Inputs so large that an exponential overflows unless the formula is arranged not to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minidl.check.calling import Unsupported, input_names
from minidl.check.diagnose import Diagnosis
from minidl.check.drawing import specified
from minidl.check.formats import Format
from minidl.check.spec.case import OpCase, Sample
from minidl.check.subject import Failure, Subject
from minidl.check.truth import forward, pull_back

LARGE = 2000.0  # exp overflows at 710 in float64, at 89 in float32
SHIFTED = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "maxent_pool2d")
OPS = (*SHIFTED, "sigmoid", "tanh", "softplus", "silu", "gelu", "binary_cross_entropy_with_logits")


def overflows(subject: Subject, case: OpCase, form: Format) -> Diagnosis | None:
    """Where the function returns NaN or infinity for inputs of thousands, for which the op's result is finite."""
    if case.name not in OPS or form.name == "float16":
        return None
    for sample in specified(case):
        large = _enlarged(sample)
        y = forward(case, large.inputs, large.params)
        gy = np.ones(y.shape)
        wanted = [i for i, x in enumerate(large.inputs) if x is not None and i not in case.constants]
        gxs = pull_back(case, large.inputs, large.params, gy, wanted)[1]
        try:
            answer = subject(large, form.name, gy, wanted)
        except (Failure, Unsupported):
            continue
        names = input_names(case, len(large.inputs))
        results: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"output": (answer.y, y)}
        results |= {
            f"gradient of {names[i]}": (g, gxs[i]) for i in wanted if (g := answer.gradients.get(names[i])) is not None
        }
        for what, (theirs, ours) in results.items():
            if ours is not None and np.isfinite(ours).all() and not np.isfinite(theirs).all():
                why = "subtract the maximum before exp" if case.name in SHIFTED else "choose the form by the sign of x"
                says = f"its {what} is {theirs[~np.isfinite(theirs)].flat[0]} for inputs of {LARGE:.0f}: {why}"
                return Diagnosis("exponential overflows", says, 1, 1)
    return None


def _enlarged(sample: Sample) -> Sample:
    first = sample.inputs[0]
    assert first is not None
    largest = np.abs(first).max(initial=0.0)
    scaled = first * (LARGE / largest) if largest else first
    return replace(sample, inputs=(scaled, *sample.inputs[1:]))
