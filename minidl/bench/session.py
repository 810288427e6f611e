"""What a benchmark holds while it runs: one process a framework, and the files of the arrays."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from minidl.bench.cases import Case
from minidl.bench.inputs import inputs
from minidl.bench.peers import OURS
from minidl.bench.processes import Entry, PeerError, Process

__all__ = ["AGREE", "Session", "agrees"]

AGREE = 1e-2  # of the size of a number, for losses of two steps in float32; single ops agree to 1e-6


class Session:
    """Processes and arrays, made when they are first needed and gone at the end.

    Args:
        pythons: the interpreter of each framework, None for this one, ours first.
        threads: of each.
        turn: seconds that a turn should last.

    Attributes:
        missing: why a framework cannot be had, by name.
    """

    def __init__(self, pythons: Mapping[str, str | None], threads: int, turn: float) -> None:
        self.pythons, self.threads, self.turn = {OURS: None, **pythons}, threads, turn
        self.missing: dict[str, str] = {}
        self._processes: dict[tuple[str, int], Process] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="minidl-bench-")
        self._written, self._began = 0, time.perf_counter()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes.values():
            process.close()
        self._folder.cleanup()

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._began

    def process(self, peer: str, threads: int | None = None) -> Process:
        """The worker of a framework.

        Raises:
            PeerError: it cannot be had.
        """
        key = peer, threads or self.threads
        if key not in self._processes:
            self._processes[key] = Process(peer, key[1], self.pythons[peer])
        return self._processes[key]

    def versions(self) -> dict[str, str]:
        """Start every framework; what those are that started.

        Raises:
            PeerError: ours does not start.
        """
        found = {}
        for peer in self.pythons:
            try:
                found[peer] = self.process(peer).version
            except PeerError as error:
                if peer == OURS:
                    raise
                self.missing[peer] = str(error)
        return found

    def fresh(self, peer: str) -> Process:
        """A worker that nothing was done in; whoever asks for it ends it."""
        return Process(peer, self.threads, self.pythons[peer])

    def arrays(self, case: Case) -> str:
        """A new file of a case's arrays."""
        self._written += 1
        name = str(Path(self._folder.name) / f"{self._written}.npz")
        np.savez(name, allow_pickle=False, **inputs(case))
        return name

    def entries(self, case: Case, peers: Iterable[str]) -> tuple[dict[str, Entry], dict[str, str]]:
        """The case ready in every mode of these frameworks, by label; and what failed, by framework."""
        file, ready, failed = self.arrays(case), {}, {}
        for peer in peers:
            if peer in self.missing:
                continue
            try:
                process = self.process(peer)
                for mode in process.ask("modes", case=case.as_dict()):
                    entry = Entry(process, case, file, mode, self.turn)
                    ready[entry.label] = entry
            except PeerError as error:
                failed[peer] = str(error)
        Path(file).unlink()
        return ready, failed


def agrees(a: list[float], b: list[float]) -> bool:
    """Whether two checks are of the same computation; each number is compared on the scale of the two beside it.

    Example:
        >>> agrees([1.0, 0.5], [1.001, 0.499]), agrees([1.0, 0.5], [1.0, -0.5])
        (True, False)
    """
    x, y = np.array(a), np.array(b)
    return x.shape == y.shape and bool((abs(x - y) <= AGREE * np.maximum(abs(x), _partner(abs(x)))).all())


def _partner(x: np.ndarray) -> np.ndarray:
    """Every number's neighbour in its pair: a mean square for a mean product, a loss for a loss."""
    swapped = x.copy()
    even = len(x) // 2 * 2
    swapped[:even] = x[:even].reshape(-1, 2)[:, ::-1].ravel()
    return swapped
