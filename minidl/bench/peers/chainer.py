"""Chainer on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minidl.bench.peers.base import LR, MOMENTUM, WEIGHT_DECAY, Eager

__all__ = ["Chainer"]


class Chainer(Eager):
    """Chainer 7; its BLAS has the threads."""

    def __init__(self, threads: int) -> None:
        import chainer
        import chainer.functions

        self.chainer, self.F = chainer, chainer.functions

    @property
    def version(self) -> str:
        return f"{self.chainer.__version__}, NumPy {np.__version__}"

    def leaf(self, array: np.ndarray) -> Any:
        return self.chainer.Parameter(array.copy())

    def constant(self, array: np.ndarray) -> Any:
        return array.astype(np.int32) if array.dtype.kind == "i" else array

    def backward(self, y: Any, gy: Any, leaves: list[Any]) -> None:
        for leaf in leaves:
            leaf.cleargrad()
        y.grad = gy  # None: 1
        y.backward()

    def no_grad(self) -> AbstractContextManager[Any]:
        return self.chainer.no_backprop_mode()

    def values(self, x: Any) -> np.ndarray:
        return x.array

    def gradient(self, leaf: Any) -> np.ndarray:
        return leaf.grad

    def optimizer(self, leaves: dict[str, Any]) -> Callable[[], None]:
        link = self.chainer.Link()
        with link.init_scope():
            for name, leaf in leaves.items():
                setattr(link, name.replace(".", "_"), leaf)
        sgd = self.chainer.optimizers.MomentumSGD(LR, MOMENTUM).setup(link)
        sgd.add_hook(self.chainer.optimizer_hooks.WeightDecay(WEIGHT_DECAY))
        return sgd.update

    def set_gradient(self, leaf: Any, gradient: np.ndarray) -> None:
        leaf.grad = gradient.copy()

    def conv2d(self, x: Any, w: Any, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        return self.F.convolution_2d(x, w, None, stride, padding, groups=groups)

    def batch_norm(self, x: Any, weight: Any, bias: Any, buffers: dict[str, Any], path: str, training: bool) -> Any:
        mean, var = buffers[f"{path}.running_mean"], buffers[f"{path}.running_var"]
        if not training:
            return self.F.fixed_batch_normalization(x, weight, bias, mean, var, eps=1e-5)
        return self.F.batch_normalization(x, weight, bias, eps=1e-5, running_mean=mean, running_var=var, decay=0.9)

    def relu(self, x: Any) -> Any:
        return self.F.relu(x)

    def cross_entropy(self, z: Any, labels: Any) -> Any:
        return self.F.softmax_cross_entropy(z, labels)

    def max_pool(self, x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        return self.F.max_pooling_2d(x, kernel_size, stride, padding, cover_all=False)

    def avg_pool(self, x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        return self.F.average_pooling_2d(x, kernel_size, stride, padding)

    def mean(self, x: Any) -> Any:
        return self.F.mean(x, axis=(2, 3))

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return self.F.linear(x, w, b)

    def pad_shortcut(self, x: Any, stride: int, new: int) -> Any:
        around = ((0, 0), (new // 2, new - new // 2), (0, 0), (0, 0))
        return self.F.pad(x[:, :, ::stride, ::stride], around, "constant")
