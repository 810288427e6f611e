"""Specification of Gaussian kernels and separable filtering."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import exp, factorial

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample

BORDERS = ["zero", "symmetric", "mirror", "edge", "wrap", "count_inside"]


def bessel(n: int, t: float) -> float:
    """I_n(t) = Σ_m (t/2)^(2m+n) / (m! (m+n)!)."""
    return sum((t / 2) ** (2 * m + n) / (factorial(m) * factorial(m + n)) for m in range(60))


def reference_gaussian_kernel1d(sigma, variance=None, *, radius, kind="sampled") -> np.ndarray:
    """Each kernel is its law at the integers −r … r, divided by its sum; e^{−t} cancels in the discrete one."""
    variances = np.square(sigma) if variance is None else np.asarray(variance)
    k = np.zeros((*variances.shape, 2 * radius + 1))
    for i in np.ndindex(variances.shape):
        t = float(variances[i])
        law = [bessel(abs(u), t) if kind == "discrete" else exp(-u * u / (2 * t)) for u in range(-radius, radius + 1)]
        k[i] = [a / sum(law) for a in law]
    return k


def read(i: int, length: int, border: str) -> int | None:
    """Which sample stands at position `i`, None for a zero: reflect until it is inside."""
    while not 0 <= i < length:
        if border == "symmetric":
            i = -1 - i if i < 0 else 2 * length - 1 - i
        elif border == "mirror" and length > 1:
            i = -i if i < 0 else 2 * length - 2 - i
        elif border in ("edge", "mirror"):
            i = 0 if i < 0 else length - 1
        elif border == "wrap":
            i += length if i < 0 else -length
        else:
            return None
    return i


def reference_separable_filter(x, taps, *, border="zero", grow=0) -> np.ndarray:
    """y at (i, j) is Σ_uv k_u k_v x at (i + u, j + v), in two dimensions at once."""
    n_images, channels, height, width = x.shape
    grow_h, grow_w = (grow, grow) if isinstance(grow, int) else grow
    kernels = np.broadcast_to(taps, (2, channels, taps.shape[-1]))
    radius = taps.shape[-1] // 2
    y = np.zeros((n_images, channels, height + 2 * grow_h, width + 2 * grow_w))
    for n, c, i, j in np.ndindex(y.shape):
        mass = 0.0
        for u, v in product(range(-radius, radius + 1), repeat=2):
            row, column = read(i - grow_h + u, height, border), read(j - grow_w + v, width, border)
            if row is not None and column is not None:
                k = kernels[0, c, radius + u] * kernels[1, c, radius + v]
                y[n, c, i, j] += k * x[n, c, row, column]
                mass += k
        if border == "count_inside":
            y[n, c, i, j] /= mass
    return y


def reference_gaussian_filter(
    x, sigma, variance=None, *, radius, border="zero", kernel="sampled", grow=0
) -> np.ndarray:
    """`reference_separable_filter` with Gaussian taps."""
    taps = reference_gaussian_kernel1d(sigma, variance, radius=radius, kind=kernel)
    return reference_separable_filter(x, taps, border=border, grow=grow)


def kernel_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, radius, kind in product([(), (3,), (2, 2)], [1, 4], ["sampled", "discrete"]):
        sigma = np.asarray(rng.uniform(0.4, 2.5, shape))
        yield Sample((sigma, None), {"radius": radius, "kind": kind})
        yield Sample((None, np.asarray(sigma * sigma)), {"radius": radius, "kind": kind})
    yield Sample((np.array([0.3, 30.0]), None), {"radius": 2})
    yield Sample((None, np.array([0.0, 1e-3, 20.0])), {"radius": 3, "kind": "discrete"})


def separable_samples(rng: np.random.Generator) -> Iterator[Sample]:
    shapes = [(5,), (3, 5), (2, 1, 3), (2, 3, 7), (1,), (1, 3)]
    for border, shape in zip(BORDERS, shapes, strict=True):
        yield Sample((rng.normal(size=(2, 3, 4, 5)), rng.uniform(0.1, 1, shape)), {"border": border})
    for border in BORDERS:  # wider than the map, and a map one sample wide
        yield Sample((rng.normal(size=(1, 1, 1, 3)), rng.uniform(0.1, 1, 9)), {"border": border})
    yield Sample((rng.normal(size=(1, 2, 3, 2)), rng.uniform(0.1, 1, (2, 2, 3))), {"grow": (1, 2)})


def filter_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for border, shape in zip(BORDERS, [(), (2,), (2, 1), (2, 2), (1, 2), (1,)], strict=True):
        sigma = np.asarray(rng.uniform(0.5, 2, shape))
        yield Sample((rng.normal(size=(2, 2, 3, 4)), sigma, None), {"radius": 2, "border": border})
    for border in ("zero", "symmetric"):
        sigma, t = rng.uniform(0.5, 2, 2), np.array([0.0, 0.7])
        params = {"radius": 2, "border": border, "kernel": "discrete"}
        yield Sample((rng.normal(size=(1, 2, 4, 3)), sigma, None), params)
        yield Sample((rng.normal(size=(1, 2, 4, 3)), None, t), params)
    yield Sample((rng.normal(size=(1, 2, 3, 2)), None, np.array(0.8)), {"radius": 3})
    yield Sample((rng.normal(size=(1, 2, 3, 2)), np.array(0.8), None), {"radius": 1, "grow": (2, 1)})


def separable_drawn():
    """Any map, any border, kernels shared or not, wider than the map or not."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        n, c, height, width, radius = (draw(st.integers(low, high)) for low, high in SIZES)
        border = draw(st.sampled_from(BORDERS))
        shape = draw(st.sampled_from([(), (1,), (c,), (2, 1), (2, c)]))
        grow = (draw(st.integers(0, 2)), draw(st.integers(0, 2))) if border == "zero" else 0
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        inputs = rng.normal(size=(n, c, height, width)), rng.uniform(0.1, 1, (*shape, 2 * radius + 1))
        return Sample(inputs, {"border": border, "grow": grow})

    return sample()


