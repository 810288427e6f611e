"""`python -m minidl.bench`: how fast, beside whom, and where the time goes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from minidl.bench.cli import PROG, parse
from minidl.bench.commands import run
from minidl.console import guarded
from minidl.train.build import check_environment


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the program's own).

    Returns:
        The exit status: 0; 2 for a mistake, told in one line on stderr.
    """
    given = sys.argv[1:] if argv is None else argv
    stopped = "stopped; what was measured until then is written, if --out was given"
    return guarded(PROG, lambda: measure(given), stopped=stopped, smaller="--only with fewer names")


def measure(argv: Sequence[str]) -> int:
    """Do what the command line says."""
    check_environment()
    run(parse(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
