"""What a training step may ask of a GPU, and what it may leave behind, counted where the real CuPy runs on the CPU."""

from __future__ import annotations

import gc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from minidl.device import CPU, Device
from tests.gpu.comparison import after_steps, assert_agree, assert_errs_alike
from tests.gpu.step_costs import MODELS, PRIORS, costs, network, row

pytestmark = pytest.mark.cupy_on_cpu

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("model", MODELS)
def test_a_step_launches_what_is_documented_and_never_waits(model: str, prior: str, cupy: Device) -> None:
    cost, line = row(cupy, model, prior)
    assert cost.waits == 0
    assert cost.ours > 0 and cost.products > 0
    assert line in DOCUMENTED, "count again: python -m tests.gpu.cupy_on_cpu -m tests.gpu.step_costs"


@pytest.mark.parametrize("prior", PRIORS)
def test_a_step_of_resnet8_agrees_with_the_cpu(prior: str, cupy: Device) -> None:
    build = network("resnet8", prior)
    truth = after_steps(build, CPU)
    assert_agree(after_steps(build, cupy), truth)
    single, on_cpu = (after_steps(build, place, dtype=np.float32) for place in (cupy, CPU))
    assert_errs_alike(single, on_cpu, truth)


@pytest.mark.parametrize("prior", PRIORS)
def test_steps_leave_no_memory_behind(prior: str, cupy: Device) -> None:
    gc.collect()  # of what other tests have left
    gc.disable()  # a step must need no collector to be forgotten
    try:
        _, second, *others = (cost.bytes for cost in islice(costs(cupy, "resnet8", prior), 5))
    finally:
        gc.enable()
    assert set(others) == {second}


def test_fifty_steps_take_no_more_of_the_memory_pool_than_two(cupy: Device) -> None:
    """With CuPy's pool, which training uses, and of which the device takes no more than it is allowed."""
    xp = cupy.xp
    pool = xp.cuda.MemoryPool()
    pool.set_limit(size=64 << 20)
    with xp.cuda.using_allocator(pool.malloc):
        seen = [(pool.used_bytes(), pool.total_bytes()) for _ in islice(costs(cupy, "resnet8", "none"), 50)]
        with pytest.raises(xp.cuda.memory.OutOfMemoryError):
            xp.empty(65 << 20, np.uint8)
    assert len({used for used, _ in seen[1:]}) == 1
    assert len({total for _, total in seen[1:]}) == 1 and seen[-1][1] <= 64 << 20
