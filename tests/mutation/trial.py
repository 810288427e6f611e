"""One change in place: do the properties notice?"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, given, settings

from minidl.check.properties import PROPERTIES, gradients_equal_numerical_derivatives, truths, violations
from minidl.check.spec import OpCase, Sample
from minidl.check.stated import kink_violations
from minidl.kernels import use_kernels
from tests.mutation.mutants import Mutant
from tests.mutation.targets import Target

SECONDS = 20  # of computing for one change: a loop that no longer ends
FAILED = "the program fails"
DRAWN = 10  # samples of hypothesis for each case, beside those of the specification


class TooLong(BaseException):
    """The time for one change is over; no `except Exception` of the code under trial stops it."""


class Trials:
    """The truth about all ops that depend on a target, found before it is changed."""

    def __init__(self, target: Target) -> None:
        warnings.simplefilter("error")  # as pytest is configured
        self.target = target
        self.calls = [(case, truths(case, [*_samples(case), *drawn(case)])) for case in target.cases]
        with _in_place(target, target.compiled(target.tree)):  # unchanged; it also fills the caches of the truths
            if (before := self.violations()) is not None:
                raise RuntimeError(f"{target}: the properties do not hold of the unchanged code: {before}")

    def violations(self) -> str | None:
        """The first violation, in words; those that cost least are looked for first."""
        room = "array" if self.target.module.startswith("minidl.kernels.array") else "cpu"
        with use_kernels(room):
            return self._violations()

    def _violations(self) -> str | None:
        for case, calls in self.calls:
            for truth in calls:
                if found := violations(case, [truth], [gradients_equal_numerical_derivatives]):
                    return found[0]
        for case, calls in self.calls:
            for kink in case.kinks:
                if found := kink_violations(case, kink):
                    return found[0]
            for truth in calls:
                if found := violations(case, [truth], PROPERTIES):
                    return found[0]
        return None

    def notice(self, mutant: Mutant) -> str | None:
        """What is noticed of a change; None if it survives."""
        try:
            code = self.target.compiled(mutant.function)
            with _in_place(self.target, code), _time_limit(SECONDS):
                return self.violations()
        except TooLong:
            return f"{FAILED}: it does not end"
        except Exception as error:
            return f"{FAILED}: {type(error).__name__}: {error}".splitlines()[0]


def _samples(case: OpCase) -> list[Sample]:
    return [truth.sample for truth in truths(case)]


def drawn(case: OpCase, number: int = DRAWN) -> list[Sample]:
    """Samples that hypothesis draws for a case, the same each time."""
    samples: list[Sample] = []
    if case.draw is not None:

        @settings(max_examples=number, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case.draw())
        def collect(sample: Sample) -> None:
            samples.append(sample)

        collect()
    return samples


@contextmanager
def _in_place(target: Target, code: object) -> Iterator[None]:
    """The changed code inside the one function object that everybody refers to."""
    original = target.function.__code__
    _forget()
    target.function.__code__ = code  # type: ignore[assignment]
    try:
        yield
    finally:
        target.function.__code__ = original
        _forget()


def _forget() -> None:
    """Empty the caches of minidl's functions: they may hold what the original code computed."""
    for name, module in list(sys.modules.items()):
        if name.startswith("minidl"):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
