"""The parts of the self-check in turn."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from minidl.device import Device
from minidl.selfcheck.finding import Finding, Part, Setting, failed
from minidl.selfcheck.machine import machine
from minidl.selfcheck.operations import OPERATIONS
from minidl.selfcheck.speed import SPEED
from minidl.selfcheck.steps import STEPS
from minidl.selfcheck.training import TRAINING

__all__ = ["PARTS", "SCHEMA", "run"]

SCHEMA = 1
PARTS: tuple[Part, ...] = (OPERATIONS, STEPS, TRAINING, SPEED)


def run(
    device: Device,
    *,
    quick: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    parts: Sequence[Part] = PARTS,
) -> dict[str, Any]:
    """Check `device`, part after part; nothing that goes wrong stops it.

    Args:
        device: what is checked.
        quick: fewer calls and steps, no times.
        progress: called with a line about what is being done.
        parts: what to check.

    Returns:
        The report, JSON-able: schema, machine, quick, ok, seconds, and the findings of every part by its name.
    """
    setting, began = Setting(device, quick, progress), time.perf_counter()
    found: dict[str, list[Finding]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what overflows is compared, not told
        for part in parts:
            found[part.name] = []
            try:
                for finding in part.find(setting):
                    found[part.name].append(finding)
            except Exception as error:  # a report of it is what is wanted
                found[part.name].append(failed(part.name, error))
    return {
        "schema": SCHEMA,
        "machine": machine(device),
        "quick": quick,
        "ok": all(f.status != "wrong" for findings in found.values() for f in findings),
        "seconds": round(time.perf_counter() - began, 1),
        "parts": {name: [f.as_dict() for f in findings] for name, findings in found.items()},
    }
