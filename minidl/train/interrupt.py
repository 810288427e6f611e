"""Ctrl-C: the first asks training to stop after the step it is in, the second stops at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from minidl.train.build import Training
from minidl.train.loop import Hook, read


class Interrupted(Exception):
    """Training was asked to stop, and did between two steps.

    Attributes:
        number: of the signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopRequest(Hook):
    """Notes SIGINT and SIGTERM while it is entered; the next step turns them into `Interrupted`.

    A signal handler must not save: it may run in the middle of an update.  So the first signal is only
    noted.  The second raises KeyboardInterrupt wherever the program is: files being written are removed
    on the way out, finished ones are as they were.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python delivers signals nowhere else
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        os.write(2, b"\nstopping after this step; once more stops at once\n")  # print is not safe in a handler

    def on_step(self, run: Training) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.number is not None:
            read(run)
            raise Interrupted(self.number)

    def on_test_step(self, run: Training, seen: int) -> None:
        self.on_step(run)
