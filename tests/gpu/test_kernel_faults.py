"""Mistakes planted in our CUDA sources and in what launches them, and how CuPy on the CPU catches each.

A fault is a change of the text of a kernel, or of a function of the launching code.  `exercise` launches the kernel and
compares it with the readable form: it passes as the sources are, and fails once the fault is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from minidl.device import Device, asnumpy
from minidl.kernels import array, cuda
from minidl.kernels.cuda import launch as launching
from minidl.kernels.cuda import window
from minidl.kernels.cuda.sources import text
from minidl.kernels.segments import Segment
from tests.gpu.cupy_on_cpu.arguments import KernelFault

pytestmark = pytest.mark.cupy_on_cpu

Exercise = Callable[[Device], None]


def agrees(device: Device, routine: str, *args: Any, **options: Any) -> None:
    """Our kernel in float32 and the readable form in float64 give the same, to 1e-4 of the largest value."""
    rng = np.random.default_rng(0)
    given = [rng.normal(size=a) if isinstance(a, Shape) else a for a in args]
    there = [device.asarray(a.astype(np.float32)) if isinstance(a, np.ndarray) else a for a in given]
    found, right = getattr(cuda, routine)(*there, **options), getattr(array, routine)(*given, **options)
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, right)), strict=True):
        np.testing.assert_allclose(asnumpy(a), b, rtol=0, atol=1e-4 * abs(b).max())


class Shape(tuple):
    """Normal numbers of this shape."""


def norm(device: Device) -> None:
    agrees(device, "batch_norm", Shape((3, 5, 20, 30)), Shape((5,)), Shape((5,)), 1e-5)


def windows(device: Device) -> None:
    agrees(device, "window_sum", Shape((2, 5, 9, 8)), (3, 3), (2, 2), (1, 1), (5, 4))


def convolution(device: Device) -> None:
    agrees(device, "correlate", Shape((2, 5, 9, 8)), Shape((4, 5, 3, 2)), (2, 1), ((1, 1), (1, 1)), (1, 1), 1)


def depthwise(device: Device) -> None:
    given = Shape((8, 6, 9, 8)), Shape((8, 6, 11, 10)), (6, 1, 3, 3)
    agrees(device, "correlate_adjoint_w", *given, (1, 1), ((0, 0), (0, 0)), (1, 1), 6)


def loss(device: Device) -> None:
    agrees(device, "cross_entropy", Shape((5, 300)), Shape((5, 300)), 1)


def relu(device: Device) -> None:
    agrees(device, "relu", Shape((1000,)))


def sgd(device: Device) -> None:
    segments = (Segment(300), Segment(301, 1e-2, 0.1), Segment(1000, 1e-4, 2.0))
    agrees(device, "sgd_step", *[Shape((1000,))] * 3, segments, lr=0.1, momentum=0.9, nesterov=True)


@dataclass(frozen=True)
class Fault:
    """What is changed in a file of src/, where it is exercised, and what the error that catches it says."""

    file: str
    right: str
    wrong: str
    exercise: Exercise
    caught: str


BITS, ENDED, NAN = "other bits with threads", "written to beyond its end", "nan location mismatch"
SUMMING = "        if (int(threadIdx.y) < half) partial[thread] += partial[thread + half * int(blockDim.x)];\n"
TAKEN = "    partial[thread] = value;\n    __syncthreads();\n"

FAULTS = {
    "a race: no barrier between two steps of a sum": Fault(
        "reduce.cuh", SUMMING + "        __syncthreads();\n", SUMMING, norm, f"chunk_moments.*{BITS}"
    ),
    "no barrier before what others wrote is read": Fault(
        "reduce.cuh", TAKEN, "    partial[thread] = value;\n", loss, f"cross_entropy.*{BITS}"
    ),
    "no barrier before what others still read is written": Fault(
        "reduce.cuh", "    __syncthreads();\n    partial[thread]", "    partial[thread]", norm, f"chunk_moments.*{BITS}"
    ),
    "a barrier that some threads do not come to": Fault(
        "norm.cu",
        "bool exists = own.channel < channels;  // the others",
        "bool exists = own.channel < channels; if (!exists) return;  // the others",
        norm,
        "kernel chunk_moments: the barrier diverges",
    ),
    "sums by atomic operations, in the order in which threads come": Fault(
        "reduce.cuh",
        TAKEN + "    for (int half = int(blockDim.y) / 2;",
        "    if (threadIdx.y == 0) partial[thread] = V(0);\n    __syncthreads();\n"
        "    atomicAdd(&partial[threadIdx.x], value);\n    __syncthreads();\n    for (int half = 0;",
        norm,
        f"chunk_moments.*{BITS}",
    ),
    "two blocks write to one place": Fault(
        "depthwise.cu", "partial[((long long)blockIdx.x * outputs + o)", "partial[((long long)o)", depthwise, BITS
    ),
    "no check that a thread has a pixel": Fault(
        "window.cu", "if (pixel >= pixels) return;\n    Place out", "Place out", windows, f"window_sum.*{ENDED}"
    ),
    "a write beyond the end": Fault(
        "norm.cu",
        "if (exists && threadIdx.y == 0) {\n        mean[c]",
        "if (threadIdx.y == 0) {\n        mean[c]",
        norm,
        f"channel_moments.*{ENDED}",
    ),
    "a read beyond the end": Fault("conv.cu", "h < height && w >= 0", "w >= 0", convolution, NAN),
    "shared memory beyond its end": Fault(
        "optim.cu", "__shared__ A eta[SEGMENTS]", "__shared__ A eta[2]", sgd, "__shared__ array was written to beyond"
    ),
    "memory read that nobody wrote": Fault(
        "depthwise.cu", "A sum = A(0);\n    for (int b", "A sum = load(gw[i]);\n    for (int b", depthwise, NAN
    ),
    "shared memory read that nobody wrote": Fault(
        "optim.cu", "        eta[k] = A(lr * lr_factors[k]);\n", "", sgd, NAN
    ),
    "an int where 64 bits are given": Fault(
        "elementwise.cu",
        "T* __restrict__ y, long long n) {",
        "T* __restrict__ y, int n) {",
        relu,
        "argument 2 is a int64",
    ),
    "a float where a double is given": Fault(
        "optim.cu", "double lr, A momentum", "float lr, A momentum", sgd, "sgd_step: argument 10 is a float64"
    ),
    "an array of another type": Fault(
        "optim.cu",
        "const double* __restrict__ decays,",
        "const float* __restrict__ decays,",
        sgd,
        "sgd_step: argument 7 is an array of float64",
    ),
    "an argument forgotten": Fault(
        "optim.cu", "bool nesterov,", "bool nesterov, int more,", sgd, "sgd_step takes 17 arguments, got 16"
    ),
    "height and width exchanged": Fault(
        "window.cu", "place(pixel, out_height, out_width)", "place(pixel, out_width, out_height)", windows, "Mismatched"
    ),
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts a fault into the sources, for one test."""
    launching._kernel.cache_clear()

    def plant(file: str, right: str, wrong: str) -> None:
        def changed(name: str) -> str:
            part, whole = text(file), text(name)
            assert part in whole and right in part
            return whole.replace(part, part.replace(right, wrong))

        monkeypatch.setattr(launching, "text", changed)

    yield plant
    launching._kernel.cache_clear()


