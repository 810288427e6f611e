"""The calls that a function is tried on: those of the specification, and drawn ones, the failing shrunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np

from minidl.check.spec.case import OpCase, Sample

SHRINK_SECONDS = 10.0  # after which the smallest failing call so far is taken


class _Enough(BaseException):
    """Shrinking has taken long enough.  Not an Exception: hypothesis would take that for a failure of the test."""


# Shapes in which a transposed matrix or an exchanged list fits too, so that such a mistake gives a wrong result
# and not an error.
FITTING: dict[str, list[tuple[list[tuple[int, ...]], dict[str, Any]]]] = {
    "linear": [([(2, 3), (3, 3), (3,)], {})],
    "matmul": [([(3, 3), (3, 3)], {})],
    "conv_transpose2d": [([(1, 3, 4, 5), (3, 3, 3, 2), (3,)], {"stride": 2})],
    "gaussian_pool2d": [([(1, 2, 5, 6), ()], {"kernel_size": 2, "ceil_mode": True})],
    "maxent_pool2d": [([(1, 2, 5, 6), ()], {"kernel_size": 2, "ceil_mode": True})],
    "concat": [([(2, 3), (2, 3), (2, 3)], {"axis": 1})],
}


def specified(case: OpCase, seed: int = 0) -> list[Sample]:
    """The calls of the specification, and a few whose shapes let more mistakes pass without an error."""
    rng = np.random.default_rng(seed)
    samples = list(case.samples(rng))
    for shapes, params in FITTING.get(case.name, ()):
        samples.append(Sample(tuple(np.asarray(rng.normal(size=s)) for s in shapes), params))
    return samples


def can_draw(case: OpCase) -> bool:
    """Whether calls of any geometry can be drawn; else the specified ones are drawn with other numbers."""
    if case.draw is None:
        return False
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        return False
    return True


def elements(sample: Sample) -> int:
    """How large a call is."""
    arrays = [*sample.inputs, *sample.params.values()]
    return sum(x.size for x in arrays if isinstance(x, np.ndarray))


Question = Callable[[Sample], bool | None]


def smallest_failing(case: OpCase, fails: Question, drawn: int, seed: int) -> Sample | None:
    """The smallest call among `drawn` ones, and what shrinks from them, that `fails`; None if none does.

    Args:
        case: the op.
        fails: asked about one call after the other; None for one that it leaves out, which is not counted.
        drawn: how many.
        seed: the same draws for the same seed.

    Example:
        >>> from minidl.check.spec import CASES
        >>> case = next(case for case in CASES if case.name == "softmax")
        >>> str(smallest_failing(case, lambda s: s.inputs[0].size > 3, drawn=50, seed=0))
        "4 {'axis': 0}"
    """
    if drawn <= 0:
        return None
    if can_draw(case):
        return _found(case, fails, drawn, seed)
    return min(_redrawn(case, drawn, seed, fails), key=elements, default=None)


def _redrawn(case: OpCase, drawn: int, seed: int, fails: Question) -> Iterator[Sample]:
    """The failing ones among the specified calls with other numbers; none after the first round that has some."""
    asked, made, round_ = 0, 0, 0
    while asked < drawn and made < 10 * drawn:
        round_ += 1
        answers = [(s, fails(s)) for s in specified(case, seed + 1_000_003 * round_)[: drawn - asked]]
        made += len(answers)
        asked += sum(answer is not None for _, answer in answers)
        yield from (s for s, answer in answers if answer)
        if not answers or any(answer for _, answer in answers):
            return


def _found(case: OpCase, fails: Question, drawn: int, seed: int) -> Sample | None:
    from hypothesis import HealthCheck, Phase, find, reject, settings
    from hypothesis.errors import Flaky, NoSuchExample

    best: list[Sample] = []
    deadline = [float("inf")]

    def failing(sample: Sample) -> bool:
        if time.monotonic() > deadline[0]:
            raise _Enough
        if (answer := fails(sample)) is None:
            reject()
        if not answer:
            return False
        deadline[0] = min(deadline[0], time.monotonic() + SHRINK_SECONDS)
        if not best or elements(sample) <= elements(best[0]):
            best[:] = [sample]
        return True

    rules = settings(
        max_examples=drawn,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    assert case.draw is not None
    try:
        return find(case.draw(), failing, settings=rules, random=Random(seed))
    except NoSuchExample:
        return None
    except (_Enough, Flaky):  # Flaky: a function that is not deterministic
        return best[0] if best else None
