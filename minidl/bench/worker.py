"""A process that holds one framework, and runs cases when it is told.

    python -m minidl.bench.worker NAME THREADS

It reads a request a line from its input and answers each with a line, both JSON.  What a framework prints goes to
stderr.  Between its turns the process is paused from outside, so that threads that wait in a loop take nothing from
the others.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from minidl.bench import machine
from minidl.bench.cases import Case
from minidl.bench.peers import get_peer
from minidl.bench.peers.base import Peer, Task

__all__ = ["LONG", "Worker", "main"]


LONG = 1.0  # seconds; a longer run needs no run before it that is not counted


class Worker:
    """What it can be asked; every method takes and returns what JSON can hold."""

    def __init__(self, peer: Peer, threads: int) -> None:
        self.peer, self.threads = peer, threads
        self.tasks: dict[str, Task] = {}

    def hello(self) -> dict[str, Any]:
        """Who this is."""
        return {"version": self.peer.version}

    def modes(self, case: dict[str, Any]) -> list[str]:
        """Ways to run a case."""
        return list(self.peer.modes(Case.from_dict(case)))

    def load(self, key: str, case: dict[str, Any], arrays: str, mode: str, check: bool = True) -> dict[str, Any]:
        """Make a case ready under `key`; its check, and the seconds of a run that is not the first."""
        self.tasks[key] = task = self.peer.task(Case.from_dict(case), dict(np.load(arrays)), mode)
        numbers = task.check() if check else []
        first = _timed(task.run)
        return {"check": numbers, "seconds": first if check and first > LONG else _timed(task.run)}

    def run(self, key: str, runs: int, warm: bool) -> list[float]:
        """Seconds of each run; a first one is not counted if `warm`."""
        task = self.tasks[key]
        if warm:
            task.run()
        return [_timed(task.run) for _ in range(runs)]

    def drop(self, key: str) -> None:
        """Forget a case."""
        self.tasks.pop(key, None)

    def peaks(self, seconds: float) -> dict[str, float]:
        """The most this machine can do on this worker's threads."""
        return machine.peaks(self.threads, seconds)

    def peak_memory(self, case: dict[str, Any], few: str, arrays: str, mode: str, steps: int) -> dict[str, float]:
        """MiB at the peak of some steps on `arrays`, above what is held after steps on `few`, the same case, smaller.

        What a framework loads and sets up when it is first used is had by then, and counts for nobody.
        """
        small = self.peer.task(Case.from_dict(case), dict(np.load(few)), mode)
        for _ in range(2):
            small.run()
        del small
        machine.reset_peak()
        before = machine.memory()["now"]
        task = self.peer.task(Case.from_dict(case), dict(np.load(arrays)), mode)
        for _ in range(steps):
            task.run()
        return {"before": before, "peak": machine.memory()["peak"]}

    def growth(self, case: dict[str, Any], arrays: str, mode: str, steps: int) -> list[float]:
        """MiB held after each of `steps` steps."""
        task = self.peer.task(Case.from_dict(case), dict(np.load(arrays)), mode)
        held = []
        for _ in range(steps):
            task.run()
            held.append(machine.memory()["now"])
        return held


def _timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def serve(worker: Worker, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        request = json.loads(line)
        try:
            answer = {"answer": getattr(worker, request.pop("ask"))(**request)}
        except Exception as error:  # told to whoever asked
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        print(json.dumps(answer), file=answers, flush=True)


def main(argv: list[str]) -> int:
    """Serve as the framework `argv[0]` on `argv[1]` threads."""
    machine.die_with_parent()
    name, threads = argv[0], int(argv[1])
    machine.use_cores(threads)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        peer = get_peer(name, threads)
    except Exception as error:  # not installed, or it does not start here
        print(
            json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}), file=answers, flush=True
        )
        return 1
    print(json.dumps({"answer": None}), file=answers, flush=True)
    serve(Worker(peer, threads), sys.stdin, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
