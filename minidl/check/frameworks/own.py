"""minidl itself: functions of its Tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import Tensor, ops
from minidl.check.frameworks.base import Framework, Function, Pulled


class Minidl(Framework):
    """Functions of minidl's Tensors, differentiated by `Tensor.backward`."""

    name = "minidl"
    autograd = "Tensor.backward"

    def asarray(self, x: np.ndarray, dtype: str) -> Any:
        if dtype not in ("float64", "float32"):
            raise ValueError(f"minidl has no {dtype}")
        return Tensor(x.astype(dtype)) if x.dtype.kind == "f" else x.copy()

    def pull_back(self, f: Function, xs: Sequence[Any], wanted: Sequence[int], gy: Any) -> Pulled:
        leaves = [Tensor(x.data, requires_grad=True) if i in wanted else x for i, x in enumerate(xs)]
        y = f(*leaves)
        if not isinstance(y, Tensor) or not y.requires_grad:
            return y, [None] * len(wanted)
        if y.shape != gy.shape:  # the forward is wrong, and no cotangent fits
            return y, None
        y.backward(gy)
        return y, [None if (g := leaves[i].grad) is None else np.asarray(g) for i in wanted]

    def joined(self, pieces: Sequence[Any], axis: int) -> Any:
        return ops.concat([ops.mul(piece, k + 1) for k, piece in enumerate(pieces)], axis)
