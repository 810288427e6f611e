"""Tests marked `gpu` run where there is a card, and say what is missing where there is none."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import pytest


@cache
def missing_gpu() -> str | None:
    """What keeps a GPU from being used here, as minidl says it; None if nothing does.

    Asked of another process: CuPy stays out of this one until a test that uses it runs.
    """
    if find_spec("cupy") is None:
        return "CuPy is not installed"
    code = (
        "from minidl.device import get_device\nfrom minidl.errors import DeviceError\n"
        "try: get_device('gpu')\nexcept DeviceError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        return f"asking for a GPU ended with status {done.returncode}"
    return done.stdout.strip() or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a card, with the reason, where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (reason := missing_gpu()) is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
