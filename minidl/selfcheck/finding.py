"""What one check found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from minidl.device import Device

Status = Literal["ok", "wrong", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was checked: "conv2d float32".
        status: "ok", "wrong", or "skipped" where it cannot be checked here.
        says: the finding in words.
        figures: the numbers behind it; `ratio`, if there, is an error over its bound.
    """

    name: str
    status: Status
    says: str
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to check.

    Attributes:
        device: what is checked.
        quick: fewer calls and steps, no times: to see that everything works.
        progress: called with a line about what is being done.
    """

    device: Device
    quick: bool = False
    progress: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Part:
    """A chapter of the report: its findings, made one after the other."""

    name: str
    find: Callable[[Setting], Iterator[Finding]]


def judged(name: str, ratio: float, says: str, **figures: Any) -> Finding:
    """A finding that is right where an error is at most its bound: `ratio` <= 1, and no NaN."""
    return Finding(name, "ok" if ratio <= 1 else "wrong", says, {"ratio": ratio, **figures})


def failed(name: str, error: BaseException) -> Finding:
    """A check that ended in an error."""
    return Finding(name, "wrong", f"{type(error).__name__}: {without_paths(str(error))}")


def without_paths(text: str) -> str:
    """`text` as one line in which folders are left out, since they say whose machine it is.

    Example:
        >>> without_paths("cannot read /usr/include/x.cu:\\n no such file; a ratio of 1/2")
        'cannot read …/x.cu: no such file; a ratio of 1/2'
    """
    line = " ".join(text.split())
    return re.sub(r"(?:(?<![\w.])[A-Za-z]:)?(?:(?<![\w.…])[\\/]|(?<=:)[\\/])(?:[^\s\\/:'\"]+[\\/])+", "…/", line)[:400]
