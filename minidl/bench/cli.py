"""The command line of `python -m minidl.bench`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from minidl.bench import machine
from minidl.bench.peers import OURS, PEERS
from minidl.errors import ConfigError

__all__ = ["COMMAND", "PROG", "parse"]

PROG = "minidl.bench"
COMMAND = "python -m minidl.bench"
MODES = {
    "headline": "the claims of the project: ResNets, Gaussian filter and pooling beside the others, in 6 minutes",
    "overhead": "what each prior adds to a training step, in time and memory",
    "memory": "memory of whole steps at their peak, and over many steps",
    "profile": "where a step of ours goes: every op, forward and backward",
    "scaling": "how cost grows with batch, image size, channels and threads",
    "list": "the names of all cases",
}
BUDGET = {"headline": 345, "steps": 3600, "overhead": 600, "scaling": 600}  # seconds


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line, by way of `ConfigError`."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(re.sub(r"^argument ([^:]*?): ", r"\1 ", message))


def whole(minimum: int) -> Callable[[str], int]:
    """The type of an integer from `minimum` on."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be an integer >= {minimum}, got {text!r}")
        return int(text)

    return parse


def peer(text: str) -> tuple[str, str | None]:
    """The type of NAME or NAME=PYTHON."""
    name, _, python = text.partition("=")
    if name not in PEERS or name == OURS:
        others = ", ".join(p for p in PEERS if p != OURS)
        raise argparse.ArgumentTypeError(f"must be of {others}, each with =PYTHON behind it or not, got {text!r}")
    if python and not Path(python).is_file():
        raise argparse.ArgumentTypeError(f"{name}: there is no interpreter {python}")
    return name, python or None


def parser() -> argparse.ArgumentParser:
    """The parser; what it gives has `what`, a key of `MODES` or "steps"."""
    made = _Parser(
        prog=COMMAND,
        allow_abbrev=False,
        description="Time ops and training steps beside other frameworks: in turns, on the same data, with as many "
        "threads. Without a choice: every op and every network.",
    )
    choice = made.add_mutually_exclusive_group()
    for name, text in MODES.items():
        choice.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=text)
    choice.add_argument("--markdown", nargs="+", metavar="JSON", help="no measurement: tables of earlier results")
    made.set_defaults(what="steps")
    made.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="cases of these names, or with one of these in their names",
    )
    made.add_argument(
        "--peers",
        nargs="*",
        type=peer,
        metavar="NAME[=PYTHON]",
        help="torch, jax, chainer, mygrad, of this environment or of an interpreter's [all of this one]",
    )
    made.add_argument("--rounds", type=whole(1), default=15, metavar="N", help="quiet rounds of each pair [15]")
    made.add_argument(
        "--seconds", type=whole(1), metavar="N", help="after which nothing new begins [by what is measured]"
    )
    made.add_argument(
        "--steps", type=whole(0), metavar="N", help="of --profile [10]; over which --memory watches [500]"
    )
    cores = len(machine.cores())
    made.add_argument("--threads", type=whole(1), default=cores, metavar="N", help=f"of every framework [{cores}]")
    made.add_argument("--out", metavar="DIR", help="for JSON, tables in Markdown and pictures [only the screen]")
    made.add_argument("--quick", action="store_true", help="tiny sizes, to see that all works; its times say nothing")
    return made


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The checked meaning of a command line.

    Raises:
        ConfigError: a word is unknown, missing or impossible.
        SystemExit: `--help` was asked for.
    """
    args = parser().parse_args(list(argv))
    if args.threads > len(machine.cores()):
        raise ConfigError(
            f"--threads must be at most the {len(machine.cores())} cores of this machine, got {args.threads}"
        )
    if args.peers is None:
        args.peers = [(name, None) for name in PEERS if name != OURS]
        args.asked = False
    else:
        args.asked = True
    if args.steps is None:
        args.steps = {"profile": 10, "memory": 500}.get(args.what, 0)
    if args.quick:
        args.rounds, args.steps = min(args.rounds, 2), min(args.steps, 4)
    if args.seconds is None:
        args.seconds = BUDGET.get(args.what, 3600)
    return args
