"""`python -m minidl.explain`: pictures of what trained networks look at."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from minidl.errors import UserError
from minidl.explain.cli import PROG, parse
from minidl.explain.commands import COMMANDS
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
        args = parse(sys.argv[1:] if argv is None else argv)
        for line in [*COMMANDS[args.command](args), f"written: {args.out}"]:
            print(line)
        sys.stdout.flush()
    except UserError as error:
        return fail(str(error), 2)
    except MemoryError as error:
        return fail(f"out of memory ({error}); try fewer images, or a smaller --size", 2)
    except KeyboardInterrupt:
        return fail("stopped", 130)
    except BrokenPipeError:  # whoever read our output is gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a path that may not be looked at, or is too long: whatever no message of its own has met
        return fail(f"cannot use {error.filename or 'a file'}: {error.strerror or error}", 2)
    return 0


def fail(message: str, status: int) -> int:
    """Say in one line what cannot be done; gives back `status`."""
    print(f"{PROG}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
