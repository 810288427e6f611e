"""MyGrad on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minidl.bench.cases import Case
from minidl.bench.peers.base import LR, MOMENTUM, WEIGHT_DECAY, Eager

__all__ = ["MyGrad"]


class MyGrad(Eager):
    """MyGrad 2; its BLAS has the threads.

    It has no optimiser: the update is NumPy.  Its convolution and pooling want a stride that divides the map, and have
    no groups: a strided one is given a map without the rows and columns it would not read, and groups are left out.
    """

    plain = frozenset({"conv2d", "batch_norm", "batch_norm_relu", "relu", "cross_entropy"})

    def __init__(self, threads: int) -> None:
        import mygrad
        from mygrad.nnet.activations import relu
        from mygrad.nnet.layers import batchnorm, conv_nd, max_pool
        from mygrad.nnet.losses import softmax_crossentropy

        self.mg, self._relu, self._conv, self._norm = mygrad, relu, conv_nd, batchnorm
        self._max_pool, self._loss = max_pool, softmax_crossentropy

    @property
    def version(self) -> str:
        return f"{self.mg.__version__}, NumPy {np.__version__}"

    def modes(self, case: Case) -> tuple[str, ...]:
        grouped = case.params.get("groups", 1) > 1 or case.params.get("model") == "mobilenet_v1"
        return () if grouped else super().modes(case)

    def leaf(self, array: np.ndarray) -> Any:
        return self.mg.tensor(array.copy())

    def constant(self, array: np.ndarray) -> np.ndarray:
        return array

    def backward(self, y: Any, gy: Any, leaves: list[Any]) -> None:
        for leaf in leaves:
            leaf.null_grad()
        y.backward(gy)

    def no_grad(self) -> AbstractContextManager[Any]:
        return self.mg.no_autodiff

    def values(self, x: Any) -> np.ndarray:
        return np.asarray(x.data)

    def gradient(self, leaf: Any) -> np.ndarray:
        return leaf.grad

    def optimizer(self, leaves: dict[str, Any]) -> Callable[[], None]:
        velocity = {name: np.zeros_like(leaf.data) for name, leaf in leaves.items()}
        gradients = self.__dict__.setdefault("_given", {})

        def update() -> None:
            for name, leaf in leaves.items():
                gradient = leaf.grad if leaf.grad is not None else gradients[id(leaf)]
                velocity[name] *= MOMENTUM
                velocity[name] += gradient + WEIGHT_DECAY * leaf.data
                leaf.data -= LR * velocity[name]

        return update

    def set_gradient(self, leaf: Any, gradient: np.ndarray) -> None:
        self.__dict__.setdefault("_given", {})[id(leaf)] = gradient

    def conv2d(self, x: Any, w: Any, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        if w.shape[2] == 1:
            return self._conv(x[:, :, ::stride, ::stride], w, stride=1)
        return self._conv(self._grown(x, w.shape[2], stride, padding), w, stride=stride)

    def _grown(self, x: Any, kernel: int, stride: int, padding: int) -> Any:
        """x with its zeros, but for rows and columns at the end that no window reads."""
        unread = (x.shape[2] + 2 * padding - kernel) % stride
        if padding == 0 and unread == 0:
            return x
        grown = self.mg.zeros((*x.shape[:2], *(side + 2 * padding - unread for side in x.shape[2:])), dtype=x.dtype)
        grown[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]] = x
        return grown

    def batch_norm(self, x: Any, weight: Any, bias: Any, buffers: dict[str, Any], path: str, training: bool) -> Any:
        if training:
            return self._norm(x, gamma=weight, beta=bias, eps=1e-5)
        mean, var = (buffers[f"{path}.running_{what}"][:, None, None] for what in ("mean", "var"))
        scale = weight[:, None, None] / np.sqrt(var + 1e-5, dtype=np.float32)
        return (x - mean) * scale + bias[:, None, None]

    def relu(self, x: Any) -> Any:
        return self._relu(x)

    def cross_entropy(self, z: Any, labels: Any) -> Any:
        return self._loss(z, labels)

    def max_pool(self, x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        """Of a map that is not negative, where a padding of zeros never wins."""
        return self._max_pool(self._grown(x, kernel_size, stride, padding), (kernel_size, kernel_size), stride)

    def mean(self, x: Any) -> Any:
        return self.mg.mean(x, axis=(2, 3))

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return self.mg.matmul(x, w.T) + b

    def pad_shortcut(self, x: Any, stride: int, new: int) -> Any:
        x = x[:, :, ::stride, ::stride]
        n, c, h, w = x.shape
        grown = self.mg.zeros((n, c + new, h, w), dtype=x.dtype)
        grown[:, new // 2 : new // 2 + c] = x
        return grown
