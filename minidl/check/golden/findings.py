"""What a trace found, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "TraceReport"]


@dataclass(frozen=True)
class Finding:
    """One result of another implementation, judged on what went into it.

    Attributes:
        direction: "forward" or "backward".
        layer: the layer that it belongs to.
        what: "output", "gradient of the output", or the name of a parameter or buffer.
        made_by: what computed it, in words.
        passed: whether it is within its bound.
        ratio: error ÷ bound; infinite where it is not finite.
        says: the rest of the line.
    """

    direction: str
    layer: str
    what: str
    made_by: str
    passed: bool
    ratio: float
    says: str

    def __str__(self) -> str:
        return f"{'ok     ' if self.passed else 'DEPARTS'}  {self.layer}  {self.what}: {self.says}"


@dataclass(frozen=True)
class TraceReport:
    """All findings in order: forward from the first layer, then backward from the last.

    Attributes:
        findings: one a result that was handed in.
        missing: names of layers whose output was not handed in; they are judged with the next.
        refused: a line for each file or array that could not be taken.
    """

    findings: tuple[Finding, ...]
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was handed in, nothing was refused, and nothing departs."""
        return bool(self.findings) and not self.refused and all(f.passed for f in self.findings)

    def first(self, direction: str) -> Finding | None:
        """The first departure on the way "forward" or "backward"."""
        return next((f for f in self.findings if f.direction == direction and not f.passed), None)

    def text(self, only_wrong: bool = False) -> str:
        """A line a finding and refusal, then the first departure of each direction."""
        lines = [str(f) for f in self.findings if not (only_wrong and f.passed)]
        lines += [f"REFUSED  {line}" for line in self.refused]
        if self.missing:
            shown = ", ".join(self.missing[:8]) + (", …" if len(self.missing) > 8 else "")
            lines.append(f"not handed in, so judged with the next: {shown}")
        for direction in ("forward", "backward"):
            judged = [f for f in self.findings if f.direction == direction]
            first = self.first(direction)
            if not judged:
                lines.append(f"{direction}: nothing was handed in")
            elif first is None:
                worst = max(judged, key=lambda f: f.ratio)
                lines.append(
                    f"{direction}: {len(judged)} results follow from what went into them; "
                    f"largest error ÷ bound: {worst.ratio:.2g}, {worst.layer} {worst.what}"
                )
            else:
                wrong = sum(not f.passed for f in judged)
                lines.append(
                    f"{direction}: first departure: {first.layer} {first.what}, made by {first.made_by} "
                    f"({wrong} of {len(judged)} results depart)"
                )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()
