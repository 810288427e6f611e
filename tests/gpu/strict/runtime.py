"""What a CUDA program needs beside arrays: streams, events, pinned memory, the memory pool, random numbers.

The stream that computes is always up to date.  A copy on another stream happens as late as it may: when somebody waits
for it.  Until then its target holds what fresh memory holds, NaN; so that a wait that was forgotten shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.gpu.strict.array import Memory, OutOfMemoryError, wrap
from tests.gpu.strict.counting import counts
from tests.gpu.strict.surface import GENERATOR, check_call


class Event:
    """A point in the work of a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._before: deque[Callable[[], None]] = deque()  # what is to be done before the event
        self._stream: Stream | None = None

    @property
    def done(self) -> bool:
        return self._stream is None or not self._pending()

    def record(self, stream: Stream | None = None) -> None:
        (stream or Stream.null).record(self)

    def synchronize(self) -> None:
        counts.wait("Event.synchronize")
        self._reach()

    def _pending(self) -> bool:
        return any(not work.done for work in self._before)

    def _reach(self) -> None:
        for work in self._before:
            work()


class _Work:
    """Something to be done once."""

    def __init__(self, do: Callable[[], None]) -> None:
        self.do, self.done = do, False

    def __call__(self) -> None:
        if not self.done:
            self.done = True
            self.do()


class Stream:
    """A queue of work; that of `null` is done at once."""

    null: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self.ptr = 0 if null else id(self)
        self._eager = null
        self._queue: list[_Work] = []

    def __enter__(self) -> Stream:
        raise NotImplementedError("the stand-in computes on the current stream only")

    def _later(self, do: Callable[[], None]) -> None:
        work = _Work(do)
        self._queue = [w for w in self._queue if not w.done] + [work]
        if self._eager:
            work()

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event._before, event._stream = deque(self._queue), self
        return event

    def wait_event(self, event: Event) -> None:
        if self._eager:
            event._reach()
        else:
            self._queue += [work for work in event._before if isinstance(work, _Work)]

    def synchronize(self) -> None:
        counts.wait("Stream.synchronize")
        for work in self._queue:
            work()

    @property
    def done(self) -> bool:
        return all(work.done for work in self._queue)


Stream.null = Stream(null=True)


class MemoryPool:
    """The pool of the device's memory: what live arrays take, nothing kept in reserve."""

    def used_bytes(self) -> int:
        return Memory.used

    def total_bytes(self) -> int:
        return Memory.used

    def free_bytes(self) -> int:
        return 0

    def n_free_blocks(self) -> int:
        return 0

    def free_all_blocks(self, stream: Any = None) -> None:
        return None

    def get_limit(self) -> int:
        return Memory.limit

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        if (size is None) == (fraction is None):
            raise ValueError("size and fraction cannot be specified at one time")
        Memory.limit = int(size if size is not None else (fraction or 0) * TOTAL)


TOTAL = 16 * 2**30  # bytes of the card that is imitated


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""


class Device:
    """The one card."""

    def __init__(self, device: Any = None) -> None:
        self.id = 0
        self.mem_info = (TOTAL - Memory.used, TOTAL)
        self.compute_capability = "80"

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def use(self) -> None:
        return None

    def synchronize(self) -> None:
        counts.wait("Device.synchronize")


class Generator:
    """CuPy's generator: numbers of its own, not NumPy's, and not all of its methods."""

    def __init__(self, seed: Any = None) -> None:
        self._rng = np.random.Generator(np.random.SFC64(seed))

    def __getattr__(self, name: str) -> Any:
        if name not in GENERATOR:
            raise AttributeError(f"cupy.random.Generator has no method {name!r}")

        def draw(*args: Any, **kwargs: Any) -> Any:
            check_call(f"Generator.{name}", GENERATOR[name], args, kwargs)
            return wrap(getattr(self._rng, name)(*args, **kwargs))

        return draw


def alloc_pinned_memory(size: int) -> memoryview:
    """Host memory that a copy can be made from in the background."""
    return memoryview(bytearray(size))


cuda = SimpleNamespace(
    Device=Device,
    Event=Event,
    Stream=Stream,
    alloc_pinned_memory=alloc_pinned_memory,
    get_current_stream=lambda device_id=-1: Stream.null,
    is_available=lambda: True,
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool),
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        getDeviceProperties=lambda device: {
            "name": b"strict stand-in",
            "totalGlobalMem": TOTAL,
            "major": 8,
            "minor": 0,
        },
    ),
)
random = SimpleNamespace(default_rng=Generator, Generator=Generator)
