"""`python -m minidl.check`: judge an implementation of an op, or run a sub-command.

python -m minidl.check mymodule:my_conv2d --as conv2d
python -m minidl.check peers torch
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from minidl.console import guarded

PROG = "python -m minidl.check"


@dataclass(frozen=True)
class Command:
    """A sub-command: one line about it, and where its `configure(parser)` and `run(args) -> status` are."""

    summary: str
    module: str
    configure: str = "configure"
    run: str = "run"


COMMAND = "minidl.check.command"
GOLDEN = "minidl.check.golden.commands"
COMMANDS = {
    "check": Command("judge an implementation of an op (the default)", COMMAND),
    "grad": Command("check the gradient of any function", COMMAND, "configure_grad", "run_grad"),
    "ops": Command("list the ops, their arguments and formulas", COMMAND, "no_options", "run_ops"),
    "mistakes": Command("list the mistakes that are known", COMMAND, "configure_mistakes", "run_mistakes"),
    "peers": Command("hold PyTorch or JAX against every op that they have", "minidl.check.peers"),
    "kinks": Command("the subgradient chosen at each kink, beside PyTorch's and JAX's", "minidl.check.kinks"),
    "export": Command("write golden vectors, or a model's training step", GOLDEN, "configure_export", "run_export"),
    "verify": Command("judge what was made of golden vectors", GOLDEN, "configure_verify", "run_verify"),
    "trace": Command("find the first layer where an implementation departs", GOLDEN, "configure_trace", "run_trace"),
    "statistics": Command("test the law that a random function draws from", "minidl.check.statistics"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the program's own).

    Returns:
        The exit status: 0 where all is right, 1 where something is not, 2 for a mistake, told in one line on stderr.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    return guarded(PROG, lambda: run(given), smaller="fewer calls: --drawn 0")


def run(argv: list[str]) -> int:
    """Do what the command line says; returns the exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, options = (argv[0], argv[1:]) if argv[0] in COMMANDS else ("check", argv)
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    parser = argparse.ArgumentParser(prog=f"{PROG} {name}", description=command.summary)
    getattr(module, command.configure)(parser)
    return getattr(module, command.run)(parser.parse_args(options))


def _overview() -> str:
    lines = [f"usage: {PROG} MODULE:FUNCTION --as OP [options]", f"       {PROG} COMMAND [options]", "", "commands:"]
    lines += [f"  {name:<12} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", f"{PROG} COMMAND --help says more about each"])


if __name__ == "__main__":
    sys.exit(main())
