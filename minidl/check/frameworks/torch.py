"""PyTorch: functions of its tensors, differentiated by torch.autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.check.frameworks.base import Framework, Function, Pulled, as_numpy


class Torch(Framework):
    """Functions of PyTorch tensors on the CPU, or on the device of a module's parameters."""

    name = "torch"
    autograd = "torch.autograd"

    def __init__(self) -> None:
        import torch

        self.torch: Any = torch

    def asarray(self, x: np.ndarray, dtype: str) -> Any:
        tensor = self.torch.tensor(np.ascontiguousarray(x).reshape(x.shape))
        return tensor.to(getattr(self.torch, dtype)) if x.dtype.kind == "f" else tensor

    def numpy(self, y: Any) -> np.ndarray:
        if not isinstance(y, self.torch.Tensor):
            return as_numpy(y)
        y = y.detach().cpu()
        return (y.float() if y.dtype == self.torch.bfloat16 else y).resolve_conj().numpy()

    def pull_back(self, f: Function, xs: Sequence[Any], wanted: Sequence[int], gy: Any) -> Pulled:
        leaves = [x.detach().requires_grad_() if i in wanted else x for i, x in enumerate(xs)]
        y = f(*leaves)
        if not isinstance(y, self.torch.Tensor) or not y.requires_grad:
            return y, [None] * len(wanted)
        if y.shape != gy.shape:  # the forward is wrong, and no cotangent fits
            return y, None
        gxs = self.torch.autograd.grad(y, [leaves[i] for i in wanted], gy.to(y.dtype), allow_unused=True)
        return y, [None if g is None else self.numpy(g) for g in gxs]

    def joined(self, pieces: Sequence[Any], axis: int) -> Any:
        return self.torch.cat([(k + 1) * piece for k, piece in enumerate(pieces)], axis)
