"""Where arrays live: the one file that knows both NumPy and CuPy.

Everything else asks `get_array_module` for the module of the arrays in hand and
writes `xp.exp(x)`.  CuPy is imported only when a GPU is asked for by name.
"""

from __future__ import annotations

import sys
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
    except ImportError as error:
        raise DeviceError(
            "device 'gpu': CuPy is not installed; pip install 'minidl[gpu-cuda13]' (or [gpu-cuda12])"
        ) from error
    if int(cupy.__version__.split(".")[0]) < 14:
        raise DeviceError(f"device 'gpu': CuPy must be >= 14, got {cupy.__version__}; pip install -U it")
    try:
        cards = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(
            f"device 'gpu': the CUDA driver does not answer ({error}); install NVIDIA's driver"
        ) from error
    if cards == 0:
        raise DeviceError("device 'gpu': the driver is there but sees no card; check nvidia-smi")
    return cupy


def get_array_module(*arrays: Any) -> ModuleType:
    """`cupy` if any of `arrays` lives there, else `numpy`.

    Example:
        >>> get_array_module(np.zeros(3)).__name__
        'numpy'
    """
    cupy = sys.modules.get("cupy")
    if cupy is not None and any(isinstance(a, cupy.ndarray) for a in arrays):
        return cupy
    return np


def asnumpy(array: Any) -> np.ndarray:
    """`array` as a NumPy array, copied from the GPU if it is there."""
    xp = get_array_module(array)
    return np.asarray(array) if xp is np else xp.asnumpy(array)
