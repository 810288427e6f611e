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

__all__ = ["add", "add_relu", "relu", "relu_adjoint"]

BLOCK = 1 << 19
BITS: dict[Any, type[np.integer]] = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def relu(x: np.ndarray) -> np.ndarray:
    """As `array.relu`."""
    if x.dtype not in BITS:
        return array.relu(x)
    return _over_runs(rectify, x)


def relu_adjoint(gy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As `array.relu_adjoint`."""
    if y.dtype not in BITS:
        return array.relu_adjoint(gy, y)
    return _over_runs(mask, gy, y)


def rectify(x: np.ndarray, y: np.ndarray) -> None:
    """y = max(x, 0), which may be x itself."""
    np.clip(x, x.dtype.type(0), x.dtype.type(np.inf), out=y)


def mask(gy: np.ndarray, y: np.ndarray, gx: np.ndarray) -> None:
    """gx = gy where y > 0, else 0; dense arrays of a dtype in BITS, gx neither of the others.

    A float is positive if its bits are, read as an integer.  Clipped to 0 … 1 they are the mask, and the product of
    0 or 1 with the bits of gy is 0 or gy to the last bit.  (A NaN in y counts as positive if its sign bit is 0.)
    """
    bits = BITS[y.dtype]
    np.clip(y.view(bits), bits(0), bits(1), out=gx.view(bits))
    np.multiply(gx.view(bits), gy.view(bits), out=gx.view(bits))


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As `array.add`."""
    if a.shape != b.shape or a.dtype != b.dtype or a.size < BLOCK:
        return a + b
    return _over_runs(lambda b, a, y: np.add(a, b, out=y), b, a)  # in the memory order of a


def add_relu(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As `array.add_relu`, in one pass: the sum is cut at 0 while it is in cache."""
    if a.shape != b.shape or a.dtype != b.dtype or a.dtype not in BITS:
        return relu(a + b)

    def run(b: np.ndarray, a: np.ndarray, y: np.ndarray) -> None:
        np.add(a, b, out=y)
        rectify(y, y)

    return _over_runs(run, b, a)


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
