"""Worker processes as seen from outside: started, asked, paused, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import minidl
from minidl.bench import machine
from minidl.bench.cases import Case
from minidl.bench.peers import OURS
from minidl.bench.worker import LONG
from minidl.errors import UserError

__all__ = ["QUIET", "Entry", "PeerError", "Process", "Turn"]

QUIET = 0.05  # share of the cores' time that others may have in a turn that counts
CAN_PAUSE = hasattr(signal, "SIGSTOP")
SOURCE = str(Path(minidl.__file__).resolve().parent.parent)


class PeerError(UserError):
    """A framework cannot be started, or cannot run a case."""


class Process:
    """A worker.

    Args:
        peer: its name.
        threads: how many it may use.
        python: the interpreter; None: this one.

    Raises:
        PeerError: the framework cannot be had there.
    """

    def __init__(self, peer: str, threads: int, python: str | None = None) -> None:
        self.peer, self.threads = peer, threads
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        try:
            self._process = subprocess.Popen(
                [python or sys.executable, "-m", "minidl.bench.worker", peer, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(peer, threads),
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise PeerError(f"{peer}: cannot start {python}: {error.strerror}") from error
        try:
            self._answer()
            self.version: str = self.ask("hello")["version"]
        except BaseException:
            self.close()
            raise
        self._pause()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, what: str, **request: Any) -> Any:
        """The worker's answer.

        Raises:
            PeerError: it failed, or the process ended.
        """
        assert self._process.stdin is not None
        self._resume()
        try:
            print(json.dumps({"ask": what, **request}), file=self._process.stdin, flush=True)
            return self._answer()
        except BrokenPipeError as error:
            raise PeerError(f"{self.peer}: {self._last_words()}") from error
        finally:
            self._pause()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"{self.peer}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.peer}: {answer['error']}")
        return answer["answer"]

    def _last_words(self) -> str:
        status = self._process.wait(timeout=10)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the process ended with status {status}"

    def _pause(self) -> None:
        if CAN_PAUSE and self._process.poll() is None:
            os.kill(self.pid, signal.SIGSTOP)

    def _resume(self) -> None:
        if CAN_PAUSE and self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue
        self._process.wait()
        self._errors.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(peer: str, threads: int) -> dict[str, str]:
    """As ours, with so many threads everywhere, and with this source of `minidl`."""
    environment = {**os.environ, "PYTHONPATH": SOURCE, "MINIDL_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    one_each = "1" if peer == OURS else str(threads)  # ours has threads of its own, with one of BLAS each
    for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR"):
        environment[f"{name}_NUM_THREADS"] = one_each
    return environment


@dataclass(frozen=True)
class Turn:
    """Some runs in a row.

    Attributes:
        seconds: the median run.
        others: the share of the cores' time that other processes had; None if that is not known.
    """

    seconds: float
    others: float | None

    @property
    def quiet(self) -> bool:
        """Whether next to nothing else ran."""
        return self.others is None or self.others <= QUIET


class Entry:
    """A case, ready in a process.

    Args:
        process: where.
        case: which.
        arrays: the file of its arrays.
        mode: one of the peer's for this case.
        turn: seconds that a turn should last.

    Attributes:
        label: as the table names it.
        check: numbers that all entries of a case share.
        seconds: of one run, at first sight.
    """

    def __init__(self, process: Process, case: Case, arrays: str, mode: str, turn: float) -> None:
        self.process, self.case, self.mode = process, case, mode
        self.label = f"{process.peer}/{mode}" if mode else process.peer
        self.key = f"{case.name} {mode}"
        loaded = process.ask("load", key=self.key, case=case.as_dict(), arrays=arrays, mode=mode)
        self.check: list[float] = loaded["check"]
        self.seconds: float = loaded["seconds"]
        self.runs = max(1, min(round(turn / max(self.seconds, 1e-6)), 10_000))

    def take_turn(self) -> Turn:
        """Run it."""
        before = machine.load(self.process.pid)
        began = time.perf_counter()
        times = self.process.ask("run", key=self.key, runs=self.runs, warm=self.seconds < LONG)
        after = machine.load(self.process.pid)
        if before is None or after is None or time.perf_counter() - began < 0.05:  # too short for ticks of 10 ms
            return Turn(median(times), None)
        return Turn(median(times), after.others_since(before))

    def close(self) -> None:
        """Forget it."""
        self.process.ask("drop", key=self.key)
