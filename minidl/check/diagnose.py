"""Which known mistake explains what a function returns.

A mistake is known by what it makes of a call.  It explains a function if it gives what the function gave, to
rounding, in every call: where the function is wrong the same wrong values, and where it is right no other ones.  If
several do, more calls are drawn until one is left, or until those that are left do not differ in anything drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from minidl.check.calling import Signature, same_value
from minidl.check.examine import OUTPUT, Observation, conclusive, left_in
from minidl.check.mistakes import Call, Mistake, mistakes_of
from minidl.check.spec.case import OpCase, Sample


@dataclass(frozen=True)
class Diagnosis:
    """A named mistake.

    Attributes:
        name: a few words.
        says: one sentence.
        explained, of: in how many of the wrong calls it gives the wrong values.
        others: names of mistakes that give the same in all that was drawn.
    """

    name: str
    says: str
    explained: int = 0
    of: int = 0
    others: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it explains every wrong call."""
        return self.explained == self.of

    def __str__(self) -> str:
        alike = f" (or: {', '.join(self.others)})" if self.others else ""
        if not self.whole:
            return f"in part {self.name}{alike}: {self.says}; it explains {self.explained} of {self.of} wrong calls"
        return f"{self.name}{alike}: {self.says}"


@dataclass
class _Suspect:
    mistake: Mistake
    explained: int = 0
    missed: int = 0
    refuted: bool = False


@dataclass
class _Evidence:
    """One call, as mistakes are compared with it."""

    seen: Observation
    what: str
    call: Call
    actual: np.ndarray
    wrong: bool
    predictions: dict[int, np.ndarray | None] = field(default_factory=dict)

    def prediction(self, mistake: Mistake) -> np.ndarray | None:
        """What the mistake makes of this call; None if it cannot be made here."""
        try:
            with np.errstate(all="ignore"):
                if self.what == OUTPUT:
                    found = None if mistake.output is None else mistake.output(self.call)
                else:
                    place = self.call.names[self.seen.place(self.what)]
                    wrong = mistake.gradient if kind_of(self.what) == "gradient" else mistake.left
                    found = None if wrong is None else wrong(self.call).get(place)
        except Exception:  # a changed call may be one that the op refuses, in whatever way
            return None
        return None if found is None else np.asarray(found)

    def agrees(self, predicted: np.ndarray) -> bool:
        """Whether the function returned that, to rounding."""
        if predicted.shape != self.actual.shape:
            return False
        largest = self.seen.size(self.what).max(initial=0.0) + np.abs(predicted).max(initial=0.0)
        bound = 4 * self.seen.expected.bound(largest)
        with np.errstate(all="ignore"):
            return bool((np.abs(self.actual - predicted) <= bound).all())


def kind_of(what: str) -> str:
    """Of which of a mistake's results `what` is."""
    return "output" if what == OUTPUT else "left" if what.endswith(left_in("")) else "gradient"


def _evidence(seen: Observation, what: str, before: Sample | None) -> _Evidence | None:
    actual = seen.actual(what)
    if actual is None or actual.dtype.kind not in "fiub":
        return None
    call = Call(seen.expected.case, seen.expected.sample, seen.expected.gy, before)
    wrong = any(d.what == what and d.kind in ("value", "shape") for d in seen.departures)
    return _Evidence(seen, what, call, actual, wrong)


def diagnose(
    case: OpCase, what: str, seen: Sequence[Observation], more: Iterable[Observation] = ()
) -> Diagnosis | None:
    """The mistake that explains what the function returned as `what` in the calls seen; None if none is known.

    Args:
        case: the op.
        what: "output", or "gradient of weight".
        seen: calls, some of them wrong, in the order they were made.
        more: further calls, asked for one by one while several mistakes explain everything so far.
    """
    suspects = [_Suspect(m) for m in mistakes_of(case.name) if m.of == kind_of(what)]
    made: list[Sample] = []
    evidence = []
    for o in conclusive(seen, what):
        if (e := _evidence(o, what, _first_like(made, o.expected.sample, case))) is not None:
            evidence.append(e)
        made.append(o.expected.sample)
    wrong = sum(e.wrong for e in evidence)
    for e in sorted(evidence, key=lambda e: (not e.wrong, e.actual.size)):
        _weigh(suspects, e)
    left = [s for s in suspects if not s.refuted and not s.missed and s.explained]
    for o in more:
        if len({s.mistake.name for s in left}) <= 1:
            break
        e = _evidence(o, what, _first_like(made, o.expected.sample, case))
        made.append(o.expected.sample)
        if e is not None:
            wrong += e.wrong
            _weigh(left, e)
            left = [s for s in left if not s.refuted and not s.missed]
    if left:
        names = list(dict.fromkeys(s.mistake.name for s in left))
        first = left[0]
        return Diagnosis(first.mistake.name, first.mistake.says, first.explained, wrong, tuple(names[1:]))
    part = max(suspects, key=lambda s: (s.explained, not s.refuted), default=None)
    if part is not None and part.explained >= 2 and 2 * part.explained >= wrong:
        return Diagnosis(part.mistake.name, part.mistake.says, part.explained, wrong)
    return None


