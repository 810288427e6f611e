"""Elementwise ops, activations, reductions and shapes beside PyTorch's: values, gradients and choices at kinks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minidl import Tensor, ops

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5))
P = RNG.uniform(0.3, 3.0, (4, 5))
ROW = RNG.normal(size=5)
KINKS = np.array([[-1.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]])  # at 0, at the bounds, with ties in rows
TAIL = np.array([-700.0, -40.0, -10.0, -1e-9, 0.0, 1e-9, 10.0, 40.0, 700.0])
CONDITION = RNG.random((4, 5)) < 0.5
INDICES = [2, 0, 2, 3]

Case = tuple[Callable, Callable, tuple[np.ndarray, ...]]
TABLE: dict[str, Case] = {
    "add": (ops.add, torch.add, (X, ROW)),
    "sub": (ops.sub, torch.sub, (ROW, X)),
    "mul": (ops.mul, torch.mul, (X, ROW)),
    "div": (ops.div, torch.div, (X, P)),
    "pow": (ops.pow, torch.pow, (P, X)),
    "pow of 0": (ops.pow, torch.pow, (np.zeros(4), np.array([0.0, 1.0, 2.0, 3.5]))),
    "square": (lambda x: x**2, lambda x: x**2, (X,)),
    "reciprocal": (lambda x: 1 / x, lambda x: 1 / x, (P,)),
    "neg": (ops.neg, torch.neg, (X,)),
    "exp": (ops.exp, torch.exp, (X,)),
    "log": (ops.log, torch.log, (P,)),
    "sqrt": (ops.sqrt, torch.sqrt, (P,)),
    "abs": (ops.abs, torch.abs, (KINKS,)),
    "clip": (lambda x: ops.clip(x, 0.0, 1.0), lambda x: torch.clamp(x, 0.0, 1.0), (KINKS,)),
    "maximum": (ops.maximum, torch.maximum, (KINKS, KINKS[::-1].copy())),
    "minimum": (ops.minimum, torch.minimum, (KINKS, KINKS[::-1].copy())),
    "where": (
        lambda a, b: ops.where(CONDITION, a, b),
        lambda a, b: torch.where(torch.tensor(CONDITION), a, b),
        (X, ROW),
    ),
    "tanh": (ops.tanh, torch.tanh, (TAIL,)),
    "sigmoid": (ops.sigmoid, torch.sigmoid, (TAIL,)),
    "softplus": (ops.softplus, lambda x: F.softplus(x, threshold=1e9), (np.clip(TAIL, -700, 40),)),
    "softplus, beta": (lambda x: ops.softplus(x, 2.5), lambda x: F.softplus(x, 2.5, 1e9), (X,)),
    "relu": (ops.relu, F.relu, (KINKS,)),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2), (KINKS,)),
    "silu": (ops.silu, F.silu, (TAIL,)),
    "gelu": (ops.gelu, F.gelu, (TAIL,)),
    "gelu, tanh": (lambda x: ops.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh"), (TAIL,)),
    "sum": (lambda x: ops.sum(x, (0, -1)), lambda x: x.sum((0, -1)), (X,)),
    "mean": (lambda x: ops.mean(x, 1, True), lambda x: x.mean(1, True), (X,)),
    "max": (lambda x: ops.max(x, 1), lambda x: torch.amax(x, 1), (KINKS,)),
    "min": (lambda x: ops.min(x, 1), lambda x: torch.amin(x, 1), (KINKS,)),
    "var": (lambda x: ops.var(x, 0, correction=1), lambda x: torch.var(x, 0), (X,)),
    "logsumexp": (lambda x: ops.logsumexp(x, 0), lambda x: torch.logsumexp(x, 0), (TAIL.reshape(3, 3),)),
    "reshape": (lambda x: ops.reshape(x, (2, -1)), lambda x: x.reshape(2, -1), (X,)),
    "transpose": (lambda x: x.T, lambda x: x.T, (X,)),
    "broadcast_to": (lambda x: ops.broadcast_to(x, (3, 5)), lambda x: torch.broadcast_to(x, (3, 5)), (ROW,)),
    "concat": (lambda a, b: ops.concat([a, b, a], 1), lambda a, b: torch.cat([a, b, a], 1), (X, P)),
    "stack": (lambda a, b: ops.stack([a, b], -1), lambda a, b: torch.stack([a, b], -1), (X, P)),
    "split": (lambda x: ops.split(x, 2, 1)[2], lambda x: torch.split(x, 2, 1)[2], (X,)),
    "flip": (lambda x: ops.flip(x, (0, 1)), lambda x: torch.flip(x, (0, 1)), (X,)),
    "take": (lambda x: ops.take(x, INDICES, 1), lambda x: x.index_select(1, torch.tensor(INDICES)), (X,)),
    "slices": (lambda x: x[1:, None, 3::2], lambda x: x[1:, None, 3::2], (X,)),
    "integers": (lambda x: x[INDICES, [1, 1, 1, 0]], lambda x: x[INDICES, [1, 1, 1, 0]], (X,)),
    "mask": (lambda x: x[CONDITION], lambda x: x[torch.tensor(CONDITION)], (X,)),
    "pad": (
        lambda x: ops.pad(x, ((2, 1), (0, 3)), value=1.5),
        lambda x: F.pad(x, (0, 3, 2, 1), value=1.5),
        (X,),
    ),
    **{
        f"pad, {mode}": (
            lambda x, mode=mode: ops.pad(x, ((0, 0), (2, 3)), mode),
            lambda x, name=name: F.pad(x[None], (2, 3), mode=name)[0],
            (X,),
        )
        for mode, name in [("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")]
    },
}


@pytest.mark.parametrize("name", TABLE)
def test_values_and_gradients_are_pytorchs(name: str) -> None:
    ours, theirs, inputs = TABLE[name]
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    ts = [torch.tensor(x, requires_grad=True) for x in inputs]
    y, t = ours(*xs), theirs(*ts)
    gy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(gy)
    t.backward(torch.tensor(gy))
    np.testing.assert_allclose(y.data, t.detach().numpy(), rtol=1e-13, atol=1e-14)
    for x, other in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad, other.grad.numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("x", [[-np.inf, -np.inf], [1000.0, 1000.0], [-np.inf, 0.0]])
def test_logsumexp_at_its_edges_is_pytorchs(x: list[float]) -> None:
    assert ops.logsumexp(np.array(x)).item() == torch.logsumexp(torch.tensor(x, dtype=torch.float64), 0).item()
