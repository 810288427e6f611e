"""Processes that decode images, so that decoding keeps up with training."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

import numpy as np

from minidl.data import decode
from minidl.errors import DataError

__all__ = ["Decoders", "Recipe", "default_workers"]

Process = subprocess.Popen[bytes]
Task = tuple[str, list[float] | None]  # a path, and what chooses a random part of the image


def default_workers() -> int:
    """As many as this process may use cores, at most four."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


@dataclass(frozen=True)
class Recipe:
    """What is made of every image.

    Attributes:
        shorter: the length in pixels that the shorter side is reduced to.
        size: the side in pixels of the view cut out of that; 0 for all of it.
        min_area: the smallest random part, as a share of the area.
    """

    shorter: int
    size: int
    min_area: float


class Decoders:
    """A bounded pool of processes that turn files into pixels; which one reads which file makes no difference.

    They start at the first call, ignore Ctrl-C, and end with `close`, or when this process ends in whatever way:
    they live as long as the pipe they are asked through.

    Args:
        workers: how many; 0 decodes in the calling thread.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._threads: ThreadPoolExecutor | None = None
        self._idle: queue.SimpleQueue[Process] = queue.SimpleQueue()
        self._end = weakref.finalize(self, _end_all, self._idle)  # if nobody closes it

    def images(self, tasks: Sequence[Task], recipe: Recipe) -> list[np.ndarray]:
        """One uint8 array (H, W, 3) a task, in order.

        Raises:
            DataError: a file gives no image; the message names it.
        """
        if self.workers == 0:
            return [_decode_here(task, recipe) for task in tasks]
        if self._threads is None:
            for _ in range(self.workers):
                self._idle.put(_start())
            self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="minidl-decoder")
        chunk = -(-len(tasks) // (2 * self.workers)) or 1  # two a worker: the early ones take what is left
        chunks = [tasks[i : i + chunk] for i in range(0, len(tasks), chunk)]
        done = self._threads.map(lambda part: self._ask(part, recipe), chunks)
        return [image for images in done for image in images]

    def close(self) -> None:
        """End the processes; the next call starts new ones."""
        if self._threads is None:
            return
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._threads = None
        _end_all(self._idle)

    def _ask(self, tasks: Sequence[Task], recipe: Recipe) -> list[np.ndarray]:
        process = self._idle.get()
        try:
            return _converse(process, tasks, recipe)
        except (OSError, EOFError):  # it was killed, for want of memory perhaps
            code = process.wait()
            raise DataError(f"{tasks[0][0]}: the process that decodes images ended with code {code}") from None
        finally:
            if process.poll() is not None:
                _end(process)
                process = _start()
            self._idle.put(process)


def _start() -> Process:
    paths = os.pathsep.join(path for path in sys.path if path)  # where this process finds Pillow and NumPy
    return subprocess.Popen(
        [sys.executable, "-P", decode.__file__],  # -P: the modules beside that file are not importable by name
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
    )


def _end(process: Process) -> None:
    with contextlib.suppress(BrokenPipeError), process:  # closes the pipes, which ends it, and waits
        pass


def _end_all(idle: queue.SimpleQueue[Process]) -> None:
    while not idle.empty():
        _end(idle.get())


def _converse(process: Process, tasks: Sequence[Task], recipe: Recipe) -> list[np.ndarray]:
    """Send the tasks and read all answers, so that the pipe is empty whatever they are."""
    requests, answers = process.stdin, process.stdout
    assert requests is not None and answers is not None
    request = json.dumps({"tasks": tasks, **vars(recipe)}).encode()
    requests.write(decode.HEADER.pack(len(request)) + request)
    requests.flush()
    images: list[np.ndarray] = []
    refused: list[str] = []
    for path, _ in tasks:
        height, width = decode.ANSWER.unpack(_read(answers, decode.ANSWER.size))
        if height == 0:
            refused.append(f"{path}: {_read(answers, width).decode()}")
        else:
            images.append(np.frombuffer(_read(answers, height * width * 3), np.uint8).reshape(height, width, 3))
    if refused:
        raise DataError(refused[0])
    return images


def _read(answers: IO[bytes], n: int) -> bytes:
    data = answers.read(n)
    if len(data) < n:
        raise EOFError
    return data


def _decode_here(task: Task, recipe: Recipe) -> np.ndarray:
    path, draws = task
    try:
        image = decode.decode(path, recipe.shorter)
    except decode.Unreadable as reason:
        raise DataError(f"{path}: {reason}") from None
    return decode.view(image, recipe.size, draws, recipe.min_area) if recipe.size else image
