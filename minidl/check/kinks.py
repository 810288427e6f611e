"""The subgradient chosen at each kink: minidl's, from the specification, beside PyTorch's and JAX's."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.check.calling import Unsupported
from minidl.check.peers import PEERS
from minidl.check.spec import CASES, Kink, OpCase
from minidl.check.subject import Failure, Subject

Functions = dict[str, Callable[..., Any]]
ABSENT = "—"


def installed() -> dict[str, Functions]:
    """The peers that can be asked, with their functions."""
    found: dict[str, Functions] = {}
    for peer in PEERS:
        try:
            found[peer] = importlib.import_module(f"minidl.check.peers.{peer}").functions()
        except ImportError:
            continue
    return found


def table(peers: dict[str, Functions] | None = None) -> list[dict[str, str]]:
    """A line for every kink of the specification: op, where, and what each library returns for a cotangent of ones.

    Args:
        peers: the functions of each library to ask; None for those that are installed.

    Returns:
        A dictionary a line: op, where, minidl, and the libraries by name.

    Example:
        >>> [(row["op"], row["where"], row["minidl"]) for row in table({}) if row["op"] == "abs"]
        [('abs', 'x = 0', '0')]
    """
    peers = installed() if peers is None else peers
    rows = []
    for case in CASES:
        for kink in case.kinks:
            row = {"op": case.name, "where": kink.where, "minidl": _shown(list(kink.gradients))}
            for peer, functions in peers.items():
                row[PEERS[peer]] = _theirs(peer, functions, case, kink)
            rows.append(row)
    return rows


def _theirs(peer: str, functions: Functions, case: OpCase, kink: Kink) -> str:
    if case.name not in functions:
        return ABSENT
    subject = Subject(functions[case.name], case, framework=peer)
    gy = np.ones(np.shape(case.reference(*kink.sample.inputs, **kink.sample.params)))
    wanted = [i for i, g in enumerate(kink.gradients) if g is not None]
    try:
        answer = subject(kink.sample, "float64", gy, wanted)
    except (Failure, Unsupported):
        return "refused"
    return _shown(list(answer.gradients.values()))


def _shown(gradients: list[np.ndarray | None]) -> str:
    """Gradients in few characters: one number where all elements are equal."""
    return "; ".join(_one(np.asarray(g)) for g in gradients if g is not None)


def _one(g: np.ndarray) -> str:
    values = [f"{v:.3g}" for v in g.ravel()]
    if len(set(values)) == 1:
        return values[0]
    rows = g.reshape(-1, g.shape[-1])
    return " / ".join(" ".join(f"{v:.3g}" for v in row) for row in rows)


def markdown(rows: list[dict[str, str]]) -> str:
    """The table as the documentation prints it."""
    headings = list(rows[0])
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    lines += [f"| {' | '.join(map(_escaped, row.values()))} |" for row in rows]
    return "\n".join(lines)


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m minidl.check kinks`."""


def run(args: argparse.Namespace) -> int:
    """Print the table, with the columns of the libraries that are installed."""
    print(markdown(table()))
    return 0


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
