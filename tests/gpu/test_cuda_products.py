"""The CUDA kernels of convolutions, filters, losses and noise; the bounds stand in test_cuda_kernels.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.check.bounds import gamma
from minidl.kernels import array, cuda, reference
from minidl.kernels.cuda.launch import counted
from minidl.kernels.geometry import output_size
from minidl.ops.gaussian import sources
from minidl.ops.pool import averaging_matrix
from tests.gpu.kernel_helpers import close, computed_in, cp, normal, on_card, orders, run, types, wide, within_sum

pytestmark = pytest.mark.usefixtures("cupy")  # the real one: on the CPU, every launch in three orders, and on a card

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
