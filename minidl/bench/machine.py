"""This computer: what it is, what it can do at most, and what else runs on it."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Load", "cores", "description", "die_with_parent", "load", "memory", "peaks", "reset_peak", "use_cores"]

PROC = Path("/proc")
BUSY = (0, 1, 2, 5, 6, 7)  # columns of /proc/stat: user, nice, system, irq, softirq, steal
MIB = 1 << 20


def cores() -> list[int]:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def use_cores(n: int) -> None:
    """Stay on the first `n` of them, so that no framework finds more."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:n])


def die_with_parent() -> None:
    """End this process when the one that started it ends, even if it is paused then (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def description() -> dict[str, Any]:
    """What this computer is: processor, cores, caches, memory, system."""
    cpu = _field(PROC / "cpuinfo", "model name") or platform.processor() or platform.machine()
    total = _field(PROC / "meminfo", "MemTotal")
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = (_text(index / name) for name in ("type", "level", "size"))
        if kind != "Instruction" and level:
            caches[f"L{level}"] = size
    return {
        "cpu": cpu,
        "cores": len(cores()),
        "caches": caches,
        "memory_gib": round(int(total.split()[0]) / MIB, 1) if total else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _field(path: Path, name: str) -> str:
    match = re.search(rf"^{name}\s*:\s*(.+)$", _text(path), re.MULTILINE)
    return match[1].strip() if match else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Load:
    """Processor time so far, in seconds.

    Attributes:
        wall: of the clock.
        busy: of all the cores that we may use, by anybody, time stolen from a virtual machine included.
        ours: of this process and of the one that is watched.
        cores: how many they are.
    """

    wall: float
    busy: float
    ours: float
    cores: int

    def others_since(self, before: Load) -> float:
        """The share of the cores' time that others had since `before`; up to a tick of the clock, not below 0."""
        wall = self.wall - before.wall
        others = (self.busy - before.busy) - (self.ours - before.ours) - 2 / _ticks()
        return max(others, 0.0) / max(self.cores * wall, 1e-9)


def load(pid: int) -> Load | None:
    """How busy this computer was until now, and how much of that is the process `pid` and this one; None if unknown.

    `/proc/stat` counts in ticks of 10 ms, a process's own time is exact; so a stretch of time should last for many.
    """
    lines = _text(PROC / "stat").splitlines()
    process = _text(PROC / str(pid) / "stat")
    if not lines or not process:
        return None
    wanted = {f"cpu{core}" for core in cores()}
    rows = [line.split() for line in lines if line.split()[0] in wanted]
    busy = sum(int(row[1 + column]) for row in rows for column in BUSY if 1 + column < len(row))
    fields = process.rpartition(")")[2].split()  # after the name: state is field 3 of proc(5), utime 14, stime 15
    return Load(
        wall=time.perf_counter(),
        busy=busy / _ticks(),
        ours=(int(fields[11]) + int(fields[12])) / _ticks() + time.process_time(),
        cores=len(rows),
    )


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def peaks(threads: int, seconds: float) -> dict[str, float]:
    """The most that this machine did on `threads` threads of ours: GFLOP/s of float32 products, GB/s of copies.

    Products are of 768×768 matrices, a thread each; copies of 64 MiB a thread, read and written bytes counted.  The
    best of many attempts, since whatever else runs can only take away.
    """
    from minidl.kernels.cpu.threads import run_blocks, use_threads

    n, long = 768, 16 * MIB
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((threads, n, n), np.float32) for _ in range(3))
    source, target = np.ones((2, threads, long), np.float32)

    def multiply(i: int) -> None:
        np.matmul(a[i], b[i], out=c[i])

    def copy(i: int) -> None:
        np.copyto(target[i], source[i])

    best = {}
    with use_threads(threads):
        for name, block, work in (
            ("gflops", multiply, 2.0 * threads * n**3),
            ("gbytes", copy, 8.0 * threads * long),
        ):
            fastest, until = float("inf"), time.perf_counter() + seconds / 2
            while time.perf_counter() < until or fastest == float("inf"):
                began = time.perf_counter()
                run_blocks(block, range(threads))
                fastest = min(fastest, time.perf_counter() - began)
            best[name] = work / fastest / 1e9
    return best


def memory() -> dict[str, float]:
    """MiB of memory that this process holds now, and held at most."""
    status = PROC / "self" / "status"
    now, peak = (_field(status, name).split()[:1] for name in ("VmRSS", "VmHWM"))
    if now and peak:
        return {"now": int(now[0]) / 1024, "peak": int(peak[0]) / 1024}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
    return {"now": most, "peak": most}


def reset_peak() -> None:
    """Let the peak start anew from what is held now (Linux; elsewhere it stays what it was)."""
    try:
        (PROC / "self" / "clear_refs").write_text("5")
    except OSError:
        return
