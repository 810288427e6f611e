"""Every CUDA kernel run, against the readable form in float64: on a card, or where CuPy computes on the CPU.

Bounds.  A result that is a sum of products, Σ a b over m terms, may err by γ_m Σ |a| |b|, and Σ |a| |b| is what the
readable form gives for |a| and |b|.  For the others, `close` allows so many units of rounding of the largest value.
Half precision is stored only, so to these bounds it adds the rounding of the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.check.bounds import gamma
from minidl.device import Device
from minidl.kernels import array, cuda, reference
from minidl.kernels.cuda.launch import counted, launch
from minidl.kernels.geometry import output_size
from minidl.kernels.segments import Segment
from minidl.ops.gaussian import sources
from minidl.ops.pool import averaging_matrix

cp: Any = None  # CuPy, as the fixture below finds it


@pytest.fixture(autouse=True)
def _cupy(cupy: Device) -> None:
    global cp
    cp = cupy.xp


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


# ---- windows ------------------------------------------------------------------------------------------------------

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


# ---- convolution --------------------------------------------------------------------------------------------------

# (shape of x, shape of w, what differs from the plain geometry)
CONVS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3×3": ((2, 5, 7, 6), (4, 5, 3, 3), {"padding": (1, 1)}),
    "3×3/2": ((2, 3, 9, 8), (6, 3, 3, 3), {"padding": (1, 1), "stride": (2, 2)}),
    "1×1": ((2, 6, 5, 4), (7, 6, 1, 1), {}),
    "1×1/2": ((2, 6, 5, 4), (3, 6, 1, 1), {"stride": (2, 2)}),
    "1×1, cropped by nothing": ((2, 6, 4, 5), (3, 6, 1, 1), {"padding": (1, 0)}),
    "uneven": ((1, 2, 9, 10), (3, 2, 2, 4), {"padding": ((0, 3), (2, 1)), "stride": (3, 1), "dilation": (2, 3)}),
    "grouped": ((2, 6, 6, 5), (9, 2, 3, 2), {"padding": (1, 1), "groups": 3}),
    "grouped 1×1": ((2, 6, 3, 4), (4, 3, 1, 1), {"groups": 2}),
    "depthwise": ((2, 35, 6, 7), (35, 1, 3, 3), {"padding": (1, 1), "groups": 35}),
    "depthwise, two each": ((2, 3, 8, 9), (6, 1, 3, 2), {"stride": (2, 3), "dilation": (2, 1), "groups": 3}),
    "wide": ((1, 150, 3, 3), (2, 150, 2, 2), {}),
}
convolutions = pytest.mark.parametrize("case", CONVS.values(), ids=CONVS)


def convolution(case: Any, dtype: str, order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    rng, (x_shape, w_shape, given) = np.random.default_rng(0), case
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1} | given
    size = output_size(x_shape[2:], w_shape[2:], geometry["stride"], geometry["padding"], geometry["dilation"])
    gy = normal(rng, (x_shape[0], w_shape[0], *size), dtype, order)
    return normal(rng, x_shape, dtype, order), normal(rng, w_shape, dtype, order), gy, geometry


def check_convolution(case: Any, dtype: str, order: str) -> None:
    x, w, gy, geometry = convolution(case, dtype, order)
    n, o, kernel = gy.shape[0] * gy.shape[2] * gy.shape[3], len(w), w[0].size
    within_sum("correlate", kernel, dtype, x, w, **geometry)
    within_sum("correlate_adjoint_w", n, dtype, gy, x, w.shape, roundings=2, **geometry)  # of the parts, of the sum
    # (2) rounds to the stored type twice: in the product and in the sum of the taps
    terms = 2 * o * w[0, 0].size
    within_sum("correlate_adjoint_x", terms, dtype, gy, w, x.shape, roundings=1 + w[0, 0].size, **geometry)
    both = cuda.correlate_adjoints(*map(on_card, (gy, x, w)), **geometry)
    one = cuda.correlate_adjoint_x(on_card(gy), on_card(w), x.shape, **geometry)
    other = cuda.correlate_adjoint_w(on_card(gy), on_card(x), w.shape, **geometry)
    for a, b in zip(both, (one, other), strict=True):
        np.testing.assert_array_equal(cp.asnumpy(a), cp.asnumpy(b))


@types
@orders
@convolutions
def test_convolution(case: Any, order: str, dtype: str) -> None:
    check_convolution(case, dtype, order)


@types
@convolutions
def test_convolution_in_small_parts(case: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidl.kernels.cuda.conv.WORKSPACE", 700)
    check_convolution(case, dtype, "C")


def test_the_launches_of_a_convolution() -> None:
    x, w, gy, geometry = convolution(CONVS["3×3"], "float32", "last")
    x, w, gy = map(on_card, (x, w, gy))
    for routine, args, launches in (
        ("correlate", (x, w), {"im2col": 1}),
        ("correlate_adjoint_x", (gy, w, x.shape), {"col2im": 1}),
        ("correlate_adjoint_w", (gy, x, w.shape), {"im2col": 1}),
    ):
        with counted() as seen:
            getattr(cuda, routine)(*args, **geometry)
        assert seen == launches


# ---- filters ------------------------------------------------------------------------------------------------------

# (border, grow, whether each channel has its own taps)
FILTERS = [("zero", 0, False), ("zero", 2, True), ("wrap", 0, True), ("edge", 0, False), ("mirror", 0, True)]


@types
@pytest.mark.parametrize("needs_gx", [True, False])
@pytest.mark.parametrize(("border", "grow", "own"), FILTERS)
def test_separable_filter(border: str, grow: int, own: bool, needs_gx: bool, dtype: str) -> None:
    rng, radius, size = np.random.default_rng(0), 2, (9, 7)
    x = normal(rng, (2, 35, *size), dtype, "sliced")
    taps = normal(rng, (35 if own else 1, 2 * radius + 1), dtype)
    taps[0, 0] = 0  # an element of the matrix that is 0, and has a gradient
    reads = [sources(length, radius, border, grow) for length in size]
    for source, length in zip(reads, size, strict=True):
        within_sum("reading_matrix", 2 * radius + 1, dtype, taps, source, length)
    t_h, t_w = (array.reading_matrix(taps, s, n).astype(dtype) for s, n in zip(reads, size, strict=True))
    within_sum("separable_map", 4 * radius + 2, dtype, x, t_h, t_w, roundings=2)

    gy = normal(rng, (2, 35, *(n + 2 * grow for n in size)), dtype, "last")
    z = array.separable_map(x, t_h, t_w)[1].astype(dtype)
    given = [on_card(a) for a in (gy, x, z, t_h, t_w)]
    with counted() as launches:
        gx, gt_h, gt_w = cuda.separable_map_adjoint(*given, needs_gx, True, reads)
    assert launches == {"band_limits": 1, "along_axis": 1 + needs_gx, "matrix_gradient": 2}
    want = array.separable_map_adjoint(*map(wide, (gy, x, z, t_h, t_w)), needs_gx, True)
    size_of = array.separable_map_adjoint(*(abs(wide(a)) for a in (gy, x, z, t_h, t_w)), needs_gx, True)
    assert (gx is None) == (want[0] is None) and gt_h.dtype == dtype
    unit = gamma(2 * 11 * 11 + 2 * radius + 1, computed_in(dtype)) + (2 * 2.0**-11 if dtype == "float16" else 0)
    tiny = 2 * 2.0**-24 if dtype == "float16" else 0
    if gx is not None:
        assert (abs(cp.asnumpy(gx) - want[0]) <= unit * size_of[0] + tiny).all()
    for got, right, bound, source in zip((gt_h, gt_w), want[1:], size_of[1:], reads, strict=True):
        looked_at = reading_mask(source, right.shape[2])
        got = cp.asnumpy(got)
        assert (got[:, ~looked_at] == 0).all()
        assert (abs(got - right)[:, looked_at] <= (unit * bound + tiny)[:, looked_at]).all()
        within_sum("reading_matrix_adjoint", source.shape[1], dtype, got, source)


def reading_mask(source: np.ndarray, length: int) -> np.ndarray:
    return reference.reading_matrix(np.ones((1, len(source))), source, length)[0] > 0


@types
@orders
def test_any_pair_of_matrices(order: str, dtype: str) -> None:
    """Averages over a grid, and a matrix without zeros."""
    rng = np.random.default_rng(0)
    x, a, b = (
        normal(rng, (2, 3, 7, 5), dtype, order),
        averaging_matrix(7, 3).astype(dtype),
        normal(rng, (3, 4, 5), dtype),
    )
    within_sum("separable_map", 12, dtype, x, a, b, roundings=2)
    gy = normal(rng, (2, 3, 3, 4), dtype, order)
    z = array.separable_map(x, a, b)[1].astype(dtype)
    within_sum("separable_map_adjoint", 24, dtype, gy, x, z, a, b, True, True, roundings=2)
    within_sum("separable_map", 12, dtype, gy, a.T, b.swapaxes(1, 2), roundings=2)


# ---- loss and noise -----------------------------------------------------------------------------------------------


@types
@pytest.mark.parametrize(("shape", "axis"), [((5, 7), 1), ((300,), 0), ((2, 300, 3), 1), ((4, 1), 1)])
def test_cross_entropy(shape: tuple[int, ...], axis: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    z = (rng.normal(size=shape) * 20).astype(dtype)
    t = (rng.random(shape) * (rng.random(shape) < 0.5)).astype(dtype)
    z.reshape(-1)[0], t.reshape(-1)[0] = -np.inf if z.shape[axis] > 1 else 0, 0
    (losses, logp), (want, want_logp) = run("cross_entropy", z, t, axis)
    assert losses.dtype == logp.dtype == dtype
    close(losses, want, dtype, 64)
    finite = np.isfinite(want_logp)
    close(np.where(finite, logp, 0), np.where(finite, want_logp, 0), dtype, 8)
    assert (logp[~finite] == want_logp[~finite]).all()
    for gl in (np.asarray(0.25, dtype), np.expand_dims(rng.normal(size=want.shape).astype(dtype), axis)):
        (gz,), (want_gz,) = run("cross_entropy_adjoint", gl, logp, t, axis)
        close(gz, want_gz, dtype, 256)  # Σ t of up to 300 terms, exp of up to -100


def test_a_row_that_holds_nan_becomes_nan() -> None:
    for row in ([np.nan, 0, 1], [np.inf, 0, 1], [-np.inf] * 3, [1, 0, np.nan]):
        losses, logp = cuda.cross_entropy(cp.asarray([row], np.float32), cp.ones((1, 3), np.float32), 1)
        assert cp.isnan(losses).all() and cp.isnan(logp).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("noise", ["uniform_noise", "normal_noise"])
@pytest.mark.parametrize("shape", [(3,), (5, 7, 41), (4096, 3)])
def test_noise_has_the_bits_of_the_readable_form(shape: tuple[int, ...], noise: str, dtype: str) -> None:
    for key in (0, 2**63 + 12345):
        with counted() as launches:
            got = getattr(cuda, noise)(key, shape, dtype, xp=cp)
        assert launches == {noise: 1}
        want = getattr(array, noise)(key, shape, dtype)
        assert got.dtype == want.dtype and cp.asnumpy(got).tobytes() == want.tobytes()


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


@pytest.mark.parametrize("dtype", ["complex128"])
def test_types_without_a_kernel_go_to_the_readable_form(dtype: str) -> None:
    x = cp.ones((1, 1, 2, 2), dtype)
    with counted() as launches:
        assert cp.asnumpy(cuda.window_sum(x, (2, 2), (1, 1), (0, 0), (1, 1))).tolist() == [[[[4]]]]
    assert launches.total() == 0
