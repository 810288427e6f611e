"""`python -m minidl.bench`: how fast, beside whom, and where the time goes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from minidl.bench.cli import PROG, parse
from minidl.bench.commands import run
from minidl.errors import UserError
from minidl.train.build import check_environment


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the program's own).

    Returns:
        The exit status: 0; 2 for a mistake, told in one line on stderr.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a σ or a ✓ is not worth a crash where ASCII is all there is
    try:
        check_environment()
        run(parse(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except UserError as error:
        return fail(str(error), 2)
    except KeyboardInterrupt:
        return fail("stopped; what was measured until then is written, if --out was given", 130)
    except BrokenPipeError:  # whoever read our output is gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def fail(message: str, status: int) -> int:
    """Tell what went wrong in one line; the exit status."""
    print(f"{PROG}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
