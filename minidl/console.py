"""What every command does around its own work: one line and an exit status for whatever goes wrong."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from minidl.errors import UserError

__all__ = ["fail", "guarded"]


def guarded(prog: str, body: Callable[[], int], *, stopped: str = "stopped", smaller: str = "fewer images") -> int:
    """Run a command's `body`; what it raises becomes one line on stderr.

    Args:
        prog: the command's name, which the line begins with.
        body: does the work; gives the exit status.
        stopped: what to say after Ctrl-C.
        smaller: what to try where memory is short.

    Returns:
        What `body` gave; 2 for a mistake or a file that cannot be used; 130 after Ctrl-C; 141 if nobody reads on.

    Example:
        >>> guarded("minidl", lambda: 0)
        0
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a σ or a ✓ is not worth a crash where ASCII is all there is
    try:
        status = body()
        sys.stdout.flush()
    except UserError as error:
        return fail(prog, str(error))
    except MemoryError as error:
        return fail(prog, f"out of memory ({error}); try {smaller}")
    except KeyboardInterrupt:
        return fail(prog, stopped, 130)
    except BrokenPipeError:  # whoever read our output is gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a path that may not be looked at, or is too long: whatever no message of its own has met
        return fail(prog, f"cannot use {error.filename or 'a file'}: {error.strerror or error}")
    return status


def fail(prog: str, message: str, status: int = 2) -> int:
    """Say in one line what cannot be done; gives back `status`.

    Args:
        prog: the command's name.
        message: what went wrong; line breaks become spaces.
        status: the exit status.
    """
    print(f"{prog}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return status
