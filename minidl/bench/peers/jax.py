"""JAX: every case one compiled function, channels last or first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.bench import nets
from minidl.bench.cases import Case
from minidl.bench.peers.base import LR, MOMENTUM, WEIGHT_DECAY, Arrays, Peer, Task, fingerprint, has_noise, state_of

__all__ = ["Jax"]

EPS = 1e-6  # floor of a variance in Gaussian pooling
LAYOUTS = ("NHWC", "NCHW")


class Jax(Peer):
    """JAX on the CPU; XLA has as many threads as the process has cores."""

    def __init__(self, threads: int) -> None:
        import jax

        jax.config.update("jax_platforms", "cpu")
        self.jax, self.np, self.lax, self.nn = jax, jax.numpy, jax.lax, jax.nn
        self.mode, self.key = LAYOUTS[0], None

    @property
    def version(self) -> str:
        return self.jax.__version__

    def modes(self, case: Case) -> tuple[str, ...]:
        if case.op == "gaussian_pool_exact":
            return ()
        if case.op in ("sgd", "cross_entropy"):
            return ("NCHW",)
        filters = case.op == "gaussian_filter" or case.params.get("conv") == "gaussian"
        return (*LAYOUTS, "matrix") if filters else LAYOUTS

    @property
    def layout(self) -> str:
        return "NCHW" if self.mode == "NCHW" else "NHWC"

    def placed(self, x: Any) -> Any:
        """A map (N, C, H, W) in the layout of the mode."""
        return x.transpose(0, 2, 3, 1) if self.layout == "NHWC" and x.ndim == 4 else x

    def task(self, case: Case, arrays: Arrays, mode: str) -> Task:
        self.mode = mode
        if case.op == "sgd":
            return self._sgd(arrays)
        return self._network(case, arrays, mode) if case.is_network else self._op(case, arrays, mode)

    def _op(self, case: Case, arrays: Arrays, mode: str) -> Task:
        f = getattr(self, case.op)
        leaves = [self.np.asarray(self.placed(arrays[n]) if n == "x" else arrays[n]) for n in case.shapes]
        gy = self.np.asarray(self.placed(arrays["gy"]) if case.output else np.float32(1))
        labels = [self.np.asarray(arrays["labels"])] if "labels" in arrays else []

        def both(leaves: list[Any], gy: Any) -> Any:
            y, pull = self.jax.vjp(lambda *inputs: f(*inputs, *labels, **case.params), *leaves)
            return y, *pull(gy)

        compiled = self.jax.jit(both if case.backward else lambda leaves, gy: (f(*leaves, *labels, **case.params),))

        def run() -> Any:
            self.mode = mode
            return self.jax.block_until_ready(compiled(leaves, gy))

        def check() -> list[float]:
            back = (0, 3, 1, 2) if self.layout == "NHWC" else (0, 1, 2, 3)
            y, *gradients = run()
            maps = [y, *(g for n, g in zip(case.shapes, gradients, strict=False) if n == "x")]
            others = [g for n, g in zip(case.shapes, gradients, strict=False) if n != "x"]
            shown = [np.asarray(a).transpose(back) if a.ndim == 4 else a for a in maps]
            return [v for a in [*shown, *others] for v in fingerprint(a)]

        return Task(run, check)

    def _network(self, case: Case, arrays: Arrays, mode: str) -> Task:
        parameters, buffers = self.jax.device_put(state_of(arrays))
        constants: dict[str, Any] = {n: self.np.asarray(arrays[n]) for n in ("shift", "basis") if n in arrays}
        x, labels = arrays["x"], arrays["labels"]

        def logits(parameters: Any, buffers: Any, x: Any, training: bool) -> Any:
            return nets.forward(nets.Net(self, parameters, buffers, case.params, training, constants), self.placed(x))

        def loss(parameters: Any, buffers: Any, x: Any, labels: Any) -> tuple[Any, Any]:
            after = dict(buffers)
            return self.cross_entropy(logits(parameters, after, x, True), labels), after

        def update(parameters: Any, velocity: Any, buffers: Any, key: Any, x: Any, labels: Any) -> Any:
            self.key = key
            (value, after), g = self.jax.value_and_grad(loss, has_aux=True)(parameters, buffers, x, labels)
            parameters, velocity = self.sgd(parameters, g, velocity)
            return value, (parameters, velocity, after, self.jax.random.fold_in(key, 0))

        compiled = self.jax.jit(update, donate_argnums=(0, 1, 2, 3))
        infer = self.jax.jit(lambda parameters, buffers, x: logits(parameters, dict(buffers), x, False))
        velocity = self.jax.tree.map(self.np.zeros_like, parameters)
        state = [(parameters, velocity, buffers, self.jax.random.key(0))]

        def predict() -> np.ndarray:
            self.mode = mode
            return np.asarray(infer(state[0][0], state[0][2], x))

        def step() -> float:
            self.mode = mode
            value, state[0] = compiled(*state[0], x, labels)
            self.jax.block_until_ready(state[0])
            return float(value)

        def check() -> list[float]:
            numbers = fingerprint(predict())
            return numbers if not case.backward or has_noise(case) else [*numbers, step(), step()]

        return Task(step if case.backward else predict, check)

    def _sgd(self, arrays: Arrays) -> Task:
        p, g = ({n[2:]: self.np.asarray(a) for n, a in arrays.items() if n[:2] == k} for k in ("p/", "g/"))
        state = [(p, self.jax.tree.map(self.np.zeros_like, p))]
        compiled = self.jax.jit(lambda p, v, g: self.sgd(p, g, v), donate_argnums=(0, 1))

        def run() -> None:
            state[0] = self.jax.block_until_ready(compiled(*state[0], g))

        def check() -> list[float]:
            run()
            return [v for name in p for v in fingerprint(state[0][0][name])]

        return Task(run, check)

    def sgd(self, p: Any, g: Any, v: Any) -> tuple[Any, Any]:
        """Parameters and velocities after an update."""
        each: Callable[..., Any] = self.jax.tree.map
        v = each(lambda p, g, v: MOMENTUM * v + g + WEIGHT_DECAY * p, p, g, v)
        return each(lambda p, v: p - LR * v, p, v), v

    # Ops; `axes` are those of height and width

    @property
    def axes(self) -> tuple[int, int]:
        return (2, 3) if self.layout == "NCHW" else (1, 2)

    def conv2d(self, x: Any, w: Any, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        return self.lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=(self.layout, "OIHW", self.layout),
            feature_group_count=groups,
        )

    def _channels(self, v: Any, ndim: int) -> Any:
        return v[:, None, None] if ndim == 4 and self.layout == "NCHW" else v

    def batch_norm(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        buffers: dict[str, Any] | None = None,
        path: str = "",
        training: bool = True,
    ) -> Any:
        names = f"{path}.running_mean", f"{path}.running_var"
        if training:
            axes = (0, *self.axes) if x.ndim == 4 else (0,)
            mean, var = x.mean(axes), x.var(axes)
            if buffers is not None:
                m = x.size // mean.size
                for name, value in zip(names, (mean, var * (m / (m - 1))), strict=True):
                    buffers[name] = 0.9 * buffers[name] + 0.1 * value
        else:
            assert buffers is not None
            mean, var = (buffers[name] for name in names)
        scale = weight * self.lax.rsqrt(var + 1e-5)
        mean, scale, bias = (self._channels(v, x.ndim) for v in (mean, scale, bias))
        return (x - mean) * scale + bias

    def batch_norm_relu(self, x: Any, weight: Any, bias: Any) -> Any:
        return self.relu(self.batch_norm(x, weight, bias))

    def relu(self, x: Any) -> Any:
        return self.nn.relu(x)

    def cross_entropy(self, z: Any, labels: Any) -> Any:
        return -self.np.take_along_axis(self.nn.log_softmax(z), labels[:, None], 1).mean()

    def _window(self, x: Any, start: float, op: Any, kernel_size: int, stride: int, padding: int) -> Any:
        size, step, around = ([1] * 4, [1] * 4, [(0, 0)] * 4)
        for axis in self.axes:
            size[axis], step[axis], around[axis] = kernel_size, stride, (padding, padding)
        return self.lax.reduce_window(x, start, op, size, step, around)

    def max_pool(self, x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        return self._window(x, -np.inf, self.lax.max, kernel_size, stride, padding)

    def avg_pool(self, x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        total = self._window(x, 0.0, self.lax.add, kernel_size, stride, padding)
        if not padding:
            return total / kernel_size**2
        one_map = self.np.ones([x.shape[axis] if axis in self.axes else 1 for axis in range(4)], x.dtype)
        return total / self._window(one_map, 0.0, self.lax.add, kernel_size, stride, padding)

    def mean(self, x: Any) -> Any:
        return x.mean(self.axes)

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return x @ w.T if b is None else x @ w.T + b

    def pad_shortcut(self, x: Any, stride: int, new: int) -> Any:
        at: list[Any] = [slice(None)] * 4
        around = [(0, 0)] * 4
        for axis in self.axes:
            at[axis] = slice(None, None, stride)
        around[1 if self.layout == "NCHW" else 3] = (new // 2, new - new // 2)
        return self.np.pad(x[tuple(at)], around)

    def sigmoid(self, x: Any) -> Any:
        return self.nn.sigmoid(x)

    def softplus(self, x: Any) -> Any:
        return self.nn.softplus(x)

    def exp(self, x: Any) -> Any:
        return self.np.exp(x)

    def root(self, x: Any) -> Any:
        return self.np.sqrt(self.np.maximum(x, 1e-12))

    def noise_like(self, x: Any) -> Any:
        self.key, key = self.jax.random.split(self.key)
        return self.jax.random.normal(key, x.shape, x.dtype)

    def gaussian_pool(self, x: Any, eta: Any, kernel_size: int, stride: int, padding: int) -> Any:
        """μ + η s with v = mean(x²) − μ², the shortest way to write it; ours subtracts μ first."""
        mean = self.avg_pool(x, kernel_size, stride, padding)
        variance = self.avg_pool(x * x, kernel_size, stride, padding) - mean * mean
        return mean + self.placed(eta) * self.np.sqrt(self.np.maximum(variance, EPS))

    def maxent_pool(self, x: Any, lam: Any, kernel_size: int, stride: int, padding: int) -> Any:
        if padding or kernel_size != stride:
            raise ValueError("maxent_pool: written for windows side by side")
        taps = self.np.stack([self._tap(x, i, j, stride) for i, j in np.ndindex(kernel_size, kernel_size)])
        return (self.nn.softmax(self.placed(lam) * taps, axis=0) * taps).sum(0)

    def _tap(self, x: Any, i: int, j: int, stride: int) -> Any:
        """Every window's sample (i, j)."""
        rows, columns = slice(i, None, stride), slice(j, None, stride)
        return x[:, :, rows, columns] if self.layout == "NCHW" else x[:, rows, columns]

    def composed(self, coefficients: Any, basis: Any) -> Any:
        """Filters (O, C, kh, kw) of a basis (m, kh, kw), by their coefficients (O, C, m)."""
        return self.np.tensordot(coefficients, basis, 1)

    def gaussian_taps(self, sigma: Any, radius: int) -> Any:
        """Sampled and normalised, (C or 1, 2r + 1)."""
        u = self.np.arange(-radius, radius + 1, dtype=sigma.dtype)
        return self.nn.softmax(-u * u / (2 * sigma[:, None] ** 2))  # exp, over its sum

    def gaussian_filter(self, x: Any, sigma: Any, radius: int) -> Any:
        return self.separable(x, self.gaussian_taps(sigma, radius), 0)

    def separable(self, x: Any, taps: Any, grow: int) -> Any:
        """Taps (C or 1, 2r + 1) along both axes, zeros around, `grow` more samples of output on every side."""
        c, pad = x.shape[1 if self.layout == "NCHW" else 3], taps.shape[-1] // 2 + grow
        if self.mode == "matrix":  # channels last
            rows, columns = (self._banded(taps, length, grow) for length in x.shape[1:3])
            letter = "c" if len(taps) > 1 else "z"
            return self.np.einsum(f"{letter}ih,{letter}jw,nhwc->nijc", rows, columns, x)
        taps = self.np.broadcast_to(taps, (c, taps.shape[-1]))
        for kernel, around in (
            (taps[:, None, :, None], [(pad, pad), (0, 0)]),
            (taps[:, None, None], [(0, 0), (pad, pad)]),
        ):
            numbers = (self.layout, "OIHW", self.layout)
            x = self.lax.conv_general_dilated(
                x, kernel, (1, 1), around, dimension_numbers=numbers, feature_group_count=c
            )
        return x

    def _banded(self, taps: Any, length: int, grow: int) -> Any:
        """(C or 1, length + 2 grow, length): row i reads sample j through tap j − i + grow + r."""
        i, j = np.arange(length + 2 * grow)[:, None], np.arange(length)
        at = np.clip(j - i + grow + taps.shape[-1] // 2 + 1, 0, taps.shape[-1] + 1)
        return self.np.pad(taps, ((0, 0), (1, 1)))[:, at]
