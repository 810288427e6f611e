"""What one call of an op must give, known without its backward: output, Jacobians and rounding bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from minidl.autograd import Tensor, no_grad
from minidl.check.bounds import gamma, roundings
from minidl.check.derivative import STEP, complex_step, richardson
from minidl.check.spec.case import OpCase, Sample
from minidl.device import CPU, Array, Device, asnumpy

Arrays = Sequence[np.ndarray | None]


def forward(case: OpCase, inputs: Arrays, params: Mapping[str, Any], device: Device = CPU) -> np.ndarray:
    """The op's output for these arrays on `device`, nothing recorded."""
    with no_grad():
        return fetched(case.op(*leaves(inputs, (), device), **placed(params, device)).data, device)


def leaves(inputs: Arrays, wanted: Sequence[int], device: Device = CPU) -> list[Tensor | None]:
    """A Tensor on `device` for each array, requiring a gradient where its index is `wanted`."""
    return [None if x is None else Tensor(device.asarray(x), requires_grad=i in wanted) for i, x in enumerate(inputs)]


def placed(params: Mapping[str, Any], device: Device) -> dict[str, Any]:
    """`params` for an op on `device`: numbers go there; labels, indices and masks stay where they can be checked."""
    return {k: device.asarray(v) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v for k, v in params.items()}


def fetched(array: Array, device: Device) -> Any:
    """A result, or None, in NumPy's memory.

    Raises:
        TypeError: it is not on `device`.
    """
    if device.xp is np or array is None:
        return array
    if not isinstance(array, device.xp.ndarray):
        raise TypeError(f"a result on {device} must be an array there, got {type(array).__module__} {array!r:.60}")
    return asnumpy(array)


def pull_back(
    case: OpCase,
    inputs: Arrays,
    params: Mapping[str, Any],
    gy: np.ndarray,
    wanted: Sequence[int],
    device: Device = CPU,
) -> tuple[Tensor, list[np.ndarray | None]]:
    """The op's output on `device`, and its gradient for cotangent `gy` of the inputs whose indices are `wanted`."""
    xs = leaves(inputs, wanted, device)
    y = case.op(*xs, **placed(params, device))
    if wanted:
        y.backward(device.asarray(gy.astype(y.dtype, copy=False)))
    return y, [None if x is None else fetched(x.grad, device) for x in xs]


