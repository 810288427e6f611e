"""Tables of what was measured, for the screen and in Markdown, from the documents that JSON files hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from minidl.bench.contest import ATTEMPTS, FEW
from minidl.bench.peers import OURS
from minidl.bench.processes import QUIET
from minidl.errors import DataError
from minidl.files import written_whole

__all__ = ["Table", "markdown", "read", "screen", "write"]

Document = dict[str, Any]
SCHEMA = 1
TITLES = {
    "headline": "Beside other frameworks",
    "steps": "Every case beside other frameworks",
    "overhead": "What each prior costs",
    "memory": "Memory",
    "profile": "Where a step goes",
    "scaling": "How cost grows",
}


@dataclass(frozen=True)
class Table:
    """Rows under a head; columns named in `left` are text, the others numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 2

    def screen(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i < self.left else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in [self.head, *self.rows]
        )

    def markdown(self) -> str:
        rule = ["---" if i < self.left else "---:" for i in range(len(self.head))]
        return "\n".join("| " + " | ".join(row) + " |" for row in [self.head, rule, *self.rows])


def read(path: str | Path) -> Document:
    """A document from its file.

    Raises:
        DataError: it is none of ours.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or document.get("what") not in TITLES:
        raise DataError(f"{path} is not a result of minidl.bench")
    return document


def write(document: Document, folder: str | Path) -> list[Path]:
    """Save a document as WHAT.json and its tables as WHAT.md.

    Raises:
        UserError: they cannot be written.
    """
    base = Path(folder) / document["what"]
    texts = {
        base.with_suffix(".json"): json.dumps({"schema": SCHEMA, **document}, indent=1, ensure_ascii=False),
        base.with_suffix(".md"): markdown(document),
    }
    for path, text in texts.items():
        with written_whole(path) as beside:
            beside.write_text(text + "\n", encoding="utf-8")
    return list(texts)


def screen(document: Document) -> str:
    """The tables and what must be known to read them, for a terminal."""
    return "\n\n".join(
        [*(t if isinstance(t, str) else t.screen() for t in MAKERS[document["what"]](document)), _notes(document)]
    )


def markdown(document: Document) -> str:
    """The same as a page."""
    parts = [t if isinstance(t, str) else t.markdown() for t in MAKERS[document["what"]](document)]
    pictures = [f"![{name.removesuffix('.png')}]({name})" for name in document.get("pictures", [])]
    return "\n\n".join([f"# {TITLES[document['what']]}", *parts, *pictures, _notes(document)])


def _notes(document: Document) -> str:
    m, peak = document["machine"], document.get("peak")
    caches = ", ".join(f"{name} {size}" for name, size in m["caches"].items())
    lines = [
        f"{m['cpu']}, {m['cores']} cores{f' ({caches})' if caches else ''}, {m['memory_gib']} GiB, {m['system']}, "
        f"Python {m['python']}; {document['threads']} threads each; {document['date']}.",
        "; ".join(f"{name} {version}" for name, version in document["peers"].items()) + ".",
    ]
    if peak:
        lines.append(
            f"Measured limits: {peak['gflops']:.0f} GFLOP/s (float32 products of 768×768 matrices, a thread each), "
            f"{peak['gbytes']:.1f} GB/s (copies, read and written bytes counted)."
        )
    if "rounds" in document["settings"]:
        lines.append(
            f"Ratios: of the medians of rounds in which nobody else had more than {QUIET:.0%} of the cores, in "
            f"brackets the quartiles of single rounds; {document['settings']['rounds']} such rounds were asked for "
            f"and up to {ATTEMPTS} times as many tried. ~: fewer than {FEW} were quiet, so all count."
        )
    lines += [f"Without {name}: {why}." for name, why in document.get("missing", {}).items()]
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def _ratio(r: dict[str, Any]) -> str:
    return f"{r['value']:.2f} [{r['low']:.2f}–{r['high']:.2f}]{'' if r['quiet'] else ' ~'}"


def _times(document: Document) -> list[Table | str]:
    """A row for each case and other framework, in its best mode."""
    rows, notes = [], []
    goals = document.get("goals", {})
    for result in document["results"]:
        case, entries = result["case"], result["entries"]
        ours = entries[OURS]
        limits = _shares(case, ours, document.get("peak"))
        labels = [label for peer, label in result["best"].items() if peer != OURS]
        for label in labels or [None]:
            row = [case["name"], case["text"], _ms(ours["seconds"])]
            if label is None:
                row += ["", "", "", ""]
            else:
                ratio, goal = result["ratios"][label], goals.get(case["name"], {}).get(entries[label]["peer"])
                row += [label, _ms(entries[label]["seconds"]), _ratio(ratio), str(ratio["rounds"])]
                if not entries[label]["agrees"]:
                    notes.append(f"{case['name']}: {label} computes something else than minidl.")
            if goals:
                row.append(
                    "" if label is None or goal is None else f"{goal:.3g} {'✓' if ratio['value'] <= goal else '✗'}"
                )
            rows.append([*row, *limits])
        notes += [f"{case['name']}: {peer} failed: {why}." for peer, why in result["failed"].items()]
    head = ["case", "sizes", "minidl ms", "other", "other ms", "ratio", "rounds", *(["at most"] if goals else [])]
    return [Table([*head, "GFLOP/s", "of products", "of copies"], rows), *(["\n".join(notes)] if notes else [])]


def _shares(case: dict[str, Any], ours: dict[str, Any], peak: dict[str, float] | None) -> list[str]:
    """GFLOP/s of ours, as a share of the best products; and its necessary bytes, as a share of the best copies."""
    if not case["flops"]:
        return ["", "", ""]
    share = f"{ours['gflops'] / peak['gflops']:.0%}" if peak else ""
    moved = f"{case['bytes'] / ours['seconds'] / 1e9 / peak['gbytes']:.0%}" if peak and case["bytes"] else ""
    return [f"{ours['gflops']:.3g}", share, moved]


def _overhead(document: Document) -> list[Table | str]:
    rows, notes = [], []
    for result in document["results"]:
        row = [result["prior"]]
        for peer in document["columns"]:
            at = result["peers"][peer]
            more = at["peak_mib"] / at["plain_peak_mib"] if at["plain_peak_mib"] > 0 else math.nan
            row += [
                _ms(at["plain_seconds"]),
                _ms(at["seconds"]),
                _ratio(at["ratio"]),
                f"{at['peak_mib']:.0f}",
                f"{more:.2f}",
            ]
        if len(document["columns"]) > 1:
            row.append(_ratio(result["ours_to_torch"]))
            if not result["agrees"]:
                notes.append(f"{result['prior']}: PyTorch's computes something else than minidl's.")
        rows.append(row)
    head = ["prior"]
    for peer in document["columns"]:
        head += [f"{peer}: plain ms", "with it ms", "ratio", "peak MiB", "× plain"]
    if len(document["columns"]) > 1:
        head.append("minidl / torch")
    text = f"Training steps of {document['settings']['model']}, batch {document['settings']['batch']}; "
    text += "`average` and `max` pool where the pool priors do, which takes strides away: the layout alone costs that. "
    text += "Memory: what steps on the batch add, at their peak, to a process that has made steps on two images."
    return [text, Table(head, rows, left=1), *(["\n".join(notes)] if notes else [])]


def _memory(document: Document) -> list[Table | str]:
    rows, notes = [], []
    for result in document["results"]:
        peaks, name = result["peak_mib"], result["case"]["name"]
        for label, peak in peaks.items():
            ratio = "" if label == OURS else f"{peaks[OURS] / peak:.2f}"
            rows.append([name, label, f"{peak:.0f}", ratio])
        notes += [f"{name}: {label} failed: {why}." for label, why in result["failed"].items()]
        if held := result.get("held_mib"):
            early = min(50, len(held) // 2)
            notes.append(
                f"{name}: minidl held {held[early]:.0f} MiB after step {early + 1} and {held[-1]:.0f} after step "
                f"{len(held)}; the most in between was {max(held[early:]):.0f}."
            )
    text = "What steps on the batch add, at their peak, to a process that has made steps on two images."
    return [text, Table(["case", "framework", "peak MiB", "minidl / it"], rows), "\n".join(notes)]


def _profile(document: Document) -> list[Table | str]:
    parts: list[Table | str] = []
    for result in document["results"]:
        total = result["seconds"]
        rows = []
        by_op = sorted(result["ops"], key=lambda op: op["op"])
        sums = []
        for name, ops in groupby(by_op, key=lambda op: op["op"]):
            listed = list(ops)
            sums.append((name, *(sum(op[k] for op in listed) for k in ("calls", "forward", "backward"))))
        for name, calls, forward, backward in sorted(sums, key=lambda s: -s[2] - s[3]):
            rows.append([name, f"{calls:.0f}", _ms(forward), _ms(backward), f"{(forward + backward) / total:.1%}"])
        rows += [[n, "", _ms(result[n]), "", f"{result[n] / total:.1%}"] for n in ("optimizer", "rest")]
        heaviest = [
            [op["op"], op["shapes"], f"{op['calls']:.0f}", _ms(op["forward"]), _ms(op["backward"])]
            for op in result["ops"][:15]
        ]
        parts += [
            f"{result['case']['text']}: {_ms(total)} ms a step, mean of {result['steps']}; "
            "rest: Python between the ops, and sums of gradients that meet.",
            Table(["op", "calls", "forward ms", "backward ms", "of the step"], rows, left=1),
            Table(["heaviest", "inputs", "calls", "forward ms", "backward ms"], heaviest),
        ]
    return parts


def _scaling(document: Document) -> list[Table | str]:
    rows = []
    peers = document["columns"]
    for result in document["results"]:
        images = result["images"]
        row = [result["axis"], result["text"], str(result["value"])]
        row += [f"{_ms(result['seconds'][peer])} ({1e6 * result['seconds'][peer] / images:.0f})" for peer in peers]
        rows.append([*row, _ratio(result["ratio"]) if len(peers) > 1 else ""])
    head = ["what grows", "case", "", *(f"{peer}: ms (µs an image)" for peer in peers), "ratio"]
    exponents = [f"{axis}: {value}" for axis, value in _exponents(document["results"]).items()]
    return [
        Table(head, rows),
        "Time grows with the power (slope of the last two points, doubly logarithmic): " + "; ".join(exponents) + ".",
    ]


def _exponents(results: Iterable[dict[str, Any]]) -> dict[str, str]:
    found = {}
    for axis, points in groupby(results, key=lambda r: r["axis"]):
        last = [(p["value"], p["seconds"][OURS]) for p in points][-2:]
        if len(last) == 2:
            (x0, y0), (x1, y1) = last
            found[axis] = f"{np.log(y1 / y0) / np.log(x1 / x0):.2f}"
    return found


MAKERS: dict[str, Callable[[Document], list[Table | str]]] = {
    "headline": _times,
    "steps": _times,
    "overhead": _overhead,
    "memory": _memory,
    "profile": _profile,
    "scaling": _scaling,
}
