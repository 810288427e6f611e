"""The table of operations, from the specification: formula, subgradients at kinks, bounds of rounding."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from minidl.check import kinks
from minidl.check.bounds import roundings
from minidl.check.expected import DEGREES, Expected, pull_back
from minidl.check.formats import FORMATS
from minidl.check.spec import CASES, FAMILIES, OpCase

ROOT = Path(__file__).resolve().parents[2]


def table(name: str) -> str:
    """`equations`, `kinks` or `bounds`: a table in Markdown."""
    return {"equations": equations, "kinks": subgradients, "bounds": bounds}[name]()


def equations() -> str:
    """Family by family: the operation, its formula, what is linear and what has no gradient."""
    parts = []
    for family in FAMILIES:
        name = family.__name__.rpartition(".")[2]
        parts += ["", f"### {name}", "", f"[ops/{name}.py](../minidl/ops/{name}.py) has the derivation.", ""]
        for case in family.CASES:
            parts += [_link(case.name), f": `{_code(case.equations)}`", ""]
    return "\n".join(parts)


def subgradients() -> str:
    """The kinks of the specification; the columns of other libraries are those of docs/check.md, which a test holds."""
    shown = _measured()
    rows = []
    for row in kinks.table({}):
        theirs = shown.get((row["op"], row["where"]), {})
        rows.append([_link(row["op"]), row["where"], row["minidl"], *(theirs.get(o, "—") for o in ("PyTorch", "JAX"))])
    return _markdown(["op", "where: what is chosen", "minidl", "PyTorch", "JAX"], rows)


def _measured() -> dict[tuple[str, str], dict[str, str]]:
    lines = (ROOT / "docs" / "check.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| op | where | minidl |"))
    headings = _cells(lines[start])
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        row = dict(zip(headings, _cells(line), strict=True))
        found[row["op"], row["where"]] = row
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def bounds() -> str:
    """How far float32 may carry each operation's output and gradients, for the first call of the specification."""
    rows = []
    for case in CASES:
        truth = Expected(case, next(iter(case.samples(np.random.default_rng(0)))), FORMATS["float32"])
        gradients = ", ".join(_relative(truth, i) for i in truth.wanted) or "–"
        k = roundings(truth.sample.inputs)
        rows.append([_link(case.name), size_rule(case), str(k), _relative(truth, None), gradients, _ours(truth)])
    return _markdown(["op", "M", "k", "output", "gradients", "ours"], rows)


def _ours(truth: Expected) -> str:
    """The largest error of minidl in float32, output and gradients, in units of its bound."""
    inputs = tuple(None if x is None else x.astype(np.float32) for x in truth.sample.inputs)
    y, gradients = pull_back(truth.case, inputs, truth.sample.params, truth.gy.astype(np.float32), truth.wanted)
    shares = [np.abs(y.data - truth.y) / truth.bound(truth.size)]
    for i in truth.wanted:
        exact, size = truth.gradient(i, truth.gy), truth.gradient_size(i, truth.gy)
        shares.append(np.abs(gradients[i] - exact) / truth.bound(size))
    largest = max(float(share.max(initial=0.0)) for share in shares)
    return f"{largest:.3f}" if largest else "0"


def _link(op: str) -> str:
    return f"{{py:obj}}`~minidl.ops.{op}`"


def size_rule(case: OpCase) -> str:
    """What an operation's rounding errors are relative to.

    Example:
        >>> size_rule(next(case for case in CASES if case.name == "conv2d"))
        '3 f(\\\\|x\\\\|, …)'
    """
    degree = DEGREES.get(case.name)
    if degree is not None:
        return f"{1 + degree} f(\\|x\\|, …)"
    return "max M" if case.normwise else "\\|y\\| + Σ \\|∂y/∂x\\| \\|x\\|"


def _relative(truth: Expected, i: int | None) -> str:
    """The largest bound of the output, or of the gradient of input i, relative to its largest element."""
    values, size = (
        (truth.y, truth.size) if i is None else (truth.gradient(i, truth.gy), truth.gradient_size(i, truth.gy))
    )
    largest = float(np.abs(values).max(initial=0.0))
    return f"{float(truth.bound(size).max(initial=0.0)) / largest:.0e}" if largest else "0"


def _code(text: str) -> str:
    return text.replace("`", "'")


def _markdown(headings: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
