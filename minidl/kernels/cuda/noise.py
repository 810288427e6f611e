"""Counter-based noise (src/noise.cu), in one launch; what it computes stands in kernels/array/noise.py."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from minidl.device import Array
from minidl.kernels.array import noise as array
from minidl.kernels.cuda.launch import THREADS, launch

__all__ = ["normal_noise", "uniform_noise"]


def uniform_noise(key: int, shape: tuple[int, ...], dtype: Any = np.float32, *, xp: ModuleType = np) -> Array:
    """As `array.uniform_noise`, to the last bit."""
    return _filled("uniform_noise", key, shape, dtype, xp, 2 if np.dtype(dtype) == np.float64 else 4)


def normal_noise(key: int, shape: tuple[int, ...], dtype: Any = np.float32, *, xp: ModuleType = np) -> Array:
    """As `array.normal_noise`, to the last bit."""
    return _filled("normal_noise", key, shape, dtype, xp, 4)


def _filled(name: str, key: int, shape: tuple[int, ...], dtype: Any, xp: ModuleType, each: int) -> Array:
    """An array that kernel `name` fills, `each` numbers a thread."""
    count = math.prod(shape)
    if xp is np or np.dtype(dtype).char not in "fd" or not count:
        return getattr(array, name)(key, shape, dtype, xp=xp)
    out = xp.empty(shape, dtype)
    grid = (-(-count // (each * THREADS)),)
    launch(name, dtype, grid, (THREADS,), out, np.uint64(key % 2**64), np.int64(count))
    return out
