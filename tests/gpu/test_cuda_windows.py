"""The CUDA kernels of pooling, against the readable form in float64; the bounds stand in test_cuda_kernels.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.kernels import array, cuda
from minidl.kernels.cuda.launch import counted
from tests.gpu.kernel_helpers import (
    close,
    computed_in,
    cp,
    normal,
    on_card,
    orders,
    output_of,
    run,
    types,
    wide,
    windows,
    within_sum,
)

pytestmark = pytest.mark.usefixtures("cupy")  # the real one: on the CPU, every launch in three orders, and on a card

# ---- windows ------------------------------------------------------------------------------------------------------


@types
@orders
@windows
def test_window_sum(case: Any, order: str, dtype: str) -> None:
    x = normal(np.random.default_rng(0), case[0], dtype, order)
    within_sum("window_sum", case[1][0] * case[1][1], dtype, x, *case[1:])


@types
@orders
@windows
def test_window_sum_adjoint(case: Any, order: str, dtype: str) -> None:
    gy = normal(np.random.default_rng(0), output_of(case), dtype, order)
    within_sum("window_sum_adjoint", case[1][0] * case[1][1], dtype, gy, *case[:4])


@types
@orders
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@windows
def test_window_max(case: Any, dilation: tuple[int, int], order: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = normal(rng, case[0], dtype, order)
    x[...] = np.round(x * 2)  # ties
    x[0, 0] = -np.inf
    x[0, 1, 0, 0] = np.nan
    place = (*case[1:4], dilation)
    (y, index), (want_y, want_index) = run("window_max", x, *place, case[4])
    assert y.dtype == dtype and index.dtype == want_index.dtype
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_array_equal(index, want_index)
    gy = normal(rng, y.shape, dtype, order)
    within_sum("window_max_adjoint", case[1][0] * case[1][1], dtype, gy, index, case[0], *place)


def test_windows_of_more_than_256_taps() -> None:
    rng = np.random.default_rng(0)
    x, place = normal(rng, (1, 2, 20, 18), "float32"), ((18, 17), (1, 1), (0, 0), (1, 1))
    (y, index), (want_y, want_index) = run("window_max", x, *place, (3, 2))
    assert index.dtype == np.int32 and (y == want_y).all() and (index == want_index).all()
    within_sum("window_max_adjoint", 6, "float32", normal(rng, y.shape, "float32"), index, x.shape, *place)


# ---- stochastic pooling -------------------------------------------------------------------------------------------

ETAS = {"number": (), "channel": (1, -1, 1, 1), "image": (-1, -1, 1, 1), "row": (1, 1, -1, 1), "all": (-1,) * 4}
of_shape = pytest.mark.parametrize("like", ETAS.values(), ids=ETAS)


def spread(rng: np.random.Generator, like: tuple[int, ...], output: tuple[int, ...], dtype: str) -> np.ndarray:
    """η or λ of a shape that broadcasts to the output."""
    shape = tuple(n if axis < 0 else 1 for axis, n in zip(like, output, strict=True)) if like else ()
    return np.asarray(rng.uniform(0.2, 2.0, size=shape)).astype(dtype)


@types
@of_shape
@windows
def test_gaussian_pool(case: Any, like: tuple[int, ...], dtype: str) -> None:
    rng, counts_zeros = np.random.default_rng(0), len(like) == 0 or like[0] == -1
    x, eta = normal(rng, case[0], dtype, "sliced"), spread(rng, like, output_of(case), dtype)
    x[:, 0] = 3.0  # constant windows, whose variance is below ε
    x[:, 1] += 0 if dtype == "float16" else 100  # far from 0: E[x²] - μ² would cancel
    place, eps = case[1:4], 1e-3
    inside = array.window_sum(np.ones((1, 1, *case[0][2:])), *case[1:])[0, 0]
    divisor = np.full_like(inside, case[1][0] * case[1][1]) if counts_zeros else inside
    zeros = (divisor - inside).astype(dtype) if counts_zeros else None
    divisor = divisor.astype(dtype)
    with counted() as launches:
        got, want = run("gaussian_pool", x, eta, divisor, zeros, eps, *place, case[4])
    assert launches == {"gaussian_pool": 2}  # run twice
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        close(a, b, dtype, 64)
    mean, deviation = got[1:]
    gy = normal(rng, mean.shape, dtype, "last")
    (got_x,), _ = run("gaussian_pool_adjoint", gy, eta, x, mean, deviation, divisor, eps, *place)
    flat = deviation <= np.sqrt(np.asarray(eps, computed_in(dtype))).astype(dtype)
    kept = wide(mean), np.where(flat, eps**0.5, deviation)  # the floor as it rounds in float64
    close(got_x, array.gaussian_pool_adjoint(*map(wide, (gy, eta, x)), *kept, wide(divisor), eps, *place), dtype, 64)


@types
@of_shape
@windows
def test_maxent_pool(case: Any, like: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, lam = normal(rng, case[0], dtype, "sliced"), spread(rng, like, output_of(case), dtype)
    lam.reshape(-1)[0] *= -2
    place = case[1:4]
    y, kept = cuda.maxent_pool(*map(on_card, (x, lam)), *place, case[4])
    want, law = array.maxent_pool(wide(x), wide(lam), *place, case[4])
    assert y.dtype == dtype
    close(cp.asnumpy(y), want, dtype, 64)
    gy = normal(rng, want.shape, dtype, "last")
    gx = cuda.maxent_pool_adjoint(*map(on_card, (gy, x, lam)), y, kept, *place)
    rounded = wide(cp.asnumpy(y))  # what was stored of y is what the adjoint sees
    close(cp.asnumpy(gx), array.maxent_pool_adjoint(wide(gy), wide(x), wide(lam), rounded, law, *place), dtype, 128)
    variance = cuda.maxent_variance(*map(on_card, (x, lam)), y, kept, *place)
    assert gx.dtype == variance.dtype == dtype
    close(cp.asnumpy(variance), array.maxent_variance(wide(x), wide(lam), rounded, law, *place), dtype, 128)
