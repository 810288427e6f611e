"""What is found of a function: that it conforms, or the mistake, or the precision, or at least where it is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.check import precision
from minidl.check.asking import Asking
from minidl.check.calling import Unsupported, input_names
from minidl.check.diagnose import Diagnosis, diagnose, hints, kind_of, of_shape
from minidl.check.drawing import can_draw, elements, smallest_failing
from minidl.check.examine import OUTPUT, Departure, Observation, conclusive, gradient_of
from minidl.check.extremes import overflows
from minidl.check.formats import FORMATS, Format
from minidl.check.mistakes.common import NOISY
from minidl.check.report import Verdict, call_in_words
from minidl.check.spec import OpCase
from minidl.check.subject import Failure

EVIDENCE = 12  # drawn calls that a diagnosis begins with
FURTHER = (10, 40)  # and those it may ask for to tell mistakes apart, a few first


class Comparison(Asking):
    """One function against one op."""

    def verdict(self) -> Verdict:
        """Ask, and judge."""
        self._specified()
        smallest_failing(self.case, self._fails, self.drawn, self.seed)
        wrong = [o for o in self.seen if not o.ok]
        if not self.seen:
            return self._says(False, "no call could be made of it: " + "; ".join(self.skipped))
        self.details += list(self.subject.calling.notes)
        if self.case.draw is not None and not can_draw(self.case):
            self.details.append("hypothesis is not installed: the specified calls are made with other numbers instead")
        if not self.subject.differentiates:
            name = self.subject.framework.name
            self.details.append(f"gradients were not checked: {name} has no autograd; give `backward`")
        if not wrong:
            return self._conforms()
        return self._departs(wrong)

    def _conforms(self) -> Verdict:
        looks = precision.of_passing(self.seen)
        if (found := overflows(self.subject, self.case, self.form)) is not None:
            return self._says(False, str(found), diagnosis=found, precision=looks)
        self.details += self._other_choices()
        reason = f"every result is within the rounding bound of {self.form}; the errors look like: {looks}"
        return self._says(True, reason, precision=looks)

    def _departs(self, wrong: list[Observation]) -> Verdict:
        what, kind = _main(wrong)
        of_kind = [o for o in conclusive(wrong, what) if any((d.what, d.kind) == (what, kind) for d in o.departures)]
        least = min(of_kind, key=lambda o: elements(o.expected.sample))
        shown = {
            "failing": call_in_words(self._names(least), least.expected.sample),
            "wrong": tuple(d.says for d in least.departures),
        }
        total = len([o for o in self.seen if not o.skipped])
        if kind in ("raises", "writes", "repeats", "dtype", "missing"):
            departure = next(d for d in least.departures if (d.what, d.kind) == (what, kind))
            diagnosis = _of_kind(departure, self.case)
            reason = f"{departure.says}, in {len(of_kind)} of {total} calls"
            if kind == "raises":
                self.details += hints(self.case, what, self.seen)
            else:
                reason = f"{diagnosis.name}: {reason}" if diagnosis is not None else reason
            return self._says(False, reason, diagnosis=diagnosis, **shown)
        if kind == "shape" and (found := of_shape(least, what)) is not None:
            return self._says(False, f"{what}: {found}", diagnosis=found, **shown)
        return self._wrong_values(what, shown)

    def _wrong_values(self, what: str, shown: dict[str, Any]) -> Verdict:
        """Name the mistake, or the precision, or say at least where it is wrong."""
        form = self._widest()
        seen = self._evidence(form, what)
        found = diagnose(self.case, what, seen, self._further(form))
        prefix = "" if what == OUTPUT else f"{what}: "
        if found is not None and found.whole:
            proof = f"it gives the wrong values in {found.explained} of {found.of} wrong calls"
            return self._says(False, f"{prefix}{found}; {proof}", diagnosis=found, **shown)
        values = [o for o in self.seen if o.answer is not None]
        looks = precision.of_failing(self.subject, self.case, values, what)
        if looks != precision.NOT_ROUNDING:
            reason = f"{prefix}the errors are rounding, but of another precision than {self.form}: {looks}"
            return self._says(False, reason, precision=looks, **shown)
        self.details += hints(self.case, what, self.seen)
        if found is not None:
            return self._says(False, f"{prefix}{found}", diagnosis=found, precision=looks, **shown)
        reason = f"{prefix}wrong by more than rounding, in a way that is none of the known mistakes"
        return self._says(False, reason, precision=looks, **shown)

    def _widest(self) -> Format:
        """The format to diagnose in: the narrower, the more mistakes look alike."""
        for name in ("float64", "float32"):
            if FORMATS[name].bits > self.form.bits:
                try:
                    if self.subject(self._simple(self.samples[0]), name).dtype == name:
                        return FORMATS[name]
                except (Failure, Unsupported, ValueError):
                    continue
        return self.form

    def _evidence(self, form: Format, what: str) -> list[Observation]:
        """Calls to hold mistakes against: the specified ones, some drawn, and the failing."""
        failing = [o.expected.sample for o in self.seen if not o.ok]
        samples = [*self.samples, *sorted(failing, key=elements)[:4]]
        return [*(o for s in samples if (o := self._look(s, form)) is not None), *self._drawn(EVIDENCE, form, 1)]

    def _further(self, form: Format) -> Iterator[Observation]:
        for number, count in enumerate(FURTHER):
            yield from self._drawn(count, form, 2 + number)

    def _other_choices(self) -> list[str]:
        """Where the function chooses another subgradient at a kink than minidl does."""
        found = []
        for kink in self.case.kinks if self.subject.differentiates else ():
            gy = np.ones(np.shape(self.case.reference(*kink.sample.inputs, **kink.sample.params)))
            wanted = [i for i, g in enumerate(kink.gradients) if g is not None]
            try:
                answer = self.subject(kink.sample, self.form.name, gy, wanted)
            except (Failure, Unsupported):
                continue
            names = input_names(self.case, len(kink.sample.inputs))
            for i in wanted:
                theirs, ours = answer.gradients.get(names[i]), kink.gradients[i]
                if theirs is not None and ours is not None and not np.array_equal(theirs, ours):
                    found.append(f"at {kink.where} its gradient of {names[i]} is {theirs.tolist()}: another choice")
        return found

    def _names(self, o: Observation) -> list[str]:
        return input_names(self.case, len(o.expected.sample.inputs))

    def _says(self, ok: bool, reason: str, **more: Any) -> Verdict:
        measures = [m for o in self.seen for m in o.measures]
        judged = len([o for o in self.seen if not o.skipped])
        worst = max(measures, key=lambda m: m.ratio, default=None)
        summary = f"{judged} calls, {min(self.counts['drawn'], self.drawn)} of them drawn (seed {self.seed})"
        checked = list(dict.fromkeys(m.what for m in measures if kind_of(m.what) == "gradient"))
        if checked:
            names = [what.removeprefix(gradient_of("")) for what in checked]
            summary += f"; output, and the gradients of {', '.join(names)} by {self.subject.differentiates}"
        if left := sorted({m.what for m in measures if kind_of(m.what) == "left"}):
            summary += f"; {', '.join(left)}"
        if worst is not None and ok:
            summary += f"; largest error {worst.ratio:.2g} of its bound, {worst.ulps:.2g} ulp: {worst}"
        return Verdict(
            ok=ok,
            reason=reason,
            op=self.case.name,
            function=self.subject.name,
            framework=self.subject.framework.name,
            dtype=self.form.name,
            gradients=self.subject.differentiates if checked else "",
            cases=judged,
            drawn=min(self.counts["drawn"], self.drawn),
            worst=worst,
            largest_ulps=max((m.ulps for m in measures), default=0.0),
            details=(summary, *self.details),
            skipped=dict(self.skipped),
            **more,
        )


def _main(wrong: list[Observation]) -> tuple[str, str]:
    """What to explain first: a wrong output before gradients, values before all that is less telling."""
    order = ["repeats", "writes", "dtype", "value", "shape", "missing", "raises"]
    found = Counter((d.what, d.kind) for o in wrong for d in o.departures)

    def rank(item: tuple[tuple[str, str], int]) -> tuple[bool, bool, int, int]:
        (what, kind), count = item
        return kind == "raises", what not in (OUTPUT, "call"), order.index(kind), -count

    return min(found.items(), key=rank)[0]


def _of_kind(departure: Departure, case: OpCase) -> Diagnosis | None:
    """The name of a mistake that is no matter of values."""
    if departure.kind == "repeats":
        name = "noise drawn anew" if case.name in (*NOISY, "dropout") else "not deterministic"
        return Diagnosis(name, departure.says, 1, 1)
    if departure.kind == "writes":
        return Diagnosis("writes to its input", departure.says, 1, 1)
    if departure.kind == "missing":
        return Diagnosis("no gradient", departure.says, 1, 1)
    return None
