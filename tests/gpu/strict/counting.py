"""What a step costs besides arithmetic: waits for the device, copies, launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class HostWaits(RuntimeError):
    """The host waits for the device where it must not."""


class Counts:
    """Counted since the last `clear`.

    Attributes:
        waits: times that the host waited for the device, by what made it wait.
        uploads: copies to the device that the host need not wait for.
        launches: calls that compute an array or write to one; the real CuPy launches at least one kernel for each.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.waits: Counter[str] = Counter()
        self.uploads = 0
        self.launches = 0
        self.allowed = True

    def wait(self, what: str, times: int = 1) -> None:
        """Note that `what` waits for the device.

        Raises:
            HostWaits: inside `no_waits`.
        """
        self.waits[what] += times
        if not self.allowed:
            raise HostWaits(f"{what} waits for the device")


counts = Counts()


@contextmanager
def no_waits() -> Iterator[Counts]:
    """Raise wherever the host would wait for the device; counts start anew."""
    counts.clear()
    counts.allowed = False
    try:
        yield counts
    finally:
        counts.allowed = True
