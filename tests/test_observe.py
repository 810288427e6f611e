"""`observe`: whoever times or traces the ops sees each of them once, and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.autograd import Function, observe


def loss_of(x: Tensor) -> Tensor:
    return ops.sum(ops.exp(x) * x)


def test_every_forward_and_backward_passes_once_and_computes_the_same() -> None:
    seen: list[tuple[str, str]] = []

    def note(fn: Function, method: Any, *arrays: Any, **params: Any) -> Any:
        seen.append((fn.name, method.__name__))
        return method(*arrays, **params)

    watched, plain = (Tensor(np.linspace(-1, 1, 5), requires_grad=True) for _ in range(2))
    with observe(note):
        loss_of(watched).backward()
    loss_of(plain).backward()
    forwards = [("Exp", "forward"), ("Mul", "forward"), ("Sum", "forward")]
    assert seen == [*forwards, *((name, "backward") for name, _ in reversed(forwards))]
    assert np.array_equal(watched.grad, plain.grad)  # type: ignore[arg-type]


def test_an_observer_is_gone_afterwards_even_after_an_error() -> None:
    def refuse(fn: Function, method: Any, *arrays: Any, **params: Any) -> Any:
        raise KeyError(fn.name)

    x = Tensor([1.0])
    with pytest.raises(KeyError), observe(refuse):
        ops.exp(x)
    assert ops.exp(x).shape == (1,)


def test_the_innermost_observer_runs_the_op() -> None:
    def adding(n: float) -> Any:
        return lambda fn, method, *arrays, **params: method(*arrays, **params) + n

    with observe(adding(10)):
        with observe(adding(1)):
            inner = ops.relu(Tensor([2.0])).item()
        assert (inner, ops.relu(Tensor([2.0])).item()) == (3.0, 12.0)
