"""Where arrays live: the one file that knows both NumPy and CuPy.

Everything else asks `get_array_module` for the module of the arrays in hand and
writes `xp.exp(x)`.  CuPy is imported only when a GPU is asked for by name.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from minidl.errors import DeviceError

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray


@dataclass(frozen=True)
class Device:
    """A place for arrays.

    Attributes:
        name: "cpu" or "gpu".
        xp: the array module that computes there.
    """

    name: str
    xp: ModuleType

    def asarray(self, array: Any) -> Array:
        """`array` on this device; copied only if it is elsewhere."""
        if self.name == "cpu":
            return asnumpy(array)
        return self.xp.asarray(array)

    def ahead(self, batches: Iterator[tuple[np.ndarray, np.ndarray]], depth: int = 2) -> Iterator[tuple[Array, Any]]:
        """Batches whose images are on this device, copied there while earlier ones are computed with.

        Args:
            batches: (images, labels) in NumPy's memory.  Labels stay there: checking them is then no wait.
            depth: batches copied ahead on a GPU, >= 0.

        Returns:
            The same batches in the same order; `batches` itself on the CPU, where nothing is copied.
        """
        return batches if self.name == "cpu" else _copied_ahead(self.xp, batches, depth)

    def limit_memory(self, limit: str) -> None:
        """Let arrays take no more of the GPU's memory than `limit`; nothing on the CPU.

        What is beyond raises MemoryError, as NumPy does, and leaves the rest of the card to others.

        Args:
            limit: a share of the card, as "0.9", or bytes, as "4GB" or "512MiB"; see `memory_limit`.

        Raises:
            ValueError: it is neither.
        """
        kind, value = memory_limit(limit)
        if self.name == "gpu":
            self.xp.get_default_memory_pool().set_limit(**{kind: value})

    def memory(self) -> int:
        """Bytes that arrays take on the GPU now; 0 on the CPU."""
        return 0 if self.name == "cpu" else int(self.xp.get_default_memory_pool().used_bytes())

    def describe(self) -> dict[str, Any]:
        """The card, its driver and the array module, for reports; empty on the CPU."""
        if self.name == "cpu":
            return {}
        runtime = self.xp.cuda.runtime
        card, driver, cuda = runtime.getDeviceProperties(0), runtime.driverGetVersion(), runtime.runtimeGetVersion()
        return {
            "card": card["name"].decode(errors="replace"),
            "compute_capability": f"{card['major']}.{card['minor']}",
            "card_memory_gib": round(card["totalGlobalMem"] / 2**30, 1),
            "driver_cuda": f"{driver // 1000}.{driver % 1000 // 10}",
            "runtime_cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
            "array_module": f"{self.xp.__name__} {self.xp.__version__}",
        }

    def synchronize(self) -> None:
        """Wait until everything asked of the device is done."""
        if self.name == "gpu":
            self.xp.cuda.get_current_stream().synchronize()

    def __str__(self) -> str:
        return self.name


CPU = Device("cpu", np)


def get_device(name: str) -> Device:
    """The device called `name`.

    Args:
        name: "cpu" or "gpu".

    Returns:
        The `Device`.

    Raises:
        ValueError: `name` is neither.
        DeviceError: no GPU can be used; one line says whether the wheel, the driver or the card is missing.

    Example:
        >>> get_device("cpu").xp.__name__
        'numpy'
    """
    if name == "cpu":
        return CPU
    if name == "gpu":
        return Device("gpu", _import_cupy())
    raise ValueError(f"device: must be 'cpu' or 'gpu', got {name!r}")


def _import_cupy() -> ModuleType:
    """CuPy with at least one usable card, or a `DeviceError` naming what is missing."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise DeviceError(
            "device 'gpu': CuPy is not installed; pip install 'minidl[gpu-cuda13]' (or [gpu-cuda12])"
        ) from error
    except ImportError as error:
        raise DeviceError(f"device 'gpu': CuPy is installed, but cannot be loaded: {_one_line(error)}") from error
    if int(cupy.__version__.split(".")[0]) < 14:
        raise DeviceError(f"device 'gpu': CuPy must be >= 14, got {cupy.__version__}; pip install -U it")
    try:
        cards = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"device 'gpu': {_why_no_cards(cupy.cuda.runtime, error)}") from error
    if cards == 0:
        raise DeviceError(f"device 'gpu': {NO_CARD}")
    try:
        ones = cupy.ones((2, 2), np.float32)
        (ones @ ones)[0, 0].item()  # allocates, compiles a kernel, asks cuBLAS
    except Exception as error:  # of whichever library does not work: all that can be said is what it says
        raise DeviceError(
            f"device 'gpu': the card is there, but computes nothing ({_one_line(error)}); "
            "CUDA's own libraries come with: pip install 'minidl[gpu-cuda13]' (or [gpu-cuda12])"
        ) from error
    return cupy


