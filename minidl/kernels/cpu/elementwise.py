"""Functions of one element at memory speed: dense arrays are cut into runs of half a million elements.

Of NumPy's ways to say the same, those it has vector instructions for are chosen.  Two million float32 on one core of
an EPYC (NumPy 2.4): `np.clip(x, 0, inf)` 0.4 ms, `np.maximum(x, 0)` 0.8 ms; `np.where(y > 0, gy, 0)` 8 ms,
`gy * (y > 0)` 1.1 ms, the product of bit patterns below 0.8 ms; on two cores 0.2 and 0.3 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.kernels.array import elementwise as array
from minidl.kernels.cpu.threads import run_blocks, split

__all__ = ["add", "relu", "relu_adjoint"]

BLOCK = 1 << 19
BITS: dict[Any, type[np.integer]] = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def relu(x: np.ndarray) -> np.ndarray:
    """As `array.relu`."""
    if x.dtype not in BITS:
        return array.relu(x)
    zero, infinity = x.dtype.type(0), x.dtype.type(np.inf)
    return _over_runs(lambda x, y: np.clip(x, zero, infinity, out=y), x)


def relu_adjoint(gy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As `array.relu_adjoint`.

    A float is positive if its bits are, read as an integer.  Clipped to 0 … 1 they are the mask, and the product of
    0 or 1 with the bits of gy is 0 or gy to the last bit.  (A NaN in y counts as positive if its sign bit is 0.)
    """
    if y.dtype not in BITS:
        return array.relu_adjoint(gy, y)
    bits = BITS[y.dtype]
    zero, one = bits(0), bits(1)

    def run(gy: np.ndarray, y: np.ndarray, gx: np.ndarray) -> None:
        np.clip(y.view(bits), zero, one, out=gx.view(bits))
        np.multiply(gx.view(bits), gy.view(bits), out=gx.view(bits))

    return _over_runs(run, gy, y)


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As `array.add`."""
    if a.shape != b.shape or a.dtype != b.dtype or a.size < BLOCK:
        return a + b
    return _over_runs(lambda b, a, y: np.add(a, b, out=y), b, a)  # in the memory order of a


def _over_runs(run: Callable[..., object], *arrays: np.ndarray) -> np.ndarray:
    """`run(*arrays, out)` for arrays of one shape, piece by piece where all of them lie densely in one order."""
    y = np.empty_like(arrays[-1])
    order = np.argsort([-stride for stride in y.strides], kind="stable")
    views = [x.transpose(order) for x in (*arrays, y)]
    if not all(view.flags.c_contiguous for view in views):
        run(*arrays, y)
        return y
    runs = [view.reshape(-1) for view in views]
    run_blocks(lambda s: run(*(r[s] for r in runs)), split(y.size, at_most=BLOCK))
    return y
