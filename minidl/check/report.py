"""What is said of a function in the end."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

from minidl.check.diagnose import Diagnosis
from minidl.check.examine import Measure

WIDTH = 110


@dataclass(frozen=True)
class Verdict:
    """What `compare` found.

    Attributes:
        ok: whether the function conforms.
        reason: one sentence: what it conforms to, or the mistake.
        op, function, framework, dtype: what was compared with what.
        gradients: by what the function was differentiated; "" if it was not.
        cases: how many calls were judged.
        drawn: how many of them were drawn.
        diagnosis: the known mistake, None if there is none.
        precision: what the errors look like.
        worst: the largest error beside its bound.
        largest_ulps: the largest error in units of the last place.
        failing: the smallest call that fails, in words.
        wrong: what is wrong in it, a line each.
        details: everything else worth knowing, a line each.
        skipped: why calls were left out, and how many.
    """

    ok: bool
    reason: str
    op: str
    function: str
    framework: str
    dtype: str
    gradients: str = ""
    cases: int = 0
    drawn: int = 0
    diagnosis: Diagnosis | None = None
    precision: str = ""
    worst: Measure | None = None
    largest_ulps: float = 0.0
    failing: str = ""
    wrong: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        word = "conforms" if self.ok else "DOES NOT conform"
        head = f"{self.function} ({self.framework}, {self.dtype}) {word} to {self.op}"
        lines = [head, self.reason]
        if self.failing:
            lines += [f"smallest failing call: {self.failing}", *(f"  {line}" for line in self.wrong)]
        lines += [*self.details, *(f"skipped {n} call{'s' * (n > 1)}: {why}" for why, n in self.skipped.items())]
        indented = [lines[0], *(textwrap.indent(_wrapped(line), "  ") for line in lines[1:])]
        return "\n".join(indented)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "ok",
                "reason",
                "op",
                "function",
                "framework",
                "dtype",
                "gradients",
                "cases",
                "drawn",
                "precision",
            )
        }
        plain["diagnosis"] = None if self.diagnosis is None else self.diagnosis.name
        plain["largest_error_over_bound"] = None if self.worst is None else self.worst.ratio
        plain |= {"largest_ulps": self.largest_ulps, "failing": self.failing, "wrong": list(self.wrong)}
        return plain | {"details": list(self.details), "skipped": dict(self.skipped)}


def _wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, WIDTH, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False)


def call_in_words(names: list[str], sample: Any) -> str:
    """A call as a report shows it: shapes, and parameters.

    Example:
        >>> import numpy as np
        >>> from minidl.check.spec import Sample
        >>> call_in_words(["x", "weight"], Sample((np.ones((2, 3)), None), {"stride": (1, 2)}))
        'x (2, 3), weight None, stride=(1, 2)'
    """
    parts = [f"{n} {'None' if x is None else x.shape}" for n, x in zip(names, sample.inputs, strict=True)]
    for name, value in sample.params.items():
        shown = f"{value.dtype}{value.shape}" if hasattr(value, "shape") and value.size > 8 else f"{_plain(value)}"
        parts.append(f"{name}={shown}")
    return ", ".join(parts)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)
