"""The report as a page to read and as a file to send."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from minidl.files import written_whole

__all__ = ["page", "write"]

MACHINE = {
    "card": ("card", "compute_capability", "card_memory_gib", "driver", "driver_cuda"),
    "software": ("minidl", "array_module", "numpy", "python", "runtime_cuda", "torch"),
    "host": ("cpu", "cores", "memory_gib", "system"),
}
UNITS = {
    "compute_capability": "compute capability {}",
    "card_memory_gib": "{} GiB",
    "memory_gib": "{} GiB",
    "driver": "driver {}",
    "driver_cuda": "for CUDA {}",
    "runtime_cuda": "CUDA {}",
    "cores": "{} cores",
    "minidl": "minidl {}",
    "numpy": "NumPy {}",
    "python": "Python {}",
    "torch": "PyTorch {}",
}
MOST = 12  # lines about what is wrong
WORST = 5  # findings listed with their share of the bound


def page(report: dict[str, Any]) -> str:
    """The verdict, the machine, a paragraph a part; what is wrong first."""
    machine, wrong = report["machine"], _with_status(report, "wrong")
    count = sum(len(findings) for findings in report["parts"].values())
    verdict = "everything is right" if report["ok"] else f"{len(wrong)} of {count} checks are WRONG"
    quick = ", a quick check" if report["quick"] else ""
    lines = [f"minidl on the {machine['device']}: {verdict} ({count} checks, {report['seconds']:.0f} s{quick})", ""]
    for title, keys in MACHINE.items():
        words = [UNITS.get(key, "{}").format(machine[key]) for key in keys if machine.get(key) is not None]
        lines += [f"{title:<12}{', '.join(words)}"] if words else []
    lines += ["", *(f"WRONG       {name}: {says}" for name, says in wrong[:MOST])]
    lines += [f"            and {len(wrong) - MOST} more, in the file"] if len(wrong) > MOST else []
    for name, findings in report["parts"].items():
        lines += [*_paragraph(name, findings)]
    return "\n".join(lines)


def _paragraph(name: str, findings: list[dict[str, Any]]) -> list[str]:
    """A part: one line a finding, or a summary where there are many."""
    if len(findings) <= WORST:
        return [f"{name if i == 0 else '':<12}{f['name']}: {f['says']}" for i, f in enumerate(findings)]
    right = sum(f["status"] == "ok" for f in findings)
    ratios = sorted(((f["figures"].get("ratio", 0.0), f["name"]) for f in findings), key=_worst_first)
    nearest = ", ".join(f"{title} {ratio:.2g}" for ratio, title in ratios[:WORST])
    return [f"{name:<12}{right} of {len(findings)} right; nearest to their bounds: {nearest}"]


def _worst_first(entry: tuple[float, str]) -> tuple[float, str]:
    ratio, name = entry
    return (-math.inf if math.isnan(ratio) else -ratio), name


def _with_status(report: dict[str, Any], status: str) -> list[tuple[str, str]]:
    return [(f["name"], f["says"]) for part in report["parts"].values() for f in part if f["status"] == status]


def write(report: dict[str, Any], path: Path) -> Path:
    """Write the report as JSON to `path` and the page beside it as .txt; returns the latter's path.

    Raises:
        UserError: a place cannot be written.
    """
    text = path.with_suffix(".txt") if path.suffix != ".txt" else path.with_name(path.name + ".txt")
    with written_whole(path) as beside:
        beside.write_text(json.dumps(_plain(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with written_whole(text) as beside:
        beside.write_text(page(report) + "\n", encoding="utf-8")
    return text


def _plain(value: Any) -> Any:
    """`value` with what JSON has no number for, ∞ and NaN, as text."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
