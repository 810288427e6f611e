"""Other libraries' implementations of the ops, and how they fare: `python -m minidl.check peers torch`."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from minidl.check.compare import compare
from minidl.check.formats import DTYPES
from minidl.check.report import Verdict
from minidl.check.spec import CASES
from minidl.errors import ConfigError

PEERS = {"torch": "PyTorch", "jax": "JAX"}


@dataclass(frozen=True)
class Line:
    """How a peer fares in one op; no verdict where it has none."""

    op: str
    verdict: Verdict | None

    def cells(self) -> list[str]:
        """Op, calls, largest error ÷ bound, what errors look like, what was left out and why."""
        v = self.verdict
        if v is None:
            return [self.op, "", "", "not there", ""]
        left = "; ".join(f"{why} ({n})" for why, n in v.skipped.items())
        word = v.precision if v.ok else f"**{v.reason}**"
        return [self.op, str(v.cases), "" if v.worst is None else f"{v.worst.ratio:.1g}", word, left]


HEADINGS = ["op", "calls", "error ÷ bound", "errors look like", "left out"]


def lines(
    peer: str, dtype: str = "float64", drawn: int = 20, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[Line]:
    """Every op of the specification, put to the peer where it has one.

    Raises:
        ConfigError: there is no such peer, or it is not installed.
    """
    if peer not in PEERS:
        raise ConfigError(f"peers: must be one of {', '.join(PEERS)}, got {peer!r}")
    module = importlib.import_module(f"{__name__}.{peer}")
    try:
        functions = module.functions()
    except ImportError as error:
        raise ConfigError(f"peers: {PEERS[peer]} is not installed ({error})") from error
    for case in CASES:
        if only and case.name not in only:
            continue
        if (fn := functions.get(case.name)) is None:
            yield Line(case.name, None)
            continue

        def skip(sample, op=case.name):
            return module.difference(op, sample)

        yield Line(
            case.name,
            compare(fn, case.name, dtype=dtype, drawn=drawn, seed=seed, framework=peer, skip=skip),
        )


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m minidl.check peers`."""
    parser.add_argument("peer", choices=tuple(PEERS), help="the library")
    parser.add_argument("--dtype", choices=DTYPES, default="float64", help="of arrays (default: float64)")
    parser.add_argument("--drawn", type=int, default=20, metavar="N", help="calls drawn for each op (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--op", action="append", default=[], metavar="OP", help="only this op; may be repeated")
    parser.add_argument("--json", action="store_true", help="the verdicts as JSON")


def run(args: argparse.Namespace) -> int:
    """Print a table, a line an op; 0 if the peer conforms wherever it has the op, 1 if not."""
    found = []
    if not args.json:
        print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}")
    for line in lines(args.peer, args.dtype, args.drawn, args.seed, tuple(args.op)):
        found.append(line)
        if not args.json:
            print(f"| {' | '.join(line.cells())} |", flush=True)
    asked = [line.verdict for line in found if line.verdict is not None]
    if args.json:
        print(json.dumps([v.as_dict() for v in asked], indent=1, ensure_ascii=False))
    else:
        fine, cases = sum(v.ok for v in asked), sum(v.cases for v in asked)
        print(f"\n{PEERS[args.peer]}, {args.dtype}: {fine} of {len(asked)} ops conform, {cases} calls")
    return 0 if all(v.ok for v in asked) else 1
