"""Judge what another implementation made of golden vectors: error ÷ bound, and where it is worst."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from minidl.check.golden.arrays import FORMATS, Spec, place, printable, read_group, read_own
from minidl.check.golden.judging import Answered, Verdict, judge
from minidl.check.golden.manifest import Group, Manifest, read_manifest
from minidl.check.golden.mistaken import looks_like
from minidl.errors import UserError

__all__ = ["Report", "strangers", "verify"]

SHOWN = 20  # lines about what nobody asked for, of each folder or archive


@dataclass(frozen=True)
class Report:
    """What is said of all results.

    Attributes:
        verdicts: one a result, or a group that could not be read.
        refused: a line for each file that nobody asked for.
        looks_like: a line for each known mistake that explains the wrong results of an operation.
    """

    verdicts: tuple[Verdict, ...]
    refused: tuple[str, ...] = ()
    looks_like: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything asked for is there and within its bounds, and nothing else is."""
        return not self.refused and all(verdict.passed for verdict in self.verdicts)

    def text(self, only_wrong: bool = False) -> str:
        """A line per verdict and refusal, then the sum of it."""
        lines = [str(v) for v in self.verdicts if not (only_wrong and v.passed)]
        lines += [f"WRONG  {line}" for line in self.refused] + list(self.looks_like)
        groups = dict.fromkeys(v.group for v in self.verdicts)
        wrong = [g for g in groups if any(v.group == g and not v.passed for v in self.verdicts)]
        judged = [v for v in self.verdicts if v.ratio is not None]
        worst = max(judged, key=lambda v: v.ratio or 0.0, default=None)
        end = f"{len(groups) - len(wrong)} of {len(groups)} cases are right"
        if worst is not None:
            end += f"; largest error ÷ bound: {worst.ratio:.3g}, {worst.group} {worst.name}"
        if wrong:
            end += f"; wrong: {', '.join(wrong[:8])}{', …' if len(wrong) > 8 else ''}"
        return "\n".join([*lines, end])

    def __str__(self) -> str:
        return self.text()


def verify(folder: str | os.PathLike[str], results: str | os.PathLike[str], *, outputs_only: bool = False) -> Report:
    """Judge the results of another implementation by the golden vectors in `folder`.

    Args:
        folder: what `export` wrote.
        results: a folder of the same layout: a group of the same name for every group, in any of the three forms.
        outputs_only: gradients are neither asked for nor allowed.

    Raises:
        UserError: one of the folders is missing, or the golden vectors are damaged.  What is wrong with the results
            stands in the report.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from minidl.check.golden.vectors import export
        >>> vectors, results = (Path(tempfile.mkdtemp()) / name for name in ("vectors", "results"))
        >>> _ = export(["relu"], vectors)
        >>> results.mkdir()
        >>> for case in ("relu-0", "relu-1", "relu-2"):
        ...     given = np.load(vectors / f"{case}.npz")
        ...     y = np.maximum(given["input.x"], 0)
        ...     np.savez(results / case, **{"output": y, "grad.x": given["cotangent"] * (y > 0)})
        >>> print(verify(vectors, results).text(only_wrong=True))
        3 of 3 cases are right; largest error ÷ bound: 0, relu-0 output
    """
    source, given = Path(folder), Path(results)
    manifest = read_manifest(source, "operations")
    if not given.is_dir():
        raise UserError(f"{given}: there is no such folder of results")
    verdicts: list[Verdict] = []
    refused = list(strangers(given, manifest))
    answers: list[Answered] = []
    for group in manifest.groups:
        wanted = {n: s for n, s in group.results.items() if n == "output" or not outputs_only}
        found = read_group(given, group.id, wanted)
        truth = read_own(source, group.id, group.specs())
        _check_complete(source, group)
        refused += found.extra[:SHOWN]
        if found.unreadable:
            verdicts.append(Verdict(group.id, "", False, found.unreadable))
            continue
        judged = len(verdicts)
        for name in wanted:
            if name in found.arrays:
                expected, bound = truth[f"expected.{name}"], truth[f"bound.{name}"]
                verdicts.append(judge(group.id, name, found.arrays[name], expected, bound))
            else:
                verdicts.append(Verdict(group.id, name, False, (found.missing | found.refused)[name]))
        answers.append(Answered(group, truth, found.arrays, tuple(verdicts[judged:])))
    return Report(tuple(verdicts), tuple(refused), tuple(looks_like(manifest.dtype, answers)))


def _check_complete(folder: Path, group: Group) -> None:
    specs: Mapping[str, Spec] = group.specs("expected", "bound")
    for name, spec in group.results.items():
        for role in ("expected", "bound"):
            if specs.get(f"{role}.{name}") != Spec("float64", spec.shape):
                raise UserError(f"{folder}: manifest: {group.id} has no float64 {role}.{name} shaped as its result")


def strangers(folder: Path, manifest: Manifest) -> Iterator[str]:
    """A line for every entry of `folder` that no group of the manifest may be; the first few, and how many more."""
    allowed = {place(group.id, form).rstrip("/") for group in manifest.groups if group.results for form in FORMATS}
    names = sorted(entry.name for entry in folder.iterdir() if entry.name not in allowed)
    for name in names[:SHOWN]:
        yield f"{printable(name)} is not asked for"
    if len(names) > SHOWN:
        yield f"… and {len(names) - SHOWN} more files that are not asked for"
