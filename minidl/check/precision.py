"""What precision errors look like: of which format's rounding they are, or of none.

Each hypothesis is put to every call seen, the finest first, and the first that all calls bear out is named.

    rounded inputs    the output is that of inputs rounded to p bits, within the result format's own bound
    rounded result    every value has at most p bits
    arithmetic        errors stay within the bound of a format's arithmetic, lean to neither side, and vanish on
                      whole numbers where the op only multiplies and adds (there nothing rounds, but a mistake shows)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidl.check.examine import OUTPUT, Observation, examine
from minidl.check.expected import DEGREES, Expected
from minidl.check.formats import FORMATS, Format, representable, rounded
from minidl.check.spec.case import OpCase, Sample
from minidl.check.subject import Subject

# Ops of DEGREES that divide, which rounds.
DIVIDING = ("mean", "avg_pool2d", "adaptive_avg_pool2d", "dropout")
NOT_ROUNDING = "not rounding"
INPUTS = {
    "tf32": "TF32: products of inputs rounded to 10 bits after the leading one, float32 sums",
    "bfloat16": "bfloat16 inputs: products of inputs rounded to 8 significant bits, float32 sums",
    "float32": "float32 inputs: rounded before they are used, wider sums",
}
ARITHMETIC = {
    "float32": "float32 arithmetic",
    "tf32": "float16 or TF32 arithmetic: accumulated in 11 significant bits",
    "bfloat16": "bfloat16 arithmetic: accumulated in 8 significant bits",
}


def of_passing(seen: Sequence[Observation]) -> str:
    """What the errors of calls within their bounds look like."""
    measures = [m for o in seen for m in o.measures]
    if not measures:
        return ""
    form = seen[0].expected.form
    if all(m.ratio == 0 for m in measures):
        return f"{form}, no error at all"
    outputs = [o for o in seen if o.answer is not None and o.answer.y.shape == o.expected.y.shape]
    if form.narrow:
        once = all(_rounded_once(o, form) for o in outputs)
        return f"float32 sums, rounded once to {form}" if once else f"{form} arithmetic, order of summation"
    if form.name == "float32" and all(_rounded_once(o, form) for o in outputs):
        return "wider sums, rounded once to float32"
    return f"{form}, order of summation"


def _rounded_once(o: Observation, form: Format) -> bool:
    """Whether the output errs by half a unit of its last place and a wider format's bound, no more."""
    assert o.answer is not None
    inner = FORMATS["float32" if form.narrow else "float64"]
    bound = form.unit * np.abs(o.expected.y) + o.expected.bound(o.expected.size, inner)
    return bool((np.abs(o.answer.y.astype(np.float64) - o.expected.y) <= 1.001 * bound).all())


def of_failing(subject: Subject, case: OpCase, seen: Sequence[Observation], what: str) -> str:
    """Which format's rounding the errors of `what` are, in calls beyond their bounds; NOT_ROUNDING if none's."""
    seen = [o for o in seen if (a := o.actual(what)) is not None and a.shape == o.right(what).shape]
    if not any(not m.ratio <= 1 for o in seen for m in o.measures if m.what == what):
        return NOT_ROUNDING
    form = seen[0].expected.form
    coarser = [f for f in (FORMATS["float32"], FORMATS["tf32"], FORMATS["bfloat16"]) if f.bits < form.bits]
    for f in coarser:
        if f.name in INPUTS and all(_of_rounded_inputs(o, what, f) for o in seen):
            return INPUTS[f.name]
    for f in reversed(coarser):
        if all(representable(_result(o, what), f.bits) for o in seen) and _within(seen, what, f):
            return f"result rounded to {'float16' if f.name == 'tf32' else f.name}"
    for f in coarser:
        if _within(seen, what, f) and not _leans(seen, what) and exact_on_whole_numbers(subject, case, form):
            return ARITHMETIC[f.name]
    return NOT_ROUNDING


def _result(o: Observation, what: str) -> np.ndarray:
    actual = o.actual(what)
    assert actual is not None
    return actual


def _of_rounded_inputs(o: Observation, what: str, form: Format) -> bool:
    """Whether the result is that of inputs, and cotangent, rounded to `form`."""
    case, sample = o.expected.case, o.expected.sample
    inputs = tuple(None if x is None else rounded(x, form.bits) for x in sample.inputs)
    coarse = Expected(case, Sample(inputs, sample.params), o.expected.form)
    right = coarse.y if what == OUTPUT else coarse.gradient(o.place(what), rounded(o.expected.gy, form.bits))
    sums = FORMATS["float32" if form.narrow else "float64"]
    bound = coarse.bound(o.size(what), sums)
    return bool((np.abs(_result(o, what).astype(np.float64) - right) <= bound).all())


def _within(seen: Sequence[Observation], what: str, form: Format) -> bool:
    """Whether every error stays within the bound of arithmetic in `form`."""
    return all(
        bool(
            (np.abs(_result(o, what).astype(np.float64) - o.right(what)) <= o.expected.bound(o.size(what), form)).all()
        )
        for o in seen
    )


def _leans(seen: Sequence[Observation], what: str) -> bool:
    """Whether errors have a preferred sign, relative to the value, as those of rounding have not.

    For n independent errors of mean zero the mean is beyond 5 standard errors less often than once in a million.
    """
    errors = np.concatenate(
        [((_result(o, what) - o.right(what)) * np.sign(o.right(what)) / (o.size(what) + 1e-300)).ravel() for o in seen]
    )
    errors = errors[errors != 0]
    if errors.size < 8:
        return False
    spread = errors.std() / np.sqrt(errors.size)
    return bool(abs(errors.mean()) > 5 * spread)


def whole_numbers(case: OpCase, sample: Sample, form: Format) -> Expected | None:
    """The call with small whole numbers, on which nothing rounds; None if that cannot be had for this op."""
    if case.name not in DEGREES or case.name in DIVIDING or "dtype" in sample.params:
        return None

    def whole(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.clip(np.rint(np.abs(x)), 1, 2)

    inputs = tuple(None if x is None else whole(x) for x in sample.inputs)
    expected = Expected(case, Sample(inputs, sample.params), form)
    expected.gy = whole(expected.gy)
    sums = [expected.magnitude.max(initial=0.0)]
    sums += [expected.gradient_size(i, expected.gy).max(initial=0.0) for i in expected.wanted]
    return expected if max(sums) < 2.0**form.bits else None


def exact_on_whole_numbers(subject: Subject, case: OpCase, form: Format) -> bool:
    """Whether no result is wrong on whole numbers; True where the op knows no such calls."""
    for sample in case.samples(np.random.default_rng(0)):
        expected = whole_numbers(case, sample, FORMATS["bfloat16"])
        if expected is not None:
            expected.form = form
            if not examine(subject, expected, exact=True).ok:
                return False
    return True
