"""Every CUDA kernel run, against the readable form in float64: on a card, or where CuPy computes on the CPU.

Bounds.  A result that is a sum of products, Σ a b over m terms, may err by γ_m Σ |a| |b|, and Σ |a| |b| is what the
readable form gives for |a| and |b|.  For the others, `close` allows so many units of rounding of the largest value.
Half precision is stored only, so to these bounds it adds the rounding of the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.kernels import array, cuda
from minidl.kernels.cuda.launch import counted, launch, pixel_blocks
from minidl.kernels.segments import Segment
from tests.gpu.kernel_helpers import (
    ORDERS,
    ROUNDING,
    TYPES,
    close,
    computed_in,
    cp,
    normal,
    on_card,
    orders,
    run,
    types,
)

pytestmark = pytest.mark.usefixtures("cupy")  # the real one: on the CPU, every launch in three orders, and on a card

# ---- optimizer ----------------------------------------------------------------------------------------------------

SEGMENTS = (Segment(300), Segment(301, 1e-2, 0.1), Segment(1000, 1e-4, 2.0))
SCALING = [(None, None), (0.125, False), (0.125, True)]


def scaling(inverse_scale: float | None, found_inf: bool | None) -> dict[str, Any]:
    if inverse_scale is None:
        return {}
    return {"inverse_scale": cp.asarray([inverse_scale], np.float32), "found_inf": cp.asarray([found_inf])}


def on_host(options: dict[str, Any]) -> dict[str, Any]:
    return {k: cp.asnumpy(v) if isinstance(v, cp.ndarray) else v for k, v in options.items()}


@pytest.mark.parametrize("scale", SCALING, ids=["unscaled", "scaled", "overflow"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_sgd_step(dtype: str, nesterov: bool, scale: Any) -> None:
    rng, master = np.random.default_rng(0), computed_in(dtype)
    p, v, g = normal(rng, (1000,), master), normal(rng, (1000,), master), normal(rng, (1000,), dtype)
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, **scaling(*scale)}
    with counted() as launches:
        got = cuda.sgd_step(*map(on_card, (p, g, v)), SEGMENTS, **options)
    assert launches == {"sgd_step": 1}
    want = array.sgd_step(p, g, v, SEGMENTS, **on_host(options))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        close(cp.asnumpy(a), b.astype(np.float64), str(a.dtype), 4)
    if scale[1]:
        assert (cp.asnumpy(got[0]) == p).all() and (cp.asnumpy(got[1]) == v).all()


def test_sgd_without_momentum_forgets_the_velocity() -> None:
    p, g, v = np.ones(3, np.float32), np.ones(3, np.float32), np.array([np.inf, np.nan, 1], np.float32)
    got = cuda.sgd_step(*map(on_card, (p, g, v)), (Segment(3),), lr=0.5, momentum=0.0, nesterov=False)
    assert [cp.asnumpy(a).tolist() for a in got] == [[0.5] * 3, [1.0] * 3, [0.5] * 3]


@pytest.mark.parametrize("scale", SCALING, ids=["unscaled", "scaled", "overflow"])
@pytest.mark.parametrize("dtype", TYPES)
def test_adamw_step(dtype: str, scale: Any) -> None:
    rng, master = np.random.default_rng(0), computed_in(dtype)
    p, m, g = normal(rng, (1000,), master), normal(rng, (1000,), master), normal(rng, (1000,), dtype)
    s, steps = abs(normal(rng, (1000,), master)), np.array([0, 3, 70])
    options = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, **scaling(*scale)}
    with counted() as launches:
        got = cuda.adamw_step(*map(on_card, (p, g, m, s, steps)), SEGMENTS, **options)
    assert launches == {"adamw_step": 1}
    want = array.adamw_step(p, g, m, s, steps, SEGMENTS, **on_host(options))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        close(cp.asnumpy(a), b.astype(np.float64), "float64" if a.dtype == np.int64 else str(a.dtype), 8)


@pytest.mark.parametrize(("bad", "good_steps"), [(None, 3), (None, 1999), (5, 3), (9_999, 1999)])
@pytest.mark.parametrize("dtype", TYPES)
def test_loss_scale_step(dtype: str, bad: int | None, good_steps: int) -> None:
    g = np.ones(10_000, dtype)
    if bad is not None:
        g[bad] = [np.inf, np.nan][bad % 2]
    state = np.array([1024], np.float32), np.array([good_steps], np.int32)
    got = cuda.loss_scale_step(on_card(g), *map(on_card, state))
    for a, b in zip(got, array.loss_scale_step(g, *state), strict=True):
        assert a.dtype == b.dtype and cp.asnumpy(a).tolist() == b.tolist()


def test_segments_that_do_not_fit_are_refused() -> None:
    p = cp.zeros(3, np.float32)
    with pytest.raises(ValueError, match="the last at 3, got ends"):
        cuda.sgd_step(p, p, p, (Segment(2),), lr=0.1, momentum=0.9, nesterov=False)
    with pytest.raises(ValueError, match="at most 512, got 513"):
        cuda.sgd_step(p, p, p, (Segment(3),) * 513, lr=0.1, momentum=0.9, nesterov=False)


# ---- batch normalisation and functions of one element -------------------------------------------------------------

# Shapes: more rows than one chunk takes, few channels, more channels than a tile, one row, other numbers of axes.
NORMS = {
    "chunks": (3, 5, 20, 30),
    "tiles": (2, 70, 5, 3),
    "odd": (7, 1, 3, 3),
    "vectors": (40, 33),
    "sequences": (4, 6, 9),
    "volumes": (2, 3, 2, 3, 4),
}
OFFSET = 1000.0  # of some channels, in standard deviations: E[x²] - μ² would lose six digits
norms = pytest.mark.parametrize("shape", NORMS.values(), ids=NORMS)


def norm_case(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """x with channels far from 0 (near, in half precision, which could not hold them), and what else is needed."""
    offset = np.where(np.arange(shape[1]) % 2, OFFSET if dtype != "float16" else 3, 0)
    x = (rng.normal(size=shape) + offset.reshape(-1, *(1,) * (len(shape) - 2))).astype(dtype)
    stats = {name: rng.normal(size=shape[1]).astype(computed_in(dtype)) for name in ("weight", "bias")}
    exact = x.astype(np.float64)
    axes = (0, *range(2, len(shape)))
    mean, var = exact.mean(axis=axes), exact.var(axis=axes)
    r = 1 / np.sqrt(var + 1e-5)
    return (
        {"x": x, "gy": rng.normal(size=shape).astype(dtype)}
        | stats
        | {name: value.astype(computed_in(dtype)) for name, value in (("mean", mean), ("r", r))}
    )


@types
@pytest.mark.parametrize("relu", [False, True])
@norms
def test_batch_norm(shape: tuple[int, ...], relu: bool, dtype: str) -> None:
    of = norm_case(shape, dtype, np.random.default_rng(0))
    with counted() as launches:
        cuda.batch_norm(*(on_card(of[k]) for k in ("x", "weight", "bias")), 1e-5, relu)
    assert launches.total() == 3
    got, want = run("batch_norm", *(of[k] for k in ("x", "weight", "bias")), 1e-5, relu)
    single = computed_in(dtype)
    assert [a.dtype for a in got] == [dtype, single, single]
    unit, column = ROUNDING[single], (-1, *(1,) * (len(shape) - 2))
    mean_error = 16 * unit * abs(of["x"].astype(np.float64)).mean(axis=(0, *range(2, len(shape))))
    assert (abs(got[1] - want[1]) <= mean_error).all()
    assert (abs(got[2] - want[2]) <= 64 * unit * want[2] + mean_error**2).all()  # as x is looked at twice
    moved = abs(of["weight"]) / np.sqrt(want[2] + 1e-5) * mean_error
    bound = moved.reshape(column) + 64 * unit * abs(want[0]).max()
    assert (abs(got[0] - want[0]) <= bound + (ROUNDING[dtype] + unit) * abs(want[0])).all()


@types
@pytest.mark.parametrize("relu", [False, True])
@norms
def test_batch_norm_adjoint(shape: tuple[int, ...], relu: bool, dtype: str) -> None:
    of = norm_case(shape, dtype, np.random.default_rng(0))
    args = [of[k] for k in ("gy", "x", "mean", "r", "weight")]
    y = of["gy"][::-1].copy() if relu else None  # any numbers, half of them positive
    with counted() as launches:
        cuda.batch_norm_adjoint(*map(on_card, args), None if y is None else on_card(y))
    assert launches.total() == 3
    got, want = run("batch_norm_adjoint", *args, y)
    assert [a.dtype for a in got] == [dtype, computed_in(dtype), computed_in(dtype)]
    terms = of["x"].size // shape[1]
    for a, b in zip(got, want, strict=True):
        close(a, b, str(a.dtype), 16 + terms**0.5)
    sums, want_sums = run("channel_products", *args[:3])
    for a, b in zip(sums, want_sums, strict=True):
        close(a, b, str(a.dtype), 16 + terms**0.5)


@types
@pytest.mark.parametrize("relu", [False, True])
@norms
def test_channel_affine(shape: tuple[int, ...], relu: bool, dtype: str) -> None:
    of = norm_case(shape, dtype, np.random.default_rng(0))
    (got,), (want,) = run("channel_affine", *(of[k] for k in ("x", "mean", "weight", "bias")), relu)
    assert got.dtype == dtype
    close(got, want, dtype, 8)


@types
def test_what_there_is_one_of_a_channel(dtype: str) -> None:
    rng = np.random.default_rng(0)
    v, w = (rng.uniform(0.1, 2, size=600).astype(dtype) for _ in range(2))
    for routine, args in (("inverse_root", (v, 1e-3)), ("weighted_sum", (0.9, v, 0.1, w))):
        (got,), (want,) = run(routine, *args)
        assert got.dtype == dtype
        close(got, want, dtype, 4)


@types
@pytest.mark.parametrize("of_b", ORDERS)
@orders
def test_functions_of_one_element(order: str, of_b: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b = normal(rng, (2, 5, 4, 3), dtype, order), normal(rng, (2, 5, 4, 3), dtype, of_b)
    a[0, 0, 0] = [np.nan, 0.0, -np.inf]
    for routine, args in (("relu", (a,)), ("relu_adjoint", (b, a)), ("add", (a, b)), ("add_relu", (a, b))):
        (got,), (want,) = run(routine, *args)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, want.astype(dtype))
    lies = cuda.relu(on_card(a))
    assert (lies.transpose(0, 2, 3, 1) if order == "last" else lies).flags.c_contiguous


# ---- what every launch must keep to -------------------------------------------------------------------------------


def test_a_launch_refuses_what_cuda_would_misread() -> None:
    x = cp.zeros((4, 6), np.float32)
    with pytest.raises(TypeError, match="NumPy's, got int"):
        launch("window_sum", np.float32, (1,), (256,), x, x, 3)
    with pytest.raises(ValueError, match="contiguous"):
        launch("window_sum", np.float32, (1,), (256,), x.T)
    with pytest.raises(OverflowError):
        pixel_blocks(2**31 - 1, 1)


@pytest.mark.parametrize("dtype", ["complex128"])
def test_types_without_a_kernel_go_to_the_readable_form(dtype: str) -> None:
    x = cp.ones((1, 1, 2, 2), dtype)
    with counted() as launches:
        assert cp.asnumpy(cuda.window_sum(x, (2, 2), (1, 1), (0, 0), (1, 1))).tolist() == [[[[4]]]]
    assert launches.total() == 0
