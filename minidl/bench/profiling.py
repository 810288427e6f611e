"""Where a step of ours goes: the time of every op, forward and backward, and of what lies between them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from minidl.autograd import Function, observe
from minidl.bench.cases import Case
from minidl.bench.inputs import inputs
from minidl.bench.peers.ours import Minidl
from minidl.kernels.cpu.threads import use_threads

__all__ = ["Clock", "profile"]

Result = dict[str, Any]
Key = tuple[str, str]  # name of the op, shapes of its inputs

WARM = 2  # steps that are not counted


@dataclass
class Clock:
    """An observer for `autograd.observe`: seconds of every forward and backward, by op and shapes, and of updates."""

    forward: dict[Key, float] = field(default_factory=lambda: defaultdict(float))
    backward: dict[Key, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    updates: float = 0.0
    keys: dict[int, Key] = field(default_factory=dict)  # of the Functions whose backward is to come, by id

    def __call__(self, fn: Function, method: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
        if method.__name__ == "forward":
            key = self.keys[id(fn)] = fn.name, " ".join(_shape(a) for a in arrays if a is not None)
            self.calls[key] += 1
            seconds = self.forward
        else:
            key, seconds = self.keys.pop(id(fn)), self.backward
        began = time.perf_counter()
        try:
            return method(*arrays, **params)
        finally:
            seconds[key] += time.perf_counter() - began

    def update(self, step: Callable[[], None]) -> None:
        """Run and time the optimiser's step."""
        began = time.perf_counter()
        step()
        self.updates += time.perf_counter() - began


def _shape(array: Any) -> str:
    return "×".join(map(str, array.shape)) or "1"


def profile(case: Case, steps: int, threads: int) -> Result:
    """Seconds of `steps` steps of `case`, in this process: per op, and the median of whole steps."""
    with use_threads(threads):
        return _profile(case, steps, threads)


def _profile(case: Case, steps: int, threads: int) -> Result:
    ours = Minidl(threads)
    task = ours.task(case, inputs(case), "")
    for _ in range(WARM):
        task.run()
    clock, whole = Clock(), []
    ours.run_update = clock.update
    for _ in range(steps):
        began = time.perf_counter()
        with observe(clock):
            task.run()
        whole.append(time.perf_counter() - began)
        clock.keys.clear()
    ops: list[Result] = [
        {
            "op": key[0],
            "shapes": key[1],
            "calls": clock.calls[key] / steps,
            "forward": clock.forward[key] / steps,
            "backward": clock.backward[key] / steps,
        }
        for key in clock.calls
    ]
    total = float(np.mean(whole))
    inside = sum(op["forward"] + op["backward"] for op in ops)
    return {
        "case": case.as_dict(),
        "steps": steps,
        "seconds": total,
        "median_seconds": median(whole),
        "optimizer": clock.updates / steps,
        "rest": total - inside - clock.updates / steps,
        "ops": sorted(ops, key=lambda op: -op["forward"] - op["backward"]),
    }