def filter_drawn():
    """Any map, any border, both kernels, σ of every shape, or the variance."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        n, c, height, width, radius = (draw(st.integers(low, high)) for low, high in SIZES)
        border, kernel = draw(st.sampled_from(BORDERS)), draw(st.sampled_from(["sampled", "discrete"]))
        shape = draw(st.sampled_from([(), (1,), (c,), (2, 1), (2, c)]))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        x, width_of_kernel = rng.normal(size=(n, c, height, width)), np.asarray(rng.uniform(0.4, 2, shape))
        widths = draw(st.sampled_from([(width_of_kernel, None), (None, width_of_kernel)]))
        return Sample((x, *widths), {"radius": radius + 1, "border": border, "kernel": kernel})

    return sample()


# N, C, H, W, r − 1.  On an axis of one sample most borders leave σ idle, and its gradient is rounding alone.
SIZES = [(1, 2), (1, 3), (2, 5), (2, 5), (0, 3)]

X = np.ones((1, 2, 3, 3))
TAPS = np.array([0.25, 0.5, 0.25])
SIGMA = np.array(1.0)


def refused(op: str, message: str, *inputs, **params) -> ErrorCase:
    return ErrorCase(Sample(inputs, params), ValueError, rf"^{op}: {message}")


def refused_when_read(op: str, message: str, *inputs, **params) -> ErrorCase:
    return replace(refused(op, message, *inputs, **params), reads=True)


def width_errors(op: str, *x: np.ndarray, kind: str) -> tuple[ErrorCase, ...]:
    """What both ops with a σ refuse."""
    nan, params = np.array(np.nan), {"radius": 2}
    discrete = {"radius": 2, kind: "discrete"}
    return (
        refused_when_read(op, "sigma must be > 0, got 0.0", *x, np.array(0.0), None, **params),
        refused_when_read(op, "sigma must be > 0, got -1.0", *x, np.array([1.0, -1.0]), None, **discrete),
        refused_when_read(op, "sigma must be > 0, got nan", *x, nan, None, **params),
        refused_when_read(op, "variance must be > 0, got 0.0", *x, None, np.array(0.0), **params),
        refused_when_read(op, "variance must be >= 0, got -0.5", *x, None, np.array(-0.5), **discrete),
        refused_when_read(op, "variance must be >= 0, got nan", *x, None, nan, **discrete),
        refused(op, "exactly one of sigma and variance must be given", *x, SIGMA, SIGMA, **params),
        refused(op, "exactly one of sigma and variance must be given", *x, None, None, **params),
        refused(op, "radius must be an integer >= 1, got 0", *x, SIGMA, None, radius=0),
        refused(op, "radius must be an integer >= 1, got 2.5", *x, SIGMA, None, radius=2.5),
        refused(
            op, f"{kind} must be one of 'sampled', 'discrete', got 'box'", *x, SIGMA, None, **params, **{kind: "box"}
        ),
    )


def map_errors(op: str, *width: np.ndarray | None, **params) -> tuple[ErrorCase, ...]:
    """What both filters refuse."""
    return (
        refused(op, r"x must have shape \(N, C, H, W\), got \(2, 3, 3\)", X[0], *width, **params),
        refused(op, r"x must have at least one sample a map, got \(1, 2, 3, 0\)", X[..., :0], *width, **params),
        refused(op, "border must be one of 'zero', .*, got 'reflect'", X, *width, border="reflect", **params),
        refused(op, "grow must be an integer >= 0 .*, got -1", X, *width, grow=-1, **params),
        refused(
            op,
            "grow must be 0 unless border is 'zero', got grow=1, border='edge'",
            X,
            *width,
            grow=1,
            border="edge",
            **params,
        ),
    )


CASES = [
    OpCase(
        name="gaussian_kernel1d",
        op=ops.gaussian_kernel1d,
        samples=kernel_samples,
        reference=reference_gaussian_kernel1d,
        equations="k_u = exp(−u²/2σ²) / Σ, or I_u(σ²) / Σ",
        normwise=True,  # the discrete kernel is summed from its spectrum
        errors=width_errors("gaussian_kernel1d", kind="kind"),
    ),
    OpCase(
        name="separable_filter",
        op=ops.separable_filter,
        samples=separable_samples,
        reference=reference_separable_filter,
        equations="y_ij = Σ_uv k_u k_v x_{π(i+u) π(j+v)}",
        linear_in=(0,),
        errors=(
            *map_errors("separable_filter", TAPS),
            refused("separable_filter", r"taps must have shape .*, got \(4,\)", X, np.ones(4)),
            refused("separable_filter", r"taps must have shape .*, got \(\)", X, np.array(1.0)),
            refused("separable_filter", r"taps must have shape .*, got \(1, 2, 2, 3\)", X, np.ones((1, 2, 2, 3))),
            refused("separable_filter", r"taps must broadcast to shape \(2, 2, 3\), got \(3, 3\)", X, np.ones((3, 3))),
            refused("separable_filter", r"taps must broadcast to .*, got \(3, 2, 3\)", X, np.ones((3, 2, 3))),
        ),
        draw=separable_drawn,
    ),
    OpCase(
        name="gaussian_filter",
        op=ops.gaussian_filter,
        samples=filter_samples,
        reference=reference_gaussian_filter,
        equations="y_ij = Σ_uv k_u k_v x_{π(i+u) π(j+v)}, k Gaussian",
        linear_in=(0,),
        errors=(
            *map_errors("gaussian_filter", SIGMA, None, radius=1),
            *width_errors("gaussian_filter", X, kind="kernel"),
            refused(
                "gaussian_filter", r"sigma must broadcast to shape \(2, 2\), got \(3,\)", X, np.ones(3), None, radius=1
            ),
            refused(
                "gaussian_filter",
                r"variance must broadcast to shape \(2, 2\), got \(3, 1\)",
                X,
                None,
                np.ones((3, 1)),
                radius=1,
            ),
            refused(
                "gaussian_filter", r"sigma must broadcast to .*, got \(1, 2, 2\)", X, np.ones((1, 2, 2)), None, radius=1
            ),
        ),
        draw=filter_drawn,
    ),
]