class Truth:
    """Output, Jacobians and rounding bounds of one call.

    The output is the reference's loops.  The Jacobians are derivatives of the op's own forward, which is held
    to that output; so they say what backward must return for any cotangent.  All of it is computed on the CPU.

    Attributes:
        case, sample: the call.
        device: where the op runs that is held to it.
        y: what the reference returns.
        wanted: indices of the inputs that have a gradient.
        gy: a random cotangent.  One of ones would pass a softmax whose backward returns zeros.

    Example:
        >>> from minidl.check.spec import CASES
        >>> case = next(case for case in CASES if case.name == "matmul")
        >>> truth = Truth(case, Sample((np.array([[2.0, 3.0]]), np.array([[5.0], [7.0]]))))
        >>> truth.y, truth.gradient(0, np.array([[1.0]]))
        (array([[31.]]), array([[5., 7.]]))
    """

    def __init__(self, case: OpCase, sample: Sample) -> None:
        inputs = tuple(None if x is None else np.asarray(x) for x in sample.inputs)  # a Generator draws scalars
        self.case, self.sample, self.device = case, replace(sample, inputs=inputs), CPU
        self.y = np.asarray(case.reference(*sample.inputs, **sample.params))
        self.wanted = [i for i, x in enumerate(sample.inputs) if x is not None and i not in case.constants]
        self.gy = np.random.default_rng(1).normal(size=self.y.shape).astype(self.output_dtype(np.float64))
        self._sensitivities: dict[bytes, list[np.ndarray | None]] = {}

    def __str__(self) -> str:
        return f"{self.case.name}({self.sample})" + ("" if self.device.xp is np else f" on {self.device}")

    def on(self, device: Device) -> Truth:
        """The same for the op on `device`; Jacobians are computed once for both."""
        _ = self._derivatives
        other = copy(self)
        other.device = device
        return other

    def leaves(self, wanted: Sequence[int] | None = None) -> list[Tensor | None]:
        """The inputs as Tensors on the device; those that are `wanted`, by default all that have one, get gradients."""
        return leaves(self.sample.inputs, self.wanted if wanted is None else wanted, self.device)

    def call(self, xs: Sequence[Any]) -> Tensor:
        """The op on these inputs, with the sample's parameters."""
        return self.case.op(*xs, **placed(self.sample.params, self.device))

    def results(
        self, inputs: Arrays | None = None, params: Mapping[str, Any] | None = None, gy: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """Output and gradients that the op gives on its device, by default for the arguments of the sample."""
        inputs, params = inputs or self.sample.inputs, params or self.sample.params
        y, gxs = pull_back(self.case, inputs, params, self.gy if gy is None else gy, self.wanted, self.device)
        return fetched(y.data, self.device), gxs

    def output_dtype(self, dtype: Any) -> np.dtype:
        """The dtype of the output for inputs of `dtype`: the same, but for an op that is told another."""
        return np.dtype(self.sample.params.get("dtype", dtype))

    def gamma(self, dtype: Any) -> float:
        """The relative rounding bound of this call for inputs of `dtype`."""
        coarsest = max(dtype, self.output_dtype(dtype), key=lambda d: np.finfo(d).eps)
        return gamma(roundings(self.sample.inputs), coarsest)

    @cached_property
    def _derivatives(self) -> list[tuple[np.ndarray, np.ndarray | None] | None]:
        """Per input, its Jacobian of shape (size(y), size(x)) and what (4) of `derivative` says of its error."""
        inputs = list(self.sample.inputs)

        def derivative(i: int) -> tuple[np.ndarray, np.ndarray | None]:
            x = inputs[i]
            assert x is not None

            def f(z: np.ndarray) -> np.ndarray:
                return forward(self.case, [*inputs[:i], z, *inputs[i + 1 :]], self.sample.params)

            flat = (-1, x.size) if x.size else (self.y.size, 0)  # y.shape + x.shape → (size(y), size(x))
            if self.case.analytic:
                return complex_step(f, x).reshape(flat), None
            jacobian, error = richardson(f, x)
            return jacobian.reshape(flat), error.reshape(flat)

        return [derivative(i) if i in self.wanted else None for i in range(len(inputs))]

    @cached_property
    def jacobians(self) -> list[np.ndarray | None]:
        """Per input, ∂y/∂x of shape (size(y), size(x)); None for an input without gradient."""
        return [None if d is None else d[0] for d in self._derivatives]

    @cached_property
    def magnitude(self) -> np.ndarray:
        """M of (2) in `bounds`, shaped like y."""
        m = np.abs(self.y).astype(np.float64)  # astype: a reference may return float32
        for x, jacobian in zip(self.sample.inputs, self.jacobians, strict=True):
            if x is not None and jacobian is not None:
                m = m + (np.abs(jacobian) @ np.abs(x).ravel()).reshape(self.y.shape)
        return m

    @cached_property
    def _difference_noise(self) -> np.ndarray:
        """How far rounding of f carries R(h/2): six times its error over h, 0 for complex step; (size(y), 1)."""
        noise = 0.0 if self.case.analytic else 6 * self.gamma(np.float64) / STEP
        return noise * self.magnitude.reshape(-1, 1)

    def kinks(self) -> list[str]:
        """Inputs at which a kink lies within the step, so that no derivative can be had there."""
        near = []
        for i, d in enumerate(self._derivatives):
            if d is not None and d[1] is not None and np.any(d[1] > 2 * self._difference_noise + np.finfo(float).tiny):
                j = int(np.argmax((d[1] - 2 * self._difference_noise).max(axis=0)))
                near.append(f"input {i}, element {j}: a kink lies within {STEP:.0e} of this sample; move it away")
        return near

    def output_bound(self, dtype: Any = np.float64) -> np.ndarray:
        """How far rounding for inputs of `dtype` may carry the output from `y`: (2)."""
        m = self.magnitude
        if self.case.normwise:
            m = np.full_like(m, m.max(initial=0.0))
        return self.gamma(dtype) * m + np.finfo(dtype).tiny

    def gradient(self, i: int, gy: np.ndarray) -> np.ndarray:
        """Jᵀ gy: what backward must return for input i."""
        x, jacobian = self.sample.inputs[i], self.jacobians[i]
        assert x is not None and jacobian is not None
        return (gy.ravel() @ jacobian).reshape(x.shape)

    def gradient_bound(self, i: int, gy: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
        """How far rounding for inputs of `dtype`, (3), and the Jacobian's error may part backward from `gradient`."""
        x, derivative = self.sample.inputs[i], self._derivatives[i]
        assert x is not None and derivative is not None
        jacobian, error = derivative
        sensitivity = self._sensitivity(gy)[i]
        assert sensitivity is not None
        weights = np.abs(gy).ravel()
        cancelled = (weights * self.magnitude.ravel()).max(initial=0.0)
        cancelled = cancelled / scale if (scale := np.abs(x).max(initial=0.0)) else 0.0
        bound = self.gamma(dtype) * ((weights @ np.abs(jacobian)).reshape(x.shape) + sensitivity + cancelled)
        if error is not None:
            bound = bound + (weights @ (error + self._difference_noise)).reshape(x.shape)
        return bound + np.finfo(dtype).tiny

    def _sensitivity(self, gy: np.ndarray) -> list[np.ndarray | None]:
        """Σ_j |∂gx/∂x_j| |x_j| per input, sampled: |gx(x(1 ± δ)) - gx(x)| / δ added over random signs."""
        key = gy.tobytes()
        if key not in self._sensitivities:
            self._sensitivities[key] = self._sampled_sensitivity(gy)
        return self._sensitivities[key]

    def _sampled_sensitivity(self, gy: np.ndarray, delta: float = 2.0**-20) -> list[np.ndarray | None]:
        rng = np.random.default_rng(2)
        _, base = pull_back(self.case, self.sample.inputs, self.sample.params, gy, self.wanted)
        total = [None if g is None else np.zeros(g.shape) for g in base]
        for _ in range(3):
            moved = [
                None if x is None else x * (1 + delta * rng.choice([-1.0, 1.0], size=x.shape))
                for x in self.sample.inputs
            ]
            _, gxs = pull_back(self.case, moved, self.sample.params, gy, self.wanted)
            for t, g, g0 in zip(total, gxs, base, strict=True):
                if t is not None and g is not None and g0 is not None:
                    t += np.abs(g - g0) / delta
        return total


def difference(actual: Any, expected: np.ndarray, bound: np.ndarray, dtype: Any = np.float64) -> str | None:
    """How `actual` departs from `expected` by more than `bound`, or in kind; None if it does not."""
    if not isinstance(actual, np.ndarray):
        return f"is a {type(actual).__name__}, not an array"
    if actual.shape != expected.shape or actual.dtype != dtype:
        return f"is {actual.dtype}{actual.shape}, not {np.dtype(dtype)}{expected.shape}"
    with np.errstate(all="ignore"):
        error = np.where(actual == expected, 0.0, np.abs(actual.astype(np.float64) - expected))
        beyond = ~(error <= bound)  # NaN is beyond
        if not beyond.any():
            return None
        ratio = np.where(beyond, np.where(np.isnan(error), np.inf, error / bound), 0.0)
    j = np.unravel_index(int(np.argmax(ratio)), error.shape)
    at = f"[{', '.join(map(str, j))}]"
    return f"{at} is {actual[j]:.17g}, not {expected[j]:.17g}: {ratio[j]:.2g} × the rounding bound {bound[j]:.1g}"