def _weigh(suspects: Sequence[_Suspect], e: _Evidence) -> None:
    """Hold each suspect to one call."""
    for s in suspects:
        if not e.wrong and (s.refuted or not s.explained):
            continue  # a call that is right can only refute
        if s.missed >= 3 and not s.explained:
            continue  # it has nothing to do with what is wrong here
        predicted = e.prediction(s.mistake)
        if predicted is None:
            s.missed += e.wrong
        elif e.agrees(predicted):
            s.explained += e.wrong
        else:
            s.missed += e.wrong
            s.refuted = s.refuted or not e.wrong


def _first_like(made: Sequence[Sample], sample: Sample, case: OpCase) -> Sample | None:
    """The first call before with noise of the same shape, whose noise a function may have kept."""
    shapes = [None if (x := sample.inputs[i]) is None else x.shape for i in case.constants if i < len(sample.inputs)]
    for old in made:
        if shapes == [None if (x := old.inputs[i]) is None else x.shape for i in case.constants if i < len(old.inputs)]:
            return old
    return None


def of_shape(seen: Observation, what: str) -> Diagnosis | None:
    """What a gradient of the wrong shape is, if it is the right one not yet summed, or transposed."""
    actual, right = seen.actual(what), seen.right(what)
    if actual is None or kind_of(what) != "gradient" or actual.shape == right.shape:
        return None
    bound = 8 * seen.expected.bound(seen.size(what).max(initial=0.0))

    def equal(a: np.ndarray) -> bool:
        return a.shape == right.shape and bool((np.abs(a - right) <= bound).all())

    if actual.ndim > 1 and equal(actual.swapaxes(-1, -2)):
        return Diagnosis("gradient transposed", "its last two axes are exchanged", 1, 1)
    extra = tuple(range(actual.ndim - right.ndim))
    if extra and equal(actual.sum(extra)):
        name = "not summed over the batch" if len(extra) == 1 else "not summed over broadcast axes"
        return Diagnosis(name, "it is the right one before the sum over its leading axes", 1, 1)
    padded = (1,) * len(extra) + right.shape
    if len(padded) == actual.ndim:
        axes = tuple(a for a, (n, m) in enumerate(zip(padded, actual.shape, strict=True)) if n == 1 != m)
        if axes and equal(actual.sum(axes, keepdims=True).reshape(right.shape)):
            says = "it is the right one before the sum over the axes along which the input was broadcast"
            return Diagnosis("not summed over broadcast axes", says, 1, 1)
    if actual.size == right.size and equal(actual.reshape(right.shape)):
        return Diagnosis("gradient not reshaped", "it has the right elements in another shape", 1, 1)
    return None


def hints(case: OpCase, what: str, seen: Sequence[Observation]) -> list[str]:
    """What the wrong calls have in common, and where in the arrays the errors are."""
    judged = [o for o in seen if o.answer is not None and not o.skipped]
    wrong = [o for o in judged if any(d.what == what for d in o.departures)]
    right = [o for o in judged if o.ok]
    found = []
    if len(wrong) >= 2 and len(right) >= 2:
        common = set.intersection(*(_features(case, o.expected.sample) for o in wrong))
        found += [
            f"it is wrong exactly where {f}"
            for f in sorted(common)
            if not any(f in _features(case, o.expected.sample) for o in right)
        ]
    for o in sorted(wrong, key=lambda o: -o.right(what).size)[:1]:
        found += _where(o, what)
    return found


def _features(case: OpCase, sample: Sample) -> set[str]:
    """What could make a call special."""
    signature, found = Signature.of(case), set()
    for name, value in sample.params.items():
        default = signature.defaults.get(name, ...)
        if default is not ... and not isinstance(value, np.ndarray) and not same_value(value, default):
            found.add(f"{name} is not {default}")
        if isinstance(value, tuple) and len(value) == 2 and value[0] != value[1]:
            found.add(f"{name} differs between the axes")
    for i, x in enumerate(sample.inputs):
        name = list(signature.arguments)[i] if i < len(signature.arguments) else f"input {i}"
        if x is not None and signature.defaults.get(name, ...) is None:
            found.add(f"{name} is given")
        if x is not None and i == 0 and x.ndim and x.shape[0] > 1:
            found.add(f"{name} has more than one row")
    return found


def _where(o: Observation, what: str) -> list[str]:
    """Which elements are wrong, if they lie together."""
    actual, right = o.actual(what), o.right(what)
    if actual is None or actual.shape != right.shape or right.size < 4:
        return []
    bound = o.expected.bound(o.size(what))
    with np.errstate(all="ignore"):
        wrong = ~(np.abs(actual - right) <= bound)
    share = f"{int(wrong.sum())} of {wrong.size} elements are wrong"
    if wrong.all() or not wrong.any():
        return [f"{what}: {share}"]
    places = []
    for axis, n in enumerate(wrong.shape):
        at = np.flatnonzero(wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != axis)))
        if 0 < at.size < n and n > 1:
            places.append(f"index {', '.join(map(str, at[:4]))}{', …' if at.size > 4 else ''} of axis {axis}")
    if wrong.ndim == 4 and not places and not wrong[:, :, 1:-1, 1:-1].any():
        places.append("the border")
    return [f"{what}: {share}" + (f", only at {' and '.join(places)}" if places else "")]