NO_CARD = "the driver is there but sees no card; see nvidia-smi and CUDA_VISIBLE_DEVICES"


def _why_no_cards(runtime: Any, error: Any) -> str:
    """What is missing where the CUDA runtime cannot count the cards, and how to get it."""
    if getattr(error, "status", None) == 100:  # cudaErrorNoDevice
        return NO_CARD
    driver, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()  # 12040 is CUDA 12.4, 0 no driver
    if driver == 0:
        return "NVIDIA's driver is not installed; install the one for your card, then nvidia-smi lists it"
    if driver < needed:
        has, needs = (f"{v // 1000}.{v % 1000 // 10}" for v in (driver, needed))
        older = "" if needed < 13000 else ", or pip uninstall cupy-cuda13x; pip install 'minidl[gpu-cuda12]'"
        return f"NVIDIA's driver knows CUDA up to {has}, this CuPy needs {needs}; renew the driver{older}"
    return f"CUDA does not answer ({_one_line(error)}); see nvidia-smi"


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def memory_limit(text: str) -> tuple[str, float]:
    """What `Device.limit_memory` is given: ("fraction", a share of the card) or ("size", bytes).

    Raises:
        ValueError: it is neither.

    Example:
        >>> memory_limit("0.5"), memory_limit("4GB"), memory_limit("512 MiB")
        (('fraction', 0.5), ('size', 4000000000), ('size', 536870912))
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) *([kMGT]i?)?(B?)", text.strip())
    if found is not None:
        number, prefix, unit = float(found[1]), found[2] or "", found[3]
        if not (prefix or unit) and 0 < number <= 1:
            return "fraction", number
        size = int(number * (1024 if prefix.endswith("i") else 1000) ** (" kMGT".index(prefix[0]) if prefix else 0))
        if (prefix or unit or number.is_integer()) and size >= 1:
            return "size", size
    raise ValueError(f"must be a share of the card as 0.9, or bytes as 4GB or 512MiB, got {text!r}")


def _copied_ahead(
    xp: ModuleType, batches: Iterator[tuple[np.ndarray, np.ndarray]], depth: int
) -> Iterator[tuple[Array, np.ndarray]]:
    """Batches on the GPU, copied on a stream of their own.

        host      pinned ← images        only memory that is pinned can be copied in the background
        copies    wait for what is asked of `compute` by now: it may be using the memory that images get;
                  images ← pinned
        compute   waits for that copy when the batch is given out, `depth` batches later

    The streams wait, the host never does; pinned memory is kept until its copy is over.
    """
    compute, copies = xp.cuda.get_current_stream(), xp.cuda.Stream(non_blocking=True)
    waiting: deque[tuple[Array, np.ndarray, Any]] = deque()
    pinned: list[tuple[Any, Any]] = []

    def given_out() -> tuple[Array, np.ndarray]:
        images, labels, copied = waiting.popleft()
        compute.wait_event(copied)
        return images, labels

    try:
        for images, labels in batches:
            target = xp.empty(images.shape, images.dtype)
            copies.wait_event(compute.record(xp.cuda.Event(disable_timing=True)))
            memory = xp.cuda.alloc_pinned_memory(images.nbytes)
            host = np.frombuffer(memory, images.dtype, images.size).reshape(images.shape)
            host[...] = images
            target.set(host, stream=copies)
            copied = copies.record(xp.cuda.Event(disable_timing=True))
            pinned = [kept for kept in pinned if not kept[0].done] + [(copied, memory)]
            waiting.append((target, labels, copied))
            if len(waiting) > depth:
                yield given_out()
        while waiting:
            yield given_out()
    finally:  # after an error or a `break` as well: memory must not be reused while it is copied to
        copies.synchronize()


def get_array_module(*arrays: Any) -> ModuleType:
    """`cupy` if any of `arrays` lives there, else `numpy`.

    Args:
        arrays: any, of either kind.

    Returns:
        The module.

    Example:
        >>> get_array_module(np.zeros(3)).__name__
        'numpy'
    """
    cupy = sys.modules.get("cupy")
    if cupy is not None and any(isinstance(a, cupy.ndarray) for a in arrays):
        return cupy
    return np


def asnumpy(array: Any) -> np.ndarray:
    """`array` as a NumPy array, copied from the GPU if it is there.

    Args:
        array: of either kind.

    Returns:
        A NumPy array of the same shape and dtype.

    Example:
        >>> asnumpy(np.ones(2))
        array([1., 1.])
    """
    xp = get_array_module(array)
    return np.asarray(array) if xp is np else xp.asnumpy(array)
