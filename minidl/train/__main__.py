"""`python -m minidl.train`: train a network, record the run, stop and go on without a trace."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from minidl import checkpoint
from minidl.errors import UserError
from minidl.train.build import Training, build, check_environment, use_threads
from minidl.train.cli import PROG, Arguments, parse
from minidl.train.interrupt import Interrupted, StopRequest
from minidl.train.loop import fit
from minidl.train.priors import load_into
from minidl.train.progress import Display
from minidl.train.recipes import resolve
from minidl.train.record import Record, check_folder, continued_folder, new_folder
from minidl.train.report import heading, stopped, summary
from minidl.train.state import continued, find, restore
from minidl.weights import read_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the program's own).

    Returns:
        The exit status: 0; 2 for a mistake, told in one line on stderr; 128 + the signal's number if stopped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a × or an → is not worth a crash where ASCII is all there is
    try:
        return train(parse(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return fail(str(error), 2)
    except MemoryError as error:
        card = type(error).__name__ == "OutOfMemoryError"  # CuPy's, which names the limit
        more = ", or more of the card: --gpu-memory 1.0" if card else ""
        return fail(f"out of memory ({error}); try a smaller --batch-size, --image-size or --model{more}", 2)
    except KeyboardInterrupt:
        return fail("stopped at once; files are as they were last saved", 130)
    except BrokenPipeError:  # whoever read our output is gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a path that may not be looked at, or is too long: whatever no message of its own has met
        return fail(f"cannot use {error.filename or 'a file'}: {error.strerror or error}", 2)


def fail(message: str, status: int) -> int:
    """Say in one line what cannot be done; gives back `status`."""
    print(f"{PROG}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return status


def train(arguments: Arguments) -> int:
    """Prepare, train, report; returns the exit status."""
    check_environment()
    run, folder, notes = prepare(arguments)
    print(heading(run, folder, notes), flush=True)
    record, display = Record(folder), Display(run.config.log_every)
    record.log_sigmas(run)
    with StopRequest() as stop, use_threads(run.config.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow on the way to a loss that `fit` reports
        try:
            fit(run, [record, display, stop])
        except Interrupted as interrupted:
            display.close()
            record.save(run)
            record.draw(run)
            print(stopped(run, folder, interrupted), flush=True)
            return 128 + interrupted.number
        finally:
            display.close()
            run.close()
    print(summary(run, folder), flush=True)
    return 0


def prepare(arguments: Arguments) -> tuple[Training, Path, list[str]]:
    """A new run or one that goes on, its folder, and what is worth saying about it."""
    if arguments.resume is None:
        config = resolve(arguments.given)
        check_folder(config)  # before the data, which may take a minute
        if config.weights:
            read_weights(config.weights)
        run, notes = build(config), []
        if run.config.weights:
            notes.append(f"weights: {load_into(run.model, run.config.weights)}")
        return run, new_folder(run.config), notes
    path = find(arguments.resume)
    arrays, meta = checkpoint.load(path)
    config, changed = continued(path, meta, arguments.given)
    run = build(config)
    restore(run, arrays, meta, str(path))
    notes = [f"changed on the way, so not the run it would have been: {', '.join(changed)}"] if changed else []
    return run, continued_folder(config, path, run.position), notes


if __name__ == "__main__":
    sys.exit(main())
