"""`python -m minidl.explain`: pictures of what trained networks look at."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from minidl.console import guarded
from minidl.explain.cli import PROG, parse
from minidl.explain.commands import COMMANDS
from minidl.train.build import check_environment


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the program's own).

    Returns:
        The exit status: 0; 2 for a mistake, told in one line on stderr.
    """
    given = sys.argv[1:] if argv is None else argv
    return guarded(PROG, lambda: draw(given), smaller="fewer images, or a smaller --size")


def draw(argv: Sequence[str]) -> int:
    """Do what the command line says, and tell where the picture is."""
    check_environment()
    args = parse(argv)
    for line in [*COMMANDS[args.command](args), f"written: {args.out}"]:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
