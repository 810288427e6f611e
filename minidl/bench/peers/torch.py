"""PyTorch: channels_last or the default layout, the priors' formulas by its automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np

from minidl.bench.cases import Case
from minidl.bench.peers.base import LR, MOMENTUM, WEIGHT_DECAY, Eager

__all__ = ["Torch"]

EPS = 1e-6  # floor of a variance in Gaussian pooling

# Layouts; in "matrix" a filter along an axis is a product with a banded matrix, in the others a depthwise convolution.
LAYOUTS = ("channels_last", "contiguous")


class Torch(Eager):
    """PyTorch on the CPU, its optimiser in the fused form."""

    provides: ClassVar[frozenset[str]] = frozenset(
        {"gaussian_pool", "gaussian_pool_exact", "maxent_pool", "gaussian_filter", "separable", "composed", "root"}
    )

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch, self.F = torch, torch.nn.functional

    @property
    def version(self) -> str:
        one_dnn = ", oneDNN" if self.torch.backends.mkldnn.is_available() else ""
        return f"{self.torch.__version__}{one_dnn}"

    def layouts(self, case: Case) -> tuple[str, ...]:
        if case.op in ("sgd", "cross_entropy"):
            return ("contiguous",)
        filters = case.op == "gaussian_filter" or case.params.get("conv") == "gaussian"
        return (*LAYOUTS, "matrix") if filters else LAYOUTS

    def _placed(self, array: np.ndarray) -> Any:
        tensor = self.torch.from_numpy(np.ascontiguousarray(array))
        last = tensor.ndim == 4 and self.mode == "channels_last"
        return tensor.contiguous(memory_format=self.torch.channels_last) if last else tensor

    def leaf(self, array: np.ndarray) -> Any:
        return self._placed(array).clone().requires_grad_()

    def constant(self, array: np.ndarray) -> Any:
        return self._placed(array)

    def backward(self, y: Any, gy: Any, leaves: list[Any]) -> None:
        for leaf in leaves:
            leaf.grad = None
        y.backward(gy)

    def no_grad(self) -> AbstractContextManager[Any]:
        return self.torch.no_grad()

    def values(self, x: Any) -> np.ndarray:
        return x.detach().numpy()

    def gradient(self, leaf: Any) -> np.ndarray:
        return leaf.grad.numpy()

    def optimizer(self, leaves: dict[str, Any]) -> Callable[[], None]:
        parameters = list(leaves.values())
        return self.torch.optim.SGD(parameters, LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True).step

    def set_gradient(self, leaf: Any, gradient: np.ndarray) -> None:
        leaf.grad = self._placed(gradient.copy())

    def conv2d(self, x: Any, w: Any, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        return self.F.conv2d(x, w, None, stride, padding, 1, groups)

    def batch_norm(self, x: Any, weight: Any, bias: Any, buffers: dict[str, Any], path: str, training: bool) -> Any:
        mean, var = buffers[f"{path}.running_mean"], buffers[f"{path}.running_var"]
        return self.F.batch_norm(x, mean, var, weight, bias, training)

    def relu(self, x: Any) -> Any:
        return self.F.relu(x)

    def cross_entropy(self, z: Any, labels: Any) -> Any:
        return self.F.cross_entropy(z, labels)

    def max_pool(self, x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        return self.F.max_pool2d(x, kernel_size, stride, padding)

    def avg_pool(self, x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        return self.F.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

    def mean(self, x: Any) -> Any:
        return x.mean((2, 3))

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return self.F.linear(x, w, b)

    def pad_shortcut(self, x: Any, stride: int, new: int) -> Any:
        return self.F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, new // 2, new - new // 2))

    def sigmoid(self, x: Any) -> Any:
        return self.torch.sigmoid(x)

    def softplus(self, x: Any) -> Any:
        return self.F.softplus(x)

    def exp(self, x: Any) -> Any:
        return self.torch.exp(x)

    def root(self, x: Any) -> Any:
        return self.torch.sqrt(self.torch.clamp(x, min=1e-12))

    def noise_like(self, x: Any) -> Any:
        return self.torch.randn_like(x)

    def gaussian_pool(self, x: Any, eta: Any, kernel_size: int, stride: int, padding: int) -> Any:
        """μ + η s with v = mean(x²) − μ², the shortest way to write it; ours subtracts μ first."""
        mean = self.avg_pool(x, kernel_size, stride, padding)
        variance = self.avg_pool(x * x, kernel_size, stride, padding) - mean * mean
        return mean + eta * self.torch.sqrt(self.torch.clamp(variance, min=EPS))

    def gaussian_pool_exact(self, x: Any, eta: Any, kernel_size: int, stride: int, padding: int) -> Any:
        """μ + η s with v = mean((x − μ)²), a tap of the windows at a time."""
        k, mean = kernel_size, self.avg_pool(x, kernel_size, stride, padding)
        inside = self.torch.ones_like(x[:1, :1])
        if padding:
            x, inside = (self.F.pad(a, [padding] * 4) for a in (x, inside))
        rows, columns = (stride * (length - 1) + 1 for length in mean.shape[2:])
        total: Any = 0.0
        count: Any = 0.0
        for i, j in np.ndindex(k, k):
            at = (..., slice(i, i + rows, stride), slice(j, j + columns, stride))
            square = self.torch.square(x[at] - mean)
            total, count = total + (square * inside[at] if padding else square), count + inside[at]
        return mean + eta * self.torch.sqrt(self.torch.clamp(total / count, min=EPS))

    def maxent_pool(self, x: Any, lam: Any, kernel_size: int, stride: int, padding: int) -> Any:
        if padding:
            raise ValueError("maxent_pool: written for windows without padding")
        taps = x.unfold(2, kernel_size, stride).unfold(3, kernel_size, stride).flatten(4)  # (N,C,Ho,Wo,T)
        return (self.torch.softmax(lam[..., None] * taps, -1) * taps).sum(-1)

    def composed(self, coefficients: Any, basis: Any) -> Any:
        """Filters (O, C, kh, kw) of a basis (m, kh, kw), by their coefficients (O, C, m)."""
        return (coefficients @ basis.flatten(1)).reshape(*coefficients.shape[:2], *basis.shape[1:])

    def gaussian_taps(self, sigma: Any, radius: int) -> Any:
        """Sampled and normalised, (C or 1, 2r + 1)."""
        u = self.torch.arange(-radius, radius + 1, dtype=sigma.dtype)
        return self.torch.softmax(-u * u / (2 * sigma[:, None] ** 2), -1)  # exp, over its sum

    def gaussian_filter(self, x: Any, sigma: Any, radius: int) -> Any:
        return self.separable(x, self.gaussian_taps(sigma, radius), 0)

    def separable(self, x: Any, taps: Any, grow: int) -> Any:
        """Taps (C or 1, 2r + 1) along both axes, zeros around, `grow` more samples of output on every side."""
        c, radius = x.shape[1], taps.shape[-1] // 2
        if self.mode == "matrix":
            rows, columns = (self._banded(taps, length, grow) for length in x.shape[2:])
            return self.torch.matmul(rows, self.torch.matmul(x, columns.mT))
        taps, pad = taps.expand(c, -1), radius + grow
        x = self.F.conv2d(x, taps[:, None, :, None], padding=(pad, 0), groups=c)
        return self.F.conv2d(x, taps[:, None, None, :], padding=(0, pad), groups=c)

    def _banded(self, taps: Any, length: int, grow: int) -> Any:
        """(C or 1, length + 2 grow, length): row i reads sample j through tap j − i + grow + r."""
        radius, i, j = taps.shape[-1] // 2, self.torch.arange(length + 2 * grow), self.torch.arange(length)
        at = j[None, :] - i[:, None] + grow + radius
        return self.F.pad(taps, (1, 1))[:, self.torch.clamp(at + 1, 0, taps.shape[-1] + 1)]
