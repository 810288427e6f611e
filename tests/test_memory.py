"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUND = """
import resource
import numpy as np
{setting}

def step():  # a forward that keeps its arrays, and a backward that frees them
    kept = [np.ones(1 << 20) for _ in range(20)]
    while kept:
        kept.pop()

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(setting: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", ROUND.format(setting=setting)], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_later_steps_reuse_the_memory_of_the_first() -> None:
    assert page_faults("import minidl.kernels.cpu") < page_faults("") / 3
