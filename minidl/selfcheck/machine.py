"""What is checked: versions, the processor, the card.  No names of people, folders or hosts."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import minidl
from minidl.bench.machine import cores, description
from minidl.device import Device

WHEELS = ("cupy", "cupy-cuda12x", "cupy-cuda13x", "torch")


def machine(device: Device) -> dict[str, Any]:
    """Everything about this machine that a number may depend on."""
    cpu = description()
    found: dict[str, Any] = {
        "minidl": minidl.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu["cpu"],
        "cores": len(cores()),
        "memory_gib": cpu["memory_gib"],
        "device": device.name,
    }
    for wheel in WHEELS:
        try:
            found[wheel] = version(wheel)
        except PackageNotFoundError:
            continue
    return found | device.describe() | (driver() if device.name == "gpu" else {})


def driver() -> dict[str, str]:
    """The version of NVIDIA's driver, where nvidia-smi says it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"driver": said[0]} if said else {}
