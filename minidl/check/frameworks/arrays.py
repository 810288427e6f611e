"""NumPy and CuPy: arrays without differentiation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.check.frameworks.base import Framework
from minidl.device import asnumpy, get_device


class NumPy(Framework):
    """Functions of NumPy arrays; gradients come from a `backward` that is given."""

    name = "numpy"

    def __init__(self) -> None:
        self.xp: Any = np

    def asarray(self, x: np.ndarray, dtype: str) -> Any:
        if dtype not in ("float64", "float32", "float16"):
            raise ValueError(f"{self.name} has no {dtype}")
        return self.xp.array(x, dtype=dtype if x.dtype.kind == "f" else x.dtype)

    def joined(self, pieces: Sequence[Any], axis: int) -> Any:
        return self.xp.concatenate([(k + 1) * piece for k, piece in enumerate(pieces)], axis)


class CuPy(NumPy):
    """Functions of CuPy arrays."""

    name = "cupy"

    def __init__(self) -> None:
        self.xp = get_device("gpu").xp

    def numpy(self, y: Any) -> np.ndarray:
        return super().numpy(asnumpy(y))
