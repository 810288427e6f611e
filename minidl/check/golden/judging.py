"""A result beside what is expected: error ÷ bound, and where it is worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minidl.check.golden.manifest import Group

__all__ = ["Answered", "Verdict", "judge"]


@dataclass(frozen=True)
class Verdict:
    """What is said of one result.

    Attributes:
        group, name: the result: "conv2d-0", "grad.x"; no name where the group could not be read at all.
        passed: whether it is there and within its bound.
        says: one line.
        ratio: error ÷ bound where it is worst; None if it was refused, 0 for a result without elements.
        worst: index of that element.
    """

    group: str
    name: str
    passed: bool
    says: str
    ratio: float | None = None
    worst: tuple[int, ...] = ()

    def __str__(self) -> str:
        mark = "ok   " if self.passed else "WRONG"
        return f"{mark}  {self.group}{f'  {self.name}:' if self.name else ''} {self.says}"


def judge(group: str, name: str, actual: np.ndarray, expected: np.ndarray, bound: np.ndarray) -> Verdict:
    """Compare a result with what is expected, element by element.

    Example:
        >>> print(judge("relu-0", "output", np.array([1.0, 2.5]), np.array([1.0, 2.0]), np.array([0.1, 0.1])))
        WRONG  relu-0  output: 5 × the bound, worst at [1]: 2.5, expected 2 ± 0.1
    """
    if not actual.size:
        return Verdict(group, name, True, "empty, as it must be", 0.0)
    with np.errstate(all="ignore"):
        error = np.where(actual == expected, 0.0, np.abs(actual.astype(np.float64) - expected))
        ratio = np.where(error == 0, 0.0, error / bound)
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
    worst = float(ratio[at])
    beyond = int((ratio > 1).sum())
    says = f"{worst:.3g} × the bound, worst at [{', '.join(map(str, at))}]"
    if beyond:
        says += f": {actual[at]:.9g}, expected {expected[at]:.9g} ± {bound[at]:.2g}"
        if beyond > 1:
            says += f"; {beyond:,} of {ratio.size:,} elements are beyond"
    return Verdict(group, name, not beyond, says, worst, at)


@dataclass(frozen=True)
class Answered:
    """One group: what the export holds, what was handed in, and what is said of it."""

    group: Group
    own: Mapping[str, np.ndarray]
    given: Mapping[str, np.ndarray]
    verdicts: tuple[Verdict, ...]
