"""`python -m minidl.train`: train a network, record the run, stop and go on without a trace."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from minidl import checkpoint
from minidl.console import guarded
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
    given = sys.argv[1:] if argv is None else argv
    stopped_at_once = "stopped at once; files are as they were last saved"
    smaller = "a smaller --batch-size, --image-size or --model"
    if "gpu" in given:
        smaller += "; or more of the card: --gpu-memory 1.0"
    return guarded(PROG, lambda: train(parse(given)), stopped=stopped_at_once, smaller=smaller)


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
