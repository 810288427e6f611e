"""What the tests of the CUDA kernels share: arrays on the card, the bounds of test_cuda_kernels.py, and windows."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from minidl.check.bounds import gamma
from minidl.kernels import array, cuda


class _CuPy:
    """CuPy, as the fixture `cupy` has imported it: not before a test runs."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules.get("cupy"), name)


cp = _CuPy()
TYPES = ["float16", "float32", "float64"]
ROUNDING = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}


def computed_in(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def on_card(value: Any) -> Any:
    """An array that lies in memory as `value` does."""
    if not isinstance(value, np.ndarray) or value.flags.c_contiguous:
        return cp.asarray(value) if isinstance(value, np.ndarray) else value
    order = np.argsort([-s for s in value.strides], kind="stable")
    if value.transpose(order).flags.c_contiguous:
        return cp.asarray(value.transpose(order)).transpose(np.argsort(order).tolist())
    assert value.shape[-1] * 2 == value.base.shape[-1]  # "sliced"
    return cp.asarray(value.base)[..., ::2]


def wide(value: Any) -> Any:
    """Floating point as float64, the rest as it is."""
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def run(routine: str, *args: Any, **options: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the kernels give, and what the readable form gives in float64."""
    inputs = [a if isinstance(a, np.ndarray) and a.dtype == np.int64 else on_card(a) for a in args]  # tables stay
    before = [a.copy() if isinstance(a, cp.ndarray) else a for a in inputs]
    got = as_tuple(getattr(cuda, routine)(*inputs, **options))
    again = as_tuple(getattr(cuda, routine)(*inputs, **options))
    for a, b in zip(got, again, strict=True):
        assert a is None or cp.asnumpy(a).tobytes() == cp.asnumpy(b).tobytes(), f"{routine}: not the same bits again"
    for a, b in zip(inputs, before, strict=True):
        assert not isinstance(a, cp.ndarray) or cp.asnumpy(a).tobytes() == cp.asnumpy(b).tobytes()
    want = as_tuple(getattr(array, routine)(*(wide(a) for a in args), **options))
    assert [a is None for a in got] == [b is None for b in want]
    return [cp.asnumpy(a) for a in got if a is not None], [b for b in want if b is not None]


def close(got: np.ndarray, want: np.ndarray, dtype: str, roundings: float) -> None:
    """Within so many units of rounding of the largest value."""
    assert got.shape == want.shape
    scale = abs(want).max() if want.size else 0.0
    bound = roundings * ROUNDING[computed_in(dtype)] * scale
    stored = ROUNDING[dtype] * abs(want) + (2.0**-24 if dtype == "float16" else 0)
    error = abs(got.astype(np.float64) - want)
    assert (error <= bound + stored).all(), f"{(error / (bound + stored)).max():.3g} times the bound"


def within_sum(routine: str, terms: int, dtype: str, *args: Any, roundings: int = 1, **options: Any) -> None:
    """|fl(Σ a b) − Σ a b| ≤ γ_m Σ |a| |b|; a result in half precision is rounded to it so often."""
    absolute = [abs(a) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args]
    sizes = as_tuple(getattr(array, routine)(*(wide(a) for a in absolute), **options))
    for got, want, size in zip(*run(routine, *args, **options), sizes, strict=True):
        assert got.shape == want.shape and got.dtype == dtype
        unit = gamma(terms, computed_in(dtype)) + (roundings * 2.0**-11 if dtype == "float16" else 0)
        error = abs(got.astype(np.float64) - want)
        assert (error <= unit * size + (roundings * 2.0**-24 if dtype == "float16" else 0)).all()


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, order: str = "C") -> np.ndarray:
    """Numbers in the memory order that is asked for: "C", channels "last", or every second one of a larger array."""
    x = rng.normal(size=shape).astype(dtype)
    if order == "last":
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if order == "sliced":
        large = np.full((*shape[:-1], 2 * shape[-1]), np.nan, dtype)
        large[..., ::2] = x
        return large[..., ::2]
    return x


# (shape of x, kernel, stride, padding, output): 3×3 of the nets, none overlapping, holes between, cut off at the end.
WINDOWS = {
    "3×3/2": ((2, 5, 9, 8), (3, 3), (2, 2), (1, 1), (5, 4)),
    "2×2/2": ((3, 16, 6, 8), (2, 2), (2, 2), (0, 0), (3, 4)),
    "holes": ((2, 3, 11, 10), (2, 1), (3, 4), (0, 0), (4, 3)),
    "cut off": ((1, 4, 5, 7), (4, 3), (2, 3), (2, 1), (4, 3)),
    "whole map": ((2, 130, 3, 2), (3, 2), (1, 1), (0, 0), (1, 1)),
}
ORDERS = ["C", "last", "sliced"]
windows = pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)
orders = pytest.mark.parametrize("order", ORDERS)
types = pytest.mark.parametrize("dtype", TYPES)


def output_of(case: Any) -> tuple[int, ...]:
    return (*case[0][:2], *case[4])
