"""`python -m minidl.selfcheck --device gpu`: check this machine, show a page, leave a report to send."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from minidl.console import guarded
from minidl.device import get_device
from minidl.errors import UserError
from minidl.selfcheck.parts import run
from minidl.selfcheck.report import page, write
from minidl.train.build import check_environment

PROG = "minidl.selfcheck"


class Progress:
    """What is being done: one line that changes on a terminal, elsewhere a line now and then, on stderr."""

    def __init__(self) -> None:
        self.terminal, self.began, self.said = sys.stderr.isatty(), time.monotonic(), -10.0

    def __call__(self, line: str) -> None:
        now = time.monotonic() - self.began
        if self.terminal:
            print(f"\r\x1b[K{now:4.0f} s  {line}"[:100], end="", file=sys.stderr, flush=True)
        elif now - self.said >= 10:
            self.said = now
            print(f"{now:4.0f} s  {line}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the program's own).

    Returns:
        The exit status: 0 where all is right, 1 where something is not, 2 for a mistake, told in one line on stderr.
    """
    given = _parser().parse_args(argv)
    return guarded(PROG, lambda: check(given), stopped="stopped; no report was written", smaller="--quick")


def check(given: argparse.Namespace) -> int:
    """Check the machine, show the page, write the report; returns the exit status."""
    check_environment()
    device = get_device(given.device)
    out = Path(given.out or f"minidl-selfcheck-{device}.json")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out: there is no folder {out.parent}")
    progress = Progress()
    try:
        report = run(device, quick=given.quick, progress=progress)
    finally:
        progress.close()
    print(page(report))
    text = write(report, out)
    print(f"\nreport: {out} (to send; it names no person, folder or host) and the page above, {text}")
    return 0 if report["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROG}", description="Check that this machine computes what it must; under 5 minutes."
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="what to check (default: cpu)")
    parser.add_argument("--out", metavar="FILE", help="the report (default: minidl-selfcheck-DEVICE.json here)")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: fewer calls, no times")
    return parser


if __name__ == "__main__":
    sys.exit(main())
