r"""What a call must give in a format, and how far rounding may carry it.

Inputs are rounded to the format first, so that only the function's own arithmetic errs.  Output and gradients are
computed beside it in float64.  With M and Mg of (2), (3) in `bounds`, and k roundings of unit u,

    |y - y_exact|  ≤  (g + g₆₄) M + 4 u max M,    |gx - gx_exact|  ≤  (g + g₆₄) Mg + 4 u max Mg               (1)
    g = γ_k = k u / (1 - k u),           k of (4) in `bounds`,    for float64 and float32                     (2)
    g = exp(λ √k u + k u²/(1 - u)) - 1,  k = terms + 8,           for float16, bfloat16 and TF32              (3)

where g₆₄ is (2) for float64, by which what is called exact may itself err, and the last term is for formulas whose
intermediate results do not shrink with the result, as those of x (1 + erf)/2 where x is far below 0.  In narrow
formats (2) says nothing, as k u nears 1; (3) takes rounding errors for independent with mean zero and is exceeded by
one result with probability below 2 exp(-λ²(1-u)²/2), 7e-6 at λ = 5.  `terms` is the number of inputs that an output
depends on.

An op that is a sum of products with coefficients ≥ 0 has M and Mg at the price of a call, as with all signs removed
nothing cancels: for f of degree d in all inputs together

    |y| + Σ_j |∂y/∂x_j| |x_j|    ≤  (1 + d) f(|x|, |w|, …)                                                    (4)
    |J|ᵀ|gy| + sensitivity       ≤  d J(|x|, |w|, …)ᵀ |gy|                                                    (5)

(3): N. Higham, T. Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np

from minidl.autograd import Tensor, no_grad
from minidl.check import textbook, truth
from minidl.check.bounds import roundings
from minidl.check.formats import FORMATS, Format, rounded
from minidl.check.spec.case import OpCase, Sample
from minidl.check.truth import Arrays, Truth
from minidl.kernels import use_kernels

Result = TypeVar("Result")


def unthreaded(f: Callable[..., Result]) -> Callable[..., Result]:
    """`f` with the kernels that start no threads: the calls of a check are small."""

    @wraps(f)
    def wrapped(*args: Any, **params: Any) -> Result:
        with use_kernels("array"):
            return f(*args, **params)

    return wrapped


forward, pull_back = unthreaded(truth.forward), unthreaded(truth.pull_back)

LAMBDA = 5.0
SLACK = 4  # units of the largest result, in (1)
EXACT = FORMATS["float64"]

# Sums of products with coefficients ≥ 0, and their degree d.
DEGREES = {
    **dict.fromkeys(("add", "sum", "mean", "avg_pool2d", "adaptive_avg_pool2d", "dropout", "getitem", "take"), 1),
    **dict.fromkeys(("split", "reshape", "flatten", "squeeze", "expand_dims", "transpose", "flip", "astype"), 1),
    **dict.fromkeys(("broadcast_to", "concat", "stack", "where"), 1),
    **dict.fromkeys(("mul", "matmul", "linear", "conv2d", "conv_transpose2d"), 2),
}


def growth(k: int, form: Format) -> float:
    """g of (2) and (3): how far k roundings can carry a relative error."""
    u = form.unit
    if form.narrow:
        return math.expm1(LAMBDA * math.sqrt(k) * u + k * u * u / (1 - u))
    return k * u / (1 - k * u) if k * u < 1 else math.inf


class Expected(Truth):
    """Output, gradients and bounds of one call in a format.

    Args:
        case, sample: the call; floating inputs and parameters are rounded to the format.
        form: the format of inputs and of the result.
        loops: whether the output is that of the reference's loops; else of the op, which is held to them.

    Example:
        >>> from minidl.check.spec import CASES
        >>> case = next(case for case in CASES if case.name == "matmul")
        >>> truth = Expected(case, Sample((np.array([[3.0]]), np.array([[1 / 3]]))), FORMATS["bfloat16"])
        >>> truth.y
        array([[1.00195312]])
    """

    def __init__(self, case: OpCase, sample: Sample, form: Format, *, loops: bool = False) -> None:
        inputs = tuple(None if x is None else _rounded(np.asarray(x), form) for x in sample.inputs)
        params = {k: _rounded(v, form) if isinstance(v, np.ndarray) else v for k, v in sample.params.items()}
        trusted = case if loops else replace(case, reference=lambda *xs, **kw: forward(case, xs, kw))
        super().__init__(trusted, Sample(inputs, params))
        if loops:
            forward(case, inputs, params)  # which refuses what is no call of the op; the loops do not look
        self.form = form
        self.gy = _rounded(self.gy, form)
        self.ties = bool(case.kinks) and any(
            x is not None and r is not None and np.unique(r).size < np.unique(x).size
            for x, r in zip(sample.inputs, inputs, strict=True)
        )
        self._pulled: dict[bytes, list[np.ndarray | None]] = {}

    @cached_property
    def _derivatives(self) -> Any:
        with use_kernels("array"):
            return super()._derivatives

    _sampled_sensitivity = unthreaded(Truth._sampled_sensitivity)

    @cached_property
    def _absolute(self) -> Arrays:
        return [None if x is None else np.abs(x) for x in self.sample.inputs]

    @cached_property
    def magnitude(self) -> np.ndarray:
        """M of (2) in `bounds`, by (4) where it applies."""
        if (degree := DEGREES.get(self.case.name)) is None:
            m = super().magnitude
            return m + textbook.output_size(self) if self.case.name in textbook.OPS else m
        return np.asarray((1 + degree) * forward(self.case, self._absolute, self.sample.params), np.float64)

    @cached_property
    def terms(self) -> int:
        """How many inputs an output depends on, at most."""
        if DEGREES.get(self.case.name) == 2:  # two for each product of ones
            ones = [None if x is None else np.ones_like(x) for x in self.sample.inputs]
            return int(2 * forward(self.case, ones, self.sample.params).max(initial=0.0))
        counts = [np.count_nonzero(j, axis=1) for j in self.jacobians if j is not None]
        return int(np.max(sum(counts), initial=0)) if counts else 0

    def growth(self, form: Format | None = None) -> float:
        """g + g₆₄ of (1) for results computed in `form`."""
        form = form or self.form
        k = self.terms + 8 if form.narrow else roundings(self.sample.inputs)
        return growth(k, form) + growth(roundings(self.sample.inputs), EXACT)

    def bound(self, size: Any, form: Format | None = None) -> np.ndarray:
        """(1) for a result of size M or Mg; it never falls below what underflow may lose."""
        unit = (form or self.form).unit + EXACT.unit
        tiny = {"float64": 2.0**-1022, "float16": 2.0**-14}.get(self.form.name, 2.0**-126)
        return self.growth(form) * size + SLACK * unit * np.max(size, initial=0.0) + tiny

    @cached_property
    def size(self) -> np.ndarray:
        """M as the output's bound takes it: everywhere its maximum where errors are relative to that."""
        m = self.magnitude
        return np.full_like(m, m.max(initial=0.0)) if self.case.normwise else m

    def gradient(self, i: int, gy: np.ndarray) -> np.ndarray:
        """What backward must return for input i: what minidl's returns, which the tests hold to derivatives."""
        key = gy.tobytes()
        if key not in self._pulled:
            self._pulled[key] = pull_back(self.case, self.sample.inputs, self.sample.params, gy, self.wanted)[1]
        g = self._pulled[key][i]
        assert g is not None
        return g

    def gradient_size(self, i: int, gy: np.ndarray) -> np.ndarray:
        """Mg of (3) in `bounds`, by (5) where it applies."""
        x = self.sample.inputs[i]
        assert x is not None
        if (degree := DEGREES.get(self.case.name)) is None:
            jacobian, sensitivity = self.jacobians[i], self._sensitivity(gy)[i]
            assert jacobian is not None and sensitivity is not None
            size = (np.abs(gy).ravel() @ np.abs(jacobian)).reshape(x.shape) + sensitivity
            if self.case.name in textbook.OPS:
                size = size + textbook.gradient_size(self, i, gy)
        else:
            size = degree * self._absolute_gradients(gy)[i]
        cancelled = (np.abs(gy).ravel() * self.magnitude.ravel()).max(initial=0.0)
        largest = np.abs(x).max(initial=0.0)
        return size + (cancelled / largest if largest else 0.0)

    def left(self, i: int) -> np.ndarray:
        """What the op leaves in a constant that it moves."""
        with use_kernels("array"), no_grad():
            xs = [None if x is None else Tensor(x) for x in self.sample.inputs]
            self.case.op(*xs, **self.sample.params)
        moved = xs[i]
        assert moved is not None
        return np.asarray(moved.data)

    def left_size(self, i: int) -> np.ndarray:
        """What rounding of a running mean or variance is relative to: its old value, and the batch's E[x²] or E|x|."""
        x, old = self.sample.inputs[0], self.sample.inputs[i]
        assert x is not None and old is not None
        largest = float(max(np.max(x * x, initial=0.0), np.abs(x).max(initial=0.0)))
        return np.abs(old) + np.abs(self.left(i)) + 2 * largest

    def _absolute_gradients(self, gy: np.ndarray) -> list[Any]:
        key = b"|" + gy.tobytes()
        if key not in self._pulled:
            self._pulled[key] = pull_back(self.case, self._absolute, self.sample.params, np.abs(gy), self.wanted)[1]
        return self._pulled[key]


def _rounded(x: np.ndarray, form: Format) -> np.ndarray:
    return rounded(x, form.bits) if x.dtype.kind == "f" and form.bits < EXACT.bits else x
