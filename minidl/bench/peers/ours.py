"""minidl itself: its own ops, models, priors and optimiser, as `python -m minidl.train` uses them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

import minidl
from minidl import Tensor, no_grad, ops
from minidl.bench.cases import Case
from minidl.bench.inputs import build_model
from minidl.bench.peers.base import LR, MOMENTUM, WEIGHT_DECAY, Arrays, Eager, Task, fingerprint, has_noise
from minidl.kernels.cpu import threads as pool
from minidl.kernels.cpu.layout import chwn, nchw
from minidl.nn import Parameter
from minidl.optim import SGD
from minidl.priors import LogitAdjustment

__all__ = ["Minidl"]


class Minidl(Eager):
    """Our library.  A map that an op is given lies as the ops before it would leave it: channels first, images last.

    Attributes:
        run_update: runs the optimiser's step that it is given; a profile puts a clock around it.
    """

    def __init__(self, threads: int) -> None:
        if pool.num_threads() != threads:
            raise RuntimeError(f"minidl: MINIDL_THREADS must be {threads} here, got {pool.num_threads()}")
        self.run_update: Callable[[Callable[[], None]], None] = lambda step: step()

    @property
    def version(self) -> str:
        config: Any = np.show_config(mode="dicts")
        blas = config["Build Dependencies"]["blas"]
        return f"{minidl.__version__}, NumPy {np.__version__}, {blas['name']} {blas['version']}"

    def modes(self, case: Case) -> tuple[str, ...]:
        return ("",)

    def leaf(self, array: np.ndarray) -> Parameter:
        return Parameter(nchw(chwn(array)) if array.ndim == 4 and array.shape[2] > 1 else array)

    def constant(self, array: np.ndarray) -> Any:
        return array if array.dtype.kind == "i" else Tensor(nchw(chwn(array)) if array.ndim == 4 else array)

    def backward(self, y: Tensor, gy: Any, leaves: list[Any]) -> None:
        for leaf in leaves:
            leaf.grad = None
        y.backward(gy)

    def no_grad(self) -> AbstractContextManager[None]:
        return no_grad()

    def values(self, x: Tensor) -> np.ndarray:
        return x.numpy()

    def gradient(self, leaf: Tensor) -> np.ndarray:
        assert leaf.grad is not None
        return leaf.grad

    def optimizer(self, leaves: dict[str, Any]) -> Callable[[], None]:
        return SGD(list(leaves.items()), LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY).step

    def set_gradient(self, leaf: Tensor, gradient: np.ndarray) -> None:
        leaf.grad = gradient

    def _network(self, case: Case, arrays: Arrays, mode: str) -> Task:
        """The model and the loop of the library, not `nets`."""
        model = build_model(case.params, np.random.default_rng(0))
        model.load_state_dict({name[6:]: a for name, a in arrays.items() if name.startswith("state/")})
        adjust = LogitAdjustment(arrays["class_counts"]) if case.params.get("logits") else None
        parameters, labels = list(model.named_parameters()), arrays["labels"]
        optimizer = SGD(parameters, LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

        @no_grad()
        def predict() -> np.ndarray:
            return model(Tensor(arrays["x"])).numpy()

        def step() -> float:
            logits = model(Tensor(arrays["x"]))
            loss = ops.cross_entropy(logits if adjust is None else adjust(logits), labels)
            optimizer.zero_grad()
            loss.backward()
            self.run_update(optimizer.step)
            return loss.item()

        def check() -> list[float]:
            model.eval()
            numbers = fingerprint(predict())
            model.train(case.backward)
            return numbers if not case.backward or has_noise(case) else [*numbers, step(), step()]

        model.train(case.backward)
        return Task(step if case.backward else predict, check)

    # Ops by the names of the cases

    def conv2d(self, x: Tensor, w: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        return ops.conv2d(x, w, stride=stride, padding=padding, groups=groups)

    def batch_norm(
        self,
        x: Tensor,
        weight: Any,
        bias: Any,
        buffers: dict[str, Any],
        path: str,
        training: bool,
        relu: bool = False,
    ) -> Tensor:
        mean, var = buffers[f"{path}.running_mean"], buffers[f"{path}.running_var"]
        return ops.batch_norm(x, mean, var, weight, bias, training=training, relu=relu)

    def batch_norm_relu(self, x: Tensor, weight: Any, bias: Any) -> Tensor:
        return self.training_norm(x, weight, bias, relu=True)

    def relu(self, x: Tensor) -> Tensor:
        return ops.relu(x)

    def cross_entropy(self, z: Tensor, labels: np.ndarray) -> Tensor:
        return ops.cross_entropy(z, labels)

    def max_pool(self, x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        return ops.max_pool2d(x, kernel_size, stride, padding)

    def avg_pool(self, x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        return ops.avg_pool2d(x, kernel_size, stride, padding)

    def gaussian_pool(self, x: Tensor, eta: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        return ops.gaussian_pool2d(x, eta, kernel_size, stride, padding)

    gaussian_pool_exact = gaussian_pool

    def maxent_pool(self, x: Tensor, lam: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        return ops.maxent_pool2d(x, lam, kernel_size, stride, padding)

    def gaussian_filter(self, x: Tensor, sigma: Tensor, radius: int) -> Tensor:
        return ops.gaussian_filter(x, sigma, radius=radius)
