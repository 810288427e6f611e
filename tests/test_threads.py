"""Blocks on threads: order, errors, nesting, forks, buffers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minidl.kernels.cpu.threads import framed, num_threads, run_blocks, scratch, split, use_threads


@pytest.mark.parametrize("n", [1, 2, 4])
def test_results_come_in_the_order_of_the_blocks(n) -> None:
    with use_threads(n):
        assert run_blocks(lambda b: b * b, list(range(50))) == [b * b for b in range(50)]
        assert run_blocks(lambda b: b, []) == []


def test_blocks_run_on_several_threads_at_once() -> None:
    meeting = threading.Barrier(2, timeout=20)
    with use_threads(2):
        names = run_blocks(lambda _: (meeting.wait(), threading.current_thread().name)[1], [0, 1])
    assert len(set(names)) == 2


def test_the_first_failed_block_is_the_error_and_all_have_ended() -> None:
    ended = []

    def block(b: int) -> None:
        time.sleep(0.001 * (10 - b))
        ended.append(b)
        if b in (3, 7):
            raise ValueError(f"block {b}")

    with use_threads(4), pytest.raises(ValueError, match="block 3"):
        run_blocks(block, list(range(10)))
    assert sorted(ended) == list(range(10))
    with use_threads(4):
        assert run_blocks(lambda b: b, [1, 2]) == [1, 2]  # the threads live on


def test_a_call_inside_a_block_runs_there() -> None:
    def inner(_: int) -> set[str]:
        return set(run_blocks(lambda _: threading.current_thread().name, list(range(4))))

    with use_threads(4):
        assert all(len(names) == 1 for names in run_blocks(inner, list(range(8))))


def test_callers_on_several_threads_do_not_disturb_each_other() -> None:
    results: dict[int, list[int]] = {}

    def caller(k: int) -> None:
        for _ in range(50):
            results[k] = run_blocks(lambda b: b + 1000 * k, list(range(20)))

    with use_threads(3):
        threads = [threading.Thread(target=caller, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(timeout=30)
    assert results == {k: [b + 1000 * k for b in range(20)] for k in range(4)}


def test_the_ufunc_buffer_of_the_caller_is_left_as_it_was() -> None:
    before = np.getbufsize()
    with use_threads(2):
        inside = run_blocks(lambda _: np.getbufsize(), list(range(8)))
    assert set(inside) == {1024} and np.getbufsize() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_its_own_threads() -> None:
    code = (
        "import os; from minidl.kernels.cpu.threads import run_blocks, use_threads\n"
        "with use_threads(2):\n"
        "    run_blocks(abs, [1, 2, 3])\n"
        "    pid = os.fork()\n"
        "    assert run_blocks(abs, [-1, -2, -3]) == [1, 2, 3]\n"
        "    if pid: assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(("value", "expected"), [("3", "3"), ("", str(num_threads()))])
def test_the_environment_sets_the_number(value, expected) -> None:
    code = "from minidl.kernels.cpu.threads import num_threads; print(num_threads())"
    environment = {**os.environ, "MINIDL_THREADS": value}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_in_the_environment_is_refused(value) -> None:
    code = "import minidl.kernels.cpu.threads"
    environment = {**os.environ, "MINIDL_THREADS": value}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert f"MINIDL_THREADS: must be an integer >= 1, got '{value}'" in run.stderr


def test_use_threads_refuses_less_than_one() -> None:
    with pytest.raises(ValueError, match="use_threads: n must be an integer >= 1, got 0"), use_threads(0):
        pass


@pytest.mark.parametrize(("length", "at_most", "multiple"), [(10, 3, 1), (100, 17, 4), (1, 5, 1), (0, 5, 1), (7, 0, 1)])
def test_split_covers_everything_once(length, at_most, multiple) -> None:
    slices = split(length, at_most, multiple)
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(length))
    assert all((s.stop - s.start) % multiple == 0 for s in slices[:-1])


def test_scratch_is_reused_per_slot_and_aligned() -> None:
    a, b = scratch((10, 7), np.float32), scratch((3,), np.complex128, slot=1)
    assert a.shape == (10, 7) and b.dtype == np.complex128
    assert not np.shares_memory(a, b) and np.shares_memory(a, scratch((5,), np.float64))
    assert a.ctypes.data % 64 == b.ctypes.data % 64 == 0


def test_framed_keeps_its_zeros_and_gives_way_when_there_is_much() -> None:
    inside = (slice(0, 3), slice(1, 4))
    first = framed((3, 5), np.float32, inside)
    first[inside] = 7
    again = framed((3, 5), np.float32, inside)
    assert np.shares_memory(first, again)
    assert (again[:, 0] == 0).all() and (again[:, 4] == 0).all()
    others = [
        framed((3, 5), np.float64, inside),
        framed((3, 5), np.float32, inside, slot=1),
        framed((3, 5), np.float32, (slice(0, 3), slice(0, 4))),
    ]
    assert not any(np.shares_memory(first, other) for other in others)
    large = [framed((1 << 20, k), np.float64, (slice(0, 1), slice(0, 1))) for k in (1, 2, 3)]  # 8, 16, 24 MiB
    assert not np.shares_memory(first, framed((3, 5), np.float32, inside))
    assert not np.shares_memory(large[0], framed((1 << 20, 1), np.float64, (slice(0, 1), slice(0, 1))))
