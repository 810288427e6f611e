"""All changes of all targets, in worker processes that may be stopped or die."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tests.mutation.mutants import mutants
from tests.mutation.targets import Target
from tests.mutation.trial import FAILED, SECONDS, Trials

BYTES = 4 << 30  # of memory for one worker beyond what it starts with


@dataclass
class Result:
    """What became of the changes of one target."""

    target: Target
    noticed: list[tuple[int, str, str]] = field(default_factory=list)  # line, change, what was noticed
    survived: list[tuple[int, str]] = field(default_factory=list)  # line, change
    error: str = ""  # the target could not be tried

    @property
    def number(self) -> int:
        return len(self.noticed) + len(self.survived)

    @property
    def failed(self) -> int:
        """Of the noticed: those whose program raised, hung or died; the others returned something wrong."""
        return sum(noticed.startswith(FAILED) for _, _, noticed in self.noticed)

    def add(self, line: int, change: str, noticed: str | None) -> None:
        if noticed is None:
            self.survived.append((line, change))
        else:
            self.noticed.append((line, change, noticed))


def run(targets: Iterable[Target], jobs: int, progress: Callable[[Result], None]) -> list[Result]:
    """Try every change of every target in `jobs` processes, and call `progress` with each finished target."""
    waiting = list(targets)
    results = {target: Result(target) for target in waiting}
    order = list(waiting)
    running: dict[Connection, _Worker] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            worker = _Worker(waiting.pop(0), 0)
            running[worker.connection] = worker
        ready = wait(list(running), timeout=SECONDS)
        now_running = dict(running)
        for connection, worker in now_running.items():
            result = results[worker.target]
            silent = time.monotonic() - worker.heard > 30 * SECONDS  # waiting, or in C code
            finished = worker.receive(result) if connection in ready else silent
            if not finished:
                continue
            del running[connection]
            worker.stop()
            changes = list(mutants(worker.target.tree))
            if not result.error and result.number < len(changes):  # it died of this change, or hung in it
                fatal = changes[result.number]
                result.add(fatal.line, fatal.change, f"{FAILED} or hung")
                if result.number < len(changes):
                    again = _Worker(worker.target, result.number)
                    running[again.connection] = again
                    continue
            progress(result)
    return [results[target] for target in order]


class _Worker:
    """A process that tries the changes of one target from the `start`-th on."""

    def __init__(self, target: Target, start: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.target, self.heard = target, time.monotonic()
        self.connection, other = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(target=_work, args=(target, start, other), daemon=True)
        self.process.start()
        other.close()

    def receive(self, result: Result) -> bool:
        """Take one message; whether it was the last."""
        self.heard = time.monotonic()
        try:
            message = self.connection.recv()
        except EOFError:
            return True
        if isinstance(message, str):
            result.error = message
            return True
        result.add(*message)
        return False

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _work(target: Target, start: int, connection: Connection) -> None:
    _limit_memory()
    try:
        trials = Trials(target)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    for mutant in list(mutants(target.tree))[start:]:
        connection.send((mutant.line, mutant.change, trials.notice(mutant)))


def _limit_memory() -> None:
    if sys.platform == "linux":
        pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
        limit = pages * resource.getpagesize() + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
