"""Threads over fixed blocks of work: the same bits whatever their number.

    results = run_blocks(fn, blocks)        # [fn(block) for block in blocks], on all threads at once

The rules that make it fast and repeatable:

- **Fixed blocks.**  How work is cut depends on the shapes alone, never on the number of threads.  A block writes
  only to its own part of an output; what must be summed over blocks is returned by `fn` and added up by the
  caller in the order of the blocks.  Then 1, 2 and 4 threads give the same bits.
- **One BLAS thread each.**  BLAS's own threads spin while they wait and collapse when anything else runs on the
  machine; so BLAS is limited to one thread for the whole process, once, when this module is imported.
- **Large calls.**  NumPy releases the interpreter lock inside a call, and takes it between calls: give each
  call about 100,000 elements or more, or the threads spend their time handing the lock to each other.
- **Short rows.**  Where NumPy cannot walk all operands of a ufunc as one run, and rows are shorter than its buffer
  (8192 elements), it copies rows together first, which makes `x * column` three times slower.  Inside a block the
  buffer is 1024 elements, so rows of 1024 or more go straight through.
- **Few calls.**  Between two calls of NumPy a block holds the interpreter lock: views are made once a block (and by
  `np.ndarray(shape, dtype, buffer, 0, strides)`, ten times faster than `as_strided`, where the buffer is contiguous).
- **Buffers are reused.**  `scratch(shape, dtype, slot)` is memory that belongs to the running thread; `framed(…)` has
  a border of zeros that stays.

A typical kernel:

    def scale(x, s):                                        # x (C, P), s (C, 1)
        y = np.empty_like(x)
        def block(rows):
            np.multiply(x[rows], s[rows], out=y[rows])
        run_blocks(block, split(len(x), at_most=x.shape[0] // 8))
        return y

MINIDL_THREADS sets the number of threads; the default is every core this process may run on.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from minidl.errors import ConfigError

Block = TypeVar("Block")
Result = TypeVar("Result")

_UFUNC_BUFFER = 1024  # elements
_FRAMES = 32 << 20  # bytes of framed buffers a thread keeps

threadpool_limits(limits=1, user_api="blas")


def _default_threads() -> int:
    """MINIDL_THREADS, or the number of cores in the affinity mask."""
    if value := os.environ.get("MINIDL_THREADS"):
        if not value.isdecimal() or int(value) < 1:
            raise ConfigError(f"MINIDL_THREADS: must be an integer >= 1, got {value!r}")
        return int(value)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_threads = _default_threads()


def num_threads() -> int:
    """How many threads `run_blocks` uses, the calling one included."""
    return _threads


@contextmanager
def use_threads(n: int) -> Iterator[None]:
    """Use `n` threads inside, to measure or to test; results do not depend on it.

    Example:
        >>> with use_threads(1):
        ...     run_blocks(lambda block: block**2, [1, 2, 3])
        [1, 4, 9]
    """
    global _threads
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"use_threads: n must be an integer >= 1, got {n!r}")
    before, _threads = _threads, n
    try:
        yield
    finally:
        _threads = before


class _Job:
    """Blocks that threads take one by one until none is left."""

    def __init__(self, fn: Callable[[Any], Any], blocks: Sequence[Any]) -> None:
        self.fn, self.blocks = fn, blocks
        self.results: list[Any] = [None] * len(blocks)
        self.errors: list[BaseException | None] = [None] * len(blocks)
        self.lock = threading.Lock()
        self.taken = self.finished = 0
        self.done = threading.Lock()  # held until the last block has finished
        self.done.acquire()

    def work(self) -> None:
        n = len(self.blocks)
        while True:
            with self.lock:
                i = self.taken
                self.taken += 1
            if i >= n:
                return
            try:
                self.results[i] = self.fn(self.blocks[i])
            except BaseException as error:  # carried to the caller
                self.errors[i] = error
            with self.lock:
                self.finished += 1
                last = self.finished == n
            if last:
                self.done.release()


class _Local(threading.local):
    """What belongs to one thread: its buffers, and whether it is inside a block already."""

    def __init__(self) -> None:
        self.busy = False
        self.buffers: dict[int, np.ndarray] = {}
        self.frames: dict[tuple, np.ndarray] = {}


_local = _Local()
_jobs: SimpleQueue[_Job] = SimpleQueue()
_workers = 0
_start = threading.Lock()


def _serve() -> None:
    _local.busy = True
    np.setbufsize(_UFUNC_BUFFER)
    while True:
        _jobs.get().work()


def _ensure_workers(n: int) -> None:
    global _workers
    with _start:
        while _workers < n:
            _workers += 1
            threading.Thread(target=_serve, name=f"minidl-{_workers}", daemon=True).start()


def _forget_workers() -> None:
    """Threads do not survive a fork: a child starts its own."""
    global _workers, _jobs, _start
    _workers, _jobs, _start = 0, SimpleQueue(), threading.Lock()
    _local.busy = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


def run_blocks(fn: Callable[[Block], Result], blocks: Sequence[Block]) -> list[Result]:
    """`[fn(block) for block in blocks]`, the blocks taken by all threads at once.

    Args:
        fn: called once per block, on any thread, in any order; writes to no memory that another block uses.
        blocks: slices, tuples, numbers: whatever `fn` takes.  They must not depend on `num_threads()`.

    Returns:
        The results in the order of `blocks`.

    Raises:
        The exception of the first block that failed, in the order of `blocks`, after all have ended.

    A call from inside a block runs its blocks one after the other.
    """
    if _local.busy:
        return [fn(block) for block in blocks]
    _local.busy, buffer = True, np.setbufsize(_UFUNC_BUFFER)
    try:
        helpers = min(_threads, len(blocks)) - 1
        if helpers < 1:
            return [fn(block) for block in blocks]
        return _share(_Job(fn, blocks), helpers)
    finally:
        _local.busy = False
        np.setbufsize(buffer)


def _share(job: _Job, helpers: int) -> list[Any]:
    """Work on `job` together with `helpers` other threads."""
    _ensure_workers(helpers)
    for _ in range(helpers):
        _jobs.put(job)
    job.work()
    job.done.acquire()
    for error in job.errors:
        if error is not None:
            raise error
    return job.results


@dataclass(frozen=True)
class Work:
    """What `run` runs: `finish` of the results of `fn` on each of `blocks`, under the rules of `run_blocks`."""

    fn: Callable[[Any], Any]
    blocks: Sequence[Any]
    finish: Callable[[list[Any]], Any] = lambda results: None


def run(*works: Work) -> list[Any]:
    """Several works at once, their blocks taken in turn: no thread waits between them, and what they share is in cache.

    Example:
        >>> run(Work(abs, [-1, -2], sum), Work(str, [3, 4], "".join))
        [3, '34']
    """
    turns = sorted(((i + 0.5) / len(w.blocks), k, i) for k, w in enumerate(works) for i in range(len(w.blocks)))
    results: list[list[Any]] = [[None] * len(w.blocks) for w in works]

    def turn(block: tuple[float, int, int]) -> None:
        _, k, i = block
        results[k][i] = works[k].fn(works[k].blocks[i])

    run_blocks(turn, turns)
    return [w.finish(r) for w, r in zip(works, results, strict=True)]


def split(length: int, at_most: int, multiple: int = 1) -> list[slice]:
    """0 … `length` in near-equal slices no longer than `at_most`, each but the last a multiple of `multiple`.

    Example:
        >>> split(10, at_most=4)
        [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
    """
    parts = -(-length // max(at_most, 1))
    step = -(-length // max(parts, 1))
    step = max(-(-step // multiple) * multiple, 1)
    return [slice(i, min(i + step, length)) for i in range(0, length, step)]


def scratch(shape: tuple[int, ...], dtype: Any, slot: int = 0) -> np.ndarray:
    """An uninitialised C-ordered array in this thread's own reused memory; the next call for `slot` overwrites it.

    Meant for blocks that fit a cache (at most a few MiB); it is kept until the thread ends.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    buffer = _local.buffers.get(slot)
    if buffer is None or buffer.size < size:
        memory = np.empty(size + 64, np.uint8)
        start = -memory.ctypes.data % 64  # on a cache line
        buffer = _local.buffers[slot] = memory[start : start + size]
    return buffer[:size].view(dtype).reshape(shape)


def framed(shape: tuple[int, ...], dtype: Any, inside: tuple[slice, ...], slot: int = 0) -> np.ndarray:
    """This thread's own C-ordered array with zeros outside `inside`, the only part that may be written.

    It is kept, zeros and all, for the next call with the same arguments; the oldest give way beyond 32 MiB.

    Example:
        >>> a = framed((2, 4), np.float32, (slice(0, 2), slice(1, 3)))
        >>> a[:, 1:3] = 1
        >>> a.tolist()
        [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]
    """
    key = (shape, np.dtype(dtype).char, slot, *((s.start, s.stop) for s in inside))
    frame = _local.frames.pop(key, None)
    if frame is None:
        frame = np.zeros(shape, dtype)
        kept = sum(f.nbytes for f in _local.frames.values())
        while _local.frames and kept + frame.nbytes > _FRAMES:
            kept -= _local.frames.pop(next(iter(_local.frames))).nbytes
    _local.frames[key] = frame  # the latest is the last
    return frame