@pytest.mark.parametrize("exercise", [norm, windows, convolution, depthwise, loss, relu, sgd])
def test_nothing_is_wrong_as_the_sources_are(exercise: Exercise, cupy: Device) -> None:
    exercise(cupy)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_source_is_caught(name: str, planted: Any, cupy: Device) -> None:
    fault = FAULTS[name]
    planted(fault.file, fault.right, fault.wrong)
    with pytest.raises((AssertionError, KernelFault, TypeError, RuntimeError), match=f"(?s){fault.caught}"):
        fault.exercise(cupy)


def fewer_blocks(pixels: int, channels: int) -> Any:
    (blocks,), block = launching.pixel_blocks(pixels, channels)
    return (blocks - 1,), block


def too_many_threads(pixels: int, channels: int) -> Any:
    return (1,), (8, 256)


LAUNCHES = {  # a name in kernels/cuda/window.py, what takes its place, what the error says
    "too few blocks": ("pixel_blocks", fewer_blocks, NAN),
    "too many threads": ("pixel_blocks", too_many_threads, "a block must have 1 to 1024 threads"),
    "a view as if it were contiguous": ("channels_last", lambda x: x.transpose(0, 2, 3, 1), "must be contiguous"),
    "channels first as if they were last": ("channels_last", lambda x: x, "Mismatched"),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_fault_in_a_launch_is_caught(name: str, monkeypatch: pytest.MonkeyPatch, cupy: Device) -> None:
    replaced, function, caught = LAUNCHES[name]
    monkeypatch.setattr(window, replaced, function)
    with pytest.raises((AssertionError, ValueError, RuntimeError), match=f"(?s){caught}"):
        windows(cupy)


def test_a_view_is_refused_by_the_kernel_as_well(cupy: Device) -> None:
    x = cupy.xp.zeros((4, 6), np.float32)
    with pytest.raises(TypeError, match="relu: argument 0 is an array that is not contiguous"):
        launching._kernel(cupy.xp, "relu", "f")((1,), (256,), (x.T, x, np.int64(24)))
