"""The three forms of convolution against each other, within the bound on rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.check.bounds import gamma
from minidl.kernels import array, cpu, reference
from minidl.kernels.cpu import winograd
from minidl.kernels.cpu.layout import chwn, empty
from minidl.kernels.cpu.threads import use_threads
from minidl.kernels.geometry import output_size

ROUTINES = ["correlate", "correlate_adjoint_x", "correlate_adjoint_w"]


def call(kernels, routine: str, x, w, gy, geometry: dict) -> np.ndarray:
    if routine == "correlate":
        return kernels.correlate(x, w, **geometry)
    if routine == "correlate_adjoint_x":
        return kernels.correlate_adjoint_x(gy, w, x.shape, **geometry)
    return kernels.correlate_adjoint_w(gy, x, w.shape, **geometry)


def operands(rng, x_shape, w_shape, geometry: dict, dtype) -> tuple[np.ndarray, ...]:
    size = output_size(x_shape[2:], w_shape[2:], geometry["stride"], geometry["padding"], geometry["dilation"])
    shapes = (x_shape, w_shape, (x_shape[0], w_shape[0], *size))
    return tuple(rng.normal(size=s).astype(dtype) for s in shapes)


EXTRA = 20  # roundings in A, B and G of Winograd's algorithm, besides the sum over the channels


def rounding_bound(kernels, routine: str, x, w, gy, geometry: dict) -> np.ndarray:
    """γ_m Σ |a| |b| over the m terms of each element, for the routine's precision and for the reference's float64.

    Winograd's algorithm is A [(G w) ⊙ (B d)], and its terms are those of |A| [(|G| |w|) ⊙ (|B| |d|)]: the routine
    itself in float64 on absolute values gives their sum.
    """
    absolute = [abs(a).astype(np.float64) for a in (x, w, gy)]
    terms = int(call(array, routine, *(np.ones_like(a) for a in (x, w, gy)), geometry).max())
    if kernels is cpu and winograd.applies(w.shape, geometry["stride"], geometry["dilation"], len(x)):
        terms += EXTRA
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(winograd, "_transforms", lambda m, dtype: tuple(abs(t) for t in winograd.transforms(m)))
            sizes = call(cpu, routine, *absolute, geometry)
    else:
        sizes = call(array, routine, *absolute, geometry)
    return (gamma(terms, x.dtype) + gamma(terms, np.float64)) * sizes


def assert_within_rounding(kernels, routine: str, x, w, gy, geometry: dict, exactly=reference) -> None:
    """|fl(Σ a b) − Σ a b| ≤ γ_m Σ |a| |b|, m the number of terms."""
    actual = call(kernels, routine, x, w, gy, geometry)
    exact = call(exactly, routine, *(a.astype(np.float64) for a in (x, w, gy)), geometry)
    assert actual.shape == exact.shape and actual.dtype == x.dtype
    bound = rounding_bound(kernels, routine, x, w, gy, geometry)
    assert (abs(actual - exact) <= bound).all(), (abs(actual - exact) / np.maximum(bound, 1e-300)).max()


@st.composite
def problems(draw):
    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    def side(high):
        return draw(st.integers(0, high) | st.tuples(st.integers(0, high), st.integers(0, high)))

    kernel, dilation = pair(1, 4), pair(1, 3)
    geometry = {
        "stride": pair(1, 3),
        "padding": (side(3), side(3)),
        "dilation": dilation,
        "groups": draw(st.integers(1, 3)),
    }
    size = [d * (k - 1) + 1 + draw(st.integers(0, 5)) for k, d in zip(kernel, dilation, strict=True)]
    n, c, o = (draw(st.integers(1, 3)) for _ in range(3))
    g = geometry["groups"]
    return (n, c * g, *size), (o * g, c, *kernel), geometry, draw(st.integers(0, 2**32 - 1))


@pytest.mark.parametrize("routine", ROUTINES)
@pytest.mark.parametrize("kernels", [array, cpu], ids=["array", "cpu"])
@settings(max_examples=60, deadline=None)
@given(problem=problems(), dtype=st.sampled_from([np.float32, np.float64]))
def test_forms_agree_with_the_definition_on_any_geometry(kernels, routine, problem, dtype) -> None:
    x_shape, w_shape, geometry, seed = problem
    x, w, gy = operands(np.random.default_rng(seed), x_shape, w_shape, geometry, dtype)
    assert_within_rounding(kernels, routine, x, w, gy, geometry)


@st.composite
def problems_for_winograd(draw):
    """3×3 kernels, stride 1, with borders of zeros wider than the kernel, and maps of a single row or column."""

    def end():
        return draw(st.integers(0, 4))

    padding = ((end(), end()), (end(), end()))
    size = [max(draw(st.integers(1, 12)), 3 - sum(ends)) for ends in padding]
    n, c, o, g = draw(st.integers(16, 19)), draw(st.integers(4, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 2))
    geometry = {"stride": (1, 1), "padding": padding, "dilation": (1, 1), "groups": g}
    return (n, c * g, *size), (o * g, c, 3, 3), geometry, draw(st.integers(0, 2**32 - 1))


@pytest.mark.parametrize("routine", ROUTINES)
@settings(max_examples=60, deadline=None)
@given(problem=problems_for_winograd(), dtype=st.sampled_from([np.float32, np.float64]))
def test_winograd_agrees_with_the_readable_form_on_any_map(routine, problem, dtype) -> None:
    x_shape, w_shape, geometry, seed = problem
    x, w, gy = operands(np.random.default_rng(seed), x_shape, w_shape, geometry, dtype)
    assert winograd.applies(w_shape, (1, 1), (1, 1), len(x))
    assert_within_rounding(cpu, routine, x, w, gy, geometry, exactly=array)


# Large enough for several blocks, and for the parts that a block is cut into: (x, w, geometry).
LARGE = {
    "3×3": ((32, 16, 32, 30), (16, 16, 3, 3), {"padding": (1, 1)}),
    "3×3, odd height, no padding": ((40, 8, 13, 16), (24, 8, 3, 3), {}),
    "3×3, few images": ((4, 16, 32, 30), (16, 16, 3, 3), {"padding": (1, 1)}),
    "3×3, many images": ((150, 5, 12, 7), (6, 5, 3, 3), {"padding": (0, 1)}),
    "3×3, grouped": ((32, 16, 15, 16), (24, 4, 3, 3), {"padding": (1, 2), "groups": 4}),
    "stride 2": ((16, 16, 16, 18), (32, 16, 3, 3), {"stride": (2, 2), "padding": (1, 1)}),
    "1×1": ((32, 24, 16, 14), (20, 24, 1, 1), {}),
    "1×1, stride 2": ((32, 24, 16, 14), (20, 24, 1, 1), {"stride": (2, 2)}),
    "dilated": ((8, 8, 24, 20), (8, 8, 3, 3), {"padding": (2, 3), "dilation": (2, 3)}),
    "grouped": ((8, 32, 16, 14), (64, 8, 3, 3), {"padding": (1, 1), "groups": 4}),
    "depthwise": ((16, 32, 16, 14), (32, 1, 3, 3), {"padding": (1, 1), "groups": 32}),
    "depthwise, two each, stride 2": (
        (16, 8, 32, 14),
        (16, 1, 3, 5),
        {"stride": (2, 1), "padding": (1, 2), "groups": 8},
    ),
    "7×7": ((2, 3, 48, 40), (16, 3, 7, 7), {"stride": (2, 2), "padding": (3, 3)}),
    "one image": ((1, 40, 14, 14), (48, 40, 3, 3), {"padding": (1, 1)}),
    "many channels": ((4, 256, 7, 7), (96, 256, 3, 3), {"padding": (1, 1)}),
}
DEFAULTS = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def large(name: str, dtype=np.float32) -> tuple:
    x_shape, w_shape, geometry = LARGE[name]
    geometry = {**DEFAULTS, **geometry}
    return *operands(np.random.default_rng(0), x_shape, w_shape, geometry, dtype), geometry


@pytest.mark.parametrize("routine", ROUTINES)
@pytest.mark.parametrize("name", LARGE)
def test_the_fast_form_agrees_with_the_readable_one_on_many_blocks(name, routine) -> None:
    assert_within_rounding(cpu, routine, *large(name), exactly=array)


@pytest.mark.parametrize("routine", ROUTINES)
@pytest.mark.parametrize("name", LARGE)
def test_bits_do_not_depend_on_the_threads(name, routine) -> None:
    x, w, gy, geometry = large(name)
    results = []
    for n in (1, 2, 4):
        with use_threads(n):
            results.append(call(cpu, routine, x, w, gy, geometry))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("routine", ROUTINES)
@pytest.mark.parametrize("name", ["3×3", "stride 2", "depthwise", "1×1"])
def test_bits_do_not_depend_on_the_memory_order_of_the_operands(name, routine) -> None:
    x, w, gy, geometry = large(name)
    expected = call(cpu, routine, x, w, gy, geometry)
    spread = [np.repeat(a, 2, axis=-1)[..., ::2] for a in (x, w, gy)]
    np.testing.assert_array_equal(call(cpu, routine, *spread, geometry), expected)
    lain = [empty(a.shape, a.dtype) for a in (x, w, gy)]
    for a, b in zip(lain, (x, w, gy), strict=True):
        a[...] = b
    np.testing.assert_array_equal(call(cpu, routine, *lain, geometry), expected)


@pytest.mark.parametrize("kernels", [reference, array, cpu], ids=["reference", "array", "cpu"])
@pytest.mark.parametrize("stride", [1, 2])
def test_both_adjoints_at_once_are_the_two(kernels, stride) -> None:
    geometry = {"stride": (stride, stride), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    x, w, gy = operands(np.random.default_rng(0), (16, 4, 5, 6), (3, 4, 3, 3), geometry, np.float32)
    gx, gw = kernels.correlate_adjoints(gy, x, w, **geometry)
    np.testing.assert_array_equal(gx, kernels.correlate_adjoint_x(gy, w, x.shape, **geometry))
    np.testing.assert_array_equal(gw, kernels.correlate_adjoint_w(gy, x, w.shape, **geometry))


def test_maps_lie_as_channel_height_width_image() -> None:
    x, w, gy, geometry = large("stride 2")
    y = cpu.correlate(x, w, **geometry)
    gx = cpu.correlate_adjoint_x(gy, w, x.shape, **geometry)
    for a in (y, gx):
        assert np.shares_memory(chwn(a), a)


@pytest.mark.parametrize("routine", ROUTINES)
@pytest.mark.parametrize("name", ["3×3", "stride 2", "depthwise", "1×1"])
def test_complex_arrays_pass_through(name, routine) -> None:
    x, w, gy, geometry = large(name, np.float64)
    expected = call(cpu, routine, x, w, gy, geometry)
    step = 1e-20  # linear in each operand: the imaginary part is the derivative along it
    moved = [x + 1j * step * x, w, gy] if routine == "correlate" else [x, w, gy + 1j * step * gy]
    result = call(cpu, routine, *moved, geometry)
    assert result.dtype == np.complex128
    np.testing.assert_allclose(result.imag / step, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("m", [2, 4])
def test_winograds_matrices_correlate_exactly(m) -> None:
    a, g, b = winograd.transforms(m)
    rng = np.random.default_rng(0)
    d, w = rng.normal(size=m + 2), rng.normal(size=3)
    np.testing.assert_allclose(a @ ((g @ w) * (b @ d)), np.correlate(d, w), rtol=1e-13)
    for t in (a, b):
        np.testing.assert_array_equal(t, t.astype(np.float32))  # no rounding in float32


@pytest.mark.parametrize(("height", "rows"), [(1, 2), (2, 2), (3, 4), (4, 4), (5, 2), (6, 2), (7, 4), (8, 4), (28, 4)])
def test_winograds_tiles_make_the_fewest_products(height, rows) -> None:
    assert winograd._tile(height) == rows
    products = {m: (m + 2) * -(-height // m) for m in (2, 4)}
    assert products[rows] == min(products.values())
