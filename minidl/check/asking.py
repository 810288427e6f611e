"""What a function is asked: the calls of the specification, made such that it can take them, and drawn ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from minidl.check import precision
from minidl.check.calling import Unsupported, simplified
from minidl.check.drawing import smallest_failing, specified
from minidl.check.examine import Observation, examine
from minidl.check.expected import Expected
from minidl.check.formats import FORMATS, Format
from minidl.check.spec import OpCase, Sample
from minidl.check.subject import Failure, Subject


class Asking:
    """One function, and the calls of one op that are made of it."""

    def __init__(
        self,
        subject: Subject,
        case: OpCase,
        dtype: str | None,
        drawn: int,
        seed: int,
        skip: Callable[[Sample], str | None] | None,
    ) -> None:
        self.subject, self.case, self.drawn, self.seed, self.skip = subject, case, drawn, seed, skip
        self.samples = specified(case)
        self.seen: list[Observation] = []
        self.skipped: Counter[str] = Counter()
        self.details: list[str] = []
        self.counts = {"drawn": 0}
        self.single: set[str] = set()
        subject.settle(self.samples[0], dtype or "float64")
        self.lacking = {name for name in subject.signature.arguments if subject.lacks(name)}
        self.form = self._format(dtype)

    def _format(self, dtype: str | None) -> Format:
        """The format asked for; or the widest that the function returns."""
        if dtype is not None:
            return FORMATS[dtype]
        for name in ("float64", "float32"):
            for sample in [s for s in self.samples if "dtype" not in s.params][:4]:
                try:
                    returned = self.subject(self._simple(sample), name).dtype
                except (Failure, Unsupported, ValueError):
                    continue
                if returned in FORMATS and FORMATS[returned].bits < FORMATS[name].bits:
                    self.details.append(f"it returns {returned} for {name}, and is judged as {returned}")
                    return FORMATS[returned]
                return FORMATS[name]
        return FORMATS["float64"]

    def _simple(self, sample: Sample) -> Sample:
        return simplified(self.case, sample, self.lacking, self.single)

    def _look(
        self, sample: Sample, form: Format | None = None, *, loops: bool = False, repeat: bool = False
    ) -> Observation | None:
        """One call examined; None if it is left out."""
        if self.skip is not None and (reason := self.skip(sample)):
            self.skipped[reason] += 1
            return None
        try:
            expected = Expected(self.case, self._simple(sample), form or self.form, loops=loops)
        except (ValueError, TypeError):  # without what the function lacks it is no call of the op
            self.skipped[f"not without {', '.join(sorted(self.lacking))}"] += 1
            return None
        seen = examine(self.subject, expected, repeat=repeat)
        if seen.skipped:
            self.skipped[seen.skipped] += 1
            return None
        return seen

    def _specified(self) -> None:
        for number, sample in enumerate(self.samples):
            if (seen := self._look(sample, loops=True, repeat=number < 2)) is not None:
                self.seen.append(seen)
        self._leave_out_words()
        raising = [o for o in self.seen if raises(o)]
        if raising and (pairs := self._refused_pairs(raising)):
            self.single = pairs
            self.details.append(f"{', '.join(sorted(pairs))}: one number for both axes; pairs are not taken")
            self.seen = [o for o in self.seen if not raises(o)]
            again = [self._look(o.expected.sample, loops=True) for o in raising]
            self.seen += [o for o in again if o is not None]
        if self.form.narrow:
            self._whole_numbers([o.expected.sample for o in self.seen])

    def _leave_out_words(self) -> None:
        """Drop calls that raise because of a word in a number's place, padding='same', if no word is taken there."""

        def words(o: Observation) -> set[str]:
            params, defaults = o.expected.sample.params, self.subject.signature.defaults
            return {n for n, v in params.items() if isinstance(v, str) and not isinstance(defaults.get(n, ""), str)}

        taken = {n for o in self.seen if not raises(o) for n in words(o)}
        for o in [o for o in self.seen if raises(o)]:
            if refused := words(o) - taken:
                self.seen.remove(o)
                self.skipped[f"{', '.join(sorted(refused))}: words are not taken"] += 1

    def _refused_pairs(self, raising: list[Observation]) -> set[str]:
        """Arguments that no call with a pair of different numbers survives, but some call with one number."""
        fine = [o.expected.sample.params for o in self.seen if not raises(o)]
        suspects = {n for o in raising for n, v in o.expected.sample.params.items() if isinstance(v, tuple)}
        return {n for n in suspects if fine and not any(isinstance(p.get(n), tuple) for p in fine)}

    def _whole_numbers(self, samples: list[Sample]) -> None:
        """Calls on which nothing rounds, so that the width of the bound cannot hide a mistake."""
        for sample in samples:
            expected = precision.whole_numbers(self.case, sample, self.form)
            if expected is not None:
                seen = examine(self.subject, expected, exact=True)
                if not seen.skipped:
                    self.seen.append(seen)

    def _fails(self, sample: Sample) -> bool | None:
        """Whether a drawn call fails; None if it is left out."""
        seen = self._look(sample)
        if seen is None:
            return None
        self.counts["drawn"] += 1
        self.seen.append(seen)
        if seen.ok and self.form.narrow and self.counts["drawn"] % 4 == 0:
            self._whole_numbers([seen.expected.sample])
        return not seen.ok

    def _drawn(self, count: int, form: Format, seed: int) -> list[Observation]:
        """Drawn calls, none of them shrunk."""
        found: list[Observation] = []

        def keep(sample: Sample) -> bool | None:
            seen = self._look(sample, form)
            found.extend([] if seen is None else [seen])
            return None if seen is None else False

        smallest_failing(self.case, keep, count, self.seed + seed)
        return found


def raises(o: Observation) -> bool:
    """Whether the function raised in that call."""
    return any(d.kind == "raises" for d in o.departures)
