"""Which known mistake explains wrong results: the diagnosis of `minidl.check`, from arrays alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from minidl.check.calling import input_names
from minidl.check.diagnose import diagnose
from minidl.check.examine import OUTPUT, Departure, Measure, Observation, gradient_of
from minidl.check.expected import Expected
from minidl.check.formats import FORMATS
from minidl.check.golden.judging import Answered, Verdict
from minidl.check.golden.manifest import decode
from minidl.check.golden.vectors import argument_names
from minidl.check.spec import CASES, OpCase, Sample
from minidl.check.subject import Answer

__all__ = ["looks_like"]


def looks_like(dtype: str, answers: Sequence[Answered]) -> Iterator[str]:
    """A line for every result of an operation that is wrong as a known mistake makes it.

    Gradients are looked at where the output is right; else they are those of another function.
    """
    by_name = {case.name: case for case in CASES}
    for operation in dict.fromkeys(str(a.group.operation) for a in answers):
        of = [a for a in answers if a.group.operation == operation]
        wrong = {v.name: None for a in of for v in a.verdicts if not v.passed and v.ratio is not None}
        if not wrong or operation not in by_name:
            continue
        case = by_name[operation]
        try:
            seen = [_observation(case, a, dtype) for a in of]
            for name in ["output"] if "output" in wrong else wrong:
                if (found := diagnose(case, _what(case, name, of[0]), seen)) is not None:
                    yield f"{operation} {name} looks like: {found}"
        except (KeyError, IndexError, TypeError, ValueError):  # a manifest whose calls are none: nothing can be said
            continue


def _names(case: OpCase, answered: Answered) -> tuple[list[str], list[str]]:
    """Our names of the inputs, and those of the diagnosis."""
    held = [a for a in answered.group.arrays if a.name.startswith(("input.", "constant."))]
    count = len(held) + len(answered.group.absent)
    return argument_names(case, count), input_names(case, count)


def _what(case: OpCase, name: str, answered: Answered) -> str:
    if name == "output":
        return OUTPUT
    ours, theirs = _names(case, answered)
    return gradient_of(theirs[ours.index(name.removeprefix("grad."))])


def _observation(case: OpCase, answered: Answered, dtype: str) -> Observation:
    """The call, and what was handed in as the answer to it."""
    own, given = answered.own, answered.given
    ours, theirs = _names(case, answered)
    inputs = tuple(own.get(f"input.{n}", own.get(f"constant.{n}")) for n in ours)
    params = {n: decode(value, own) for n, value in answered.group.params.items()}
    wide = tuple(None if x is None else x.astype(np.float64) for x in inputs)
    expected = Expected(case, Sample(wide, params), FORMATS[dtype])
    if "cotangent" in own:
        expected.gy = own["cotangent"].astype(np.float64)
    gradients = {t: given.get(f"grad.{n}") for n, t in zip(ours, theirs, strict=True)}
    answer = Answer(given["output"], dtype, gradients) if "output" in given else None
    departures = [
        Departure(_what(case, v.name, answered), v.says, "value", _measure(v))
        for v in answered.verdicts
        if not v.passed and v.ratio is not None
    ]
    return Observation(expected, answer, departures=departures)


def _measure(verdict: Verdict) -> Measure:
    return Measure(verdict.name, verdict.ratio or 0.0, verdict.worst, 0.0, 0.0, 0.0)
