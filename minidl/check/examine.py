"""One call, looked at: what the function returned beside what it must return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minidl.check.calling import Unsupported, input_names
from minidl.check.expected import Expected
from minidl.check.formats import FORMATS, ulps
from minidl.check.subject import Answer, Failure, Subject

OUTPUT = "output"


def conclusive(seen: Sequence[Observation], what: str) -> list[Observation]:
    """The calls without those that are wrong by so little, beside others, that it may be rounding amplified."""
    largest = max((o.ratio(what) for o in seen), default=0.0)
    return [o for o in seen if largest < 1e4 or not 1 < o.ratio(what) < 100]


def gradient_of(name: str) -> str:
    """What a report calls the gradient of an input."""
    return f"gradient of {name}"


def left_in(name: str) -> str:
    """What a report calls a constant as the function left it: running statistics."""
    return f"{name} afterwards"


@dataclass(frozen=True)
class Measure:
    """How far one array lies from the right one.

    Attributes:
        what: "output", or "gradient of weight".
        ratio: largest error ÷ bound.
        index: where that is.
        ulps: that error in units of the last place of the right value.
        actual, right: the two values there.
    """

    what: str
    ratio: float
    index: tuple[int, ...]
    ulps: float
    actual: float
    right: float

    def __str__(self) -> str:
        at = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return f"{self.what}{at} is {self.actual:.9g}, not {self.right:.9g}"


@dataclass(frozen=True)
class Departure:
    """One thing that is wrong with a call.

    Attributes:
        what: which result, or "call" if there is none.
        says: one line.
        kind: "value", "shape", "dtype", "missing", "raises", "writes" or "repeats".
        measure: the numbers, where there are some.
    """

    what: str
    says: str
    kind: str
    measure: Measure | None = None


@dataclass
class Observation:
    """One call, what it must give, and what came of it."""

    expected: Expected
    answer: Answer | None = None
    measures: list[Measure] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    skipped: str = ""

    @property
    def ok(self) -> bool:
        return not self.departures

    def ratio(self, what: str) -> float:
        """Error ÷ bound of one result, infinite where it is wrong in another way than in its values."""
        ratios = [d.measure.ratio if d.measure is not None else np.inf for d in self.departures if d.what == what]
        return max(ratios, default=0.0)

    def actual(self, what: str) -> np.ndarray | None:
        """The array that the function returned as `what`."""
        if self.answer is None:
            return None
        if what == OUTPUT:
            return self.answer.y
        if what.endswith(left_in("")):
            return self.answer.left.get(what.removesuffix(left_in("")))
        return self.answer.gradients.get(what.removeprefix(gradient_of("")))

    def right(self, what: str) -> np.ndarray:
        """The array that it must be."""
        if what.endswith(left_in("")):
            return self.expected.left(self.place(what))
        return self.expected.y if what == OUTPUT else self.expected.gradient(self.place(what), self.expected.gy)

    def size(self, what: str) -> np.ndarray:
        """What relative rounding errors of that array are relative to: M or Mg of `expected`."""
        if what == OUTPUT:
            return self.expected.size
        if what.endswith(left_in("")):
            return self.expected.left_size(self.place(what))
        return self.expected.gradient_size(self.place(what), self.expected.gy)

    def place(self, what: str) -> int:
        """Which input a gradient is of."""
        names = input_names(self.expected.case, len(self.expected.sample.inputs))
        return names.index(what.removeprefix(gradient_of("")).removesuffix(left_in("")))


def examine(subject: Subject, expected: Expected, *, repeat: bool = False, exact: bool = False) -> Observation:
    """Call the function and compare.

    Args:
        subject: the function.
        expected: the call.
        repeat: whether to call twice and compare the bits.
        exact: whether nothing rounds in this call, so that the bound is 0.
    """
    seen = Observation(expected)
    dtype = expected.form.name
    wanted = [] if expected.ties else expected.wanted
    try:
        answer = seen.answer = subject(expected.sample, dtype, expected.gy, wanted)
        again = subject(expected.sample, dtype, expected.gy, wanted) if repeat else None
    except Unsupported as reason:
        seen.skipped = str(reason)
        return seen
    except Failure as failure:
        seen.departures.append(Departure("call", str(failure), "raises"))
        return seen
    if again is not None:
        _repeats(seen, answer, again)
    for name in answer.written:
        seen.departures.append(Departure("call", f"writes to its input {name}", "writes"))
    asked = str(expected.output_dtype(expected.form.name)) if "dtype" in expected.sample.params else dtype
    if answer.dtype in FORMATS and FORMATS[answer.dtype].bits < FORMATS[asked].bits:
        says = f"{OUTPUT} is {answer.dtype} where the inputs are {asked}"
        seen.departures.append(Departure(OUTPUT, says, "dtype"))
    _compare(seen, OUTPUT, exact)
    if not any(d.what == OUTPUT for d in seen.departures):  # else its gradients are those of another function
        names = input_names(expected.case, len(expected.sample.inputs))
        for i in wanted if subject.differentiates else []:
            _compare(seen, gradient_of(names[i]), exact)
        for name in answer.left:
            _compare(seen, left_in(name), exact)
    return seen


def _repeats(seen: Observation, one: Answer, two: Answer) -> None:
    if one.y.tobytes() != two.y.tobytes():
        seen.departures.append(Departure(OUTPUT, "two equal calls give different outputs", "repeats"))
        return
    for name, g in one.gradients.items():
        other = two.gradients.get(name)
        if g is not None and other is not None and g.tobytes() != other.tobytes():
            says = f"two equal calls give different gradients of {name}"
            seen.departures.append(Departure(gradient_of(name), says, "repeats"))


def _compare(seen: Observation, what: str, exact: bool) -> None:
    """Note how one array departs from the right one, and measure it."""
    right, actual = seen.right(what), seen.actual(what)
    if actual is None:
        if right.any():
            says = f"{what} is missing: as the framework sees it, the output does not depend on it"
            seen.departures.append(Departure(what, says, "missing"))
        return
    if actual.shape != right.shape:
        seen.departures.append(Departure(what, f"{what} has shape {actual.shape}, not {right.shape}", "shape"))
        return
    bound = np.zeros(right.shape) if exact else seen.expected.bound(seen.size(what))
    measure = measured(what, actual, right, bound, seen)
    seen.measures.append(measure)
    if not measure.ratio <= 1:
        says = f"{measure}: " + ("nothing rounds here" if exact else f"{measure.ratio:.2g} × its rounding bound")
        seen.departures.append(Departure(what, says, "value", measure))


def measured(what: str, actual: np.ndarray, right: np.ndarray, bound: np.ndarray, seen: Observation) -> Measure:
    """Error ÷ bound where it is largest."""
    if not right.size:
        return Measure(what, 0.0, (), 0.0, 0.0, 0.0)
    with np.errstate(all="ignore"):
        error = np.where(actual == right, 0.0, np.abs(actual.astype(np.float64) - right))
        ratio = np.where(error == 0, 0.0, error / bound)
    ratio = np.where(
        np.isnan(ratio) & ~(np.isnan(actual) & np.isnan(right)), np.inf, np.nan_to_num(ratio, posinf=np.inf)
    )
    at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    index = tuple(int(i) for i in at)
    off = ulps(actual[at], right[at], seen.expected.form)
    return Measure(what, float(ratio[at]), index, float(off), float(np.real(actual[at])), float(right[at]))
