"""Specification of maximum, average and adaptive average pooling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil, floor
from typing import Any

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def taps(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[list[int]]:
    """The positions of the taps of each window along one axis, those off the map too."""
    steps = (size + 2 * padding - dilation * (kernel - 1) - 1) / stride
    starts = [i * stride - padding for i in range((ceil(steps) if ceil_mode else floor(steps)) + 1)]
    return [[start + u * dilation for u in range(kernel)] for start in starts if start < size or not ceil_mode]


def windows_of(x, kernel_size, stride, padding, dilation, ceil_mode) -> Iterator[tuple]:
    """(output index, taps of its rows, taps of its columns)."""
    stride = kernel_size if stride is None else stride
    kernel, stride, padding, dilation = map(_pair, (kernel_size, stride, padding, dilation))
    rows, columns = (
        taps(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis], dilation[axis], ceil_mode) for axis in (0, 1)
    )
    for (i, window_rows), (j, window_columns) in product(enumerate(rows), enumerate(columns)):
        yield (i, j), window_rows, window_columns


def on_map(x, rows, columns) -> list[tuple[int, int]]:
    """The samples of a window that exist, row by row."""
    return [(a, b) for a, b in product(rows, columns) if 0 <= a < x.shape[2] and 0 <= b < x.shape[3]]


def grid_of(found: dict) -> np.ndarray:
    """Maps (N, C) at each output index → (N, C, Ho, Wo)."""
    height, width = (1 + max(index[axis] for index in found) for axis in (0, 1))
    return np.array([[found[i, j] for j in range(width)] for i in range(height)]).transpose(2, 3, 0, 1)


def reference_max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False) -> np.ndarray:
    """The largest of the samples that exist."""
    found = {}
    for index, rows, columns in windows_of(x, kernel_size, stride, padding, dilation, ceil_mode):
        found[index] = np.max([x[:, :, a, b] for a, b in on_map(x, rows, columns)], axis=0)
    return grid_of(found)


def window_divisor(x, rows, columns, padding, count_include_pad) -> int:
    """How many samples of a window count; beyond the padding none does."""
    if not count_include_pad:
        return len(on_map(x, rows, columns))
    (ph, pw), (height, width) = _pair(padding), x.shape[2:]
    return sum(a < height + ph for a in rows) * sum(b < width + pw for b in columns)


def reference_avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
) -> np.ndarray:
    """The sum of the samples that exist over the number of those that count."""
    found = {}
    for index, rows, columns in windows_of(x, kernel_size, stride, padding, 1, ceil_mode):
        divisor = divisor_override or window_divisor(x, rows, columns, padding, count_include_pad)
        found[index] = sum(x[:, :, a, b] for a, b in on_map(x, rows, columns)) / divisor
    return grid_of(found)


def reference_adaptive_avg_pool2d(x, output_size) -> np.ndarray:
    """Output i of I is the mean over ⌊i H / I⌋ ≤ a < ⌈(i + 1) H / I⌉."""
    height, width = x.shape[2:]
    rows_asked, columns_asked = _pair(output_size)
    grid_height, grid_width = rows_asked or height, columns_asked or width  # None keeps the length
    y = np.zeros((*x.shape[:2], grid_height, grid_width))
    for n, c, i, j in np.ndindex(y.shape):
        rows = range(floor(i * height / grid_height), ceil((i + 1) * height / grid_height))
        columns = range(floor(j * width / grid_width), ceil((j + 1) * width / grid_width))
        y[n, c, i, j] = sum(x[n, c, a, b] for a, b in product(rows, columns)) / (len(rows) * len(columns))
    return y


# Shape of x and the window: overlapping or not, cut off, samples that no window reaches, height ≠ width throughout.
WINDOWS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 6, 4), {"kernel_size": 2}),
    ((2, 2, 7, 5), {"kernel_size": (3, 2), "stride": (2, 1)}),
    ((1, 2, 7, 8), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 6, 5), {"kernel_size": (2, 3), "stride": (3, 2), "padding": (1, 0), "ceil_mode": True}),
    ((2, 1, 6, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((1, 1, 3, 4), {"kernel_size": (3, 1), "stride": 4}),
]


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values at least 0.05 apart, so that no step of a difference quotient changes which is the largest."""
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size / 2) * 0.1 + rng.uniform(-0.02, 0.02, shape)


def max_pool2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, params in WINDOWS:
        yield Sample((distinct(rng, shape),), params)
    yield Sample((distinct(rng, (1, 2, 8, 7)),), {"kernel_size": 3, "padding": 1, "dilation": (3, 2), "stride": (1, 2)})


def avg_pool2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, params in WINDOWS:
        yield Sample((rng.normal(size=shape),), params)
        if params.get("padding") or params.get("ceil_mode"):
            yield Sample((rng.normal(size=shape),), {**params, "count_include_pad": False})
    yield Sample((rng.normal(size=(1, 2, 6, 5)),), {"kernel_size": 2, "padding": 1, "divisor_override": 3})


def adaptive_avg_pool2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, size in [
        ((2, 3, 6, 4), (3, 2)),
        ((1, 2, 7, 5), (3, 4)),
        ((1, 2, 3, 2), (5, 3)),
        ((1, 2, 4, 3), (None, 2)),
    ]:
        yield Sample((rng.normal(size=shape),), {"output_size": size})
    yield Sample((rng.normal(size=(2, 3, 4, 5)),), {"output_size": 1})


def window_parameters(draw, *, dilated: bool = False) -> tuple[tuple[int, int, int, int], dict]:
    """A shape of x and windows that fit it, drawn inside a hypothesis composite."""
    from hypothesis import assume
    from hypothesis import strategies as st

    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, shape = pair(1, 4), pair(1, 4), (*pair(1, 2), *pair(1, 8))
    dilation = pair(1, 3) if dilated else (1, 1)
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    params = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}
    for axis in (0, 1):
        assume(shape[2 + axis] + 2 * padding[axis] >= dilation[axis] * (kernel[axis] - 1) + 1)
        ranges = taps(shape[2 + axis], kernel[axis], stride[axis], padding[axis], dilation[axis], params["ceil_mode"])
        assume(all(any(0 <= a < shape[2 + axis] for a in window) for window in ranges))
    return shape, {**params, "dilation": dilation} if dilated else params


def max_pool2d_drawn():
    """Any windows, dilated too."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape, params = window_parameters(draw, dilated=True)
        return Sample((distinct(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), shape),), params)

    return sample()


def avg_pool2d_drawn():
    """Any windows and any divisor."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape, params = window_parameters(draw)
        params["count_include_pad"] = draw(st.booleans())
        params["divisor_override"] = draw(st.none() | st.integers(1, 9))
        return Sample((np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=shape),), params)

    return sample()


def adaptive_avg_pool2d_drawn():
    """Any size to any size."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        n, c, height, width, rows, columns = (draw(st.integers(1, high)) for high in (2, 2, 9, 9, 9, 9))
        x = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=(n, c, height, width))
        return Sample((x,), {"output_size": (rows, columns)})

    return sample()


def window_errors(op: str) -> tuple[ErrorCase, ...]:
    """What every op with windows refuses."""

    def refused(shape, message: str, **params) -> ErrorCase:
        return ErrorCase(Sample((np.ones(shape),), params), ValueError, rf"^{op}: {message}")

    return (
        refused((2, 4, 4), r"x must have shape \(N, C, H, W\), got \(2, 4, 4\)", kernel_size=2),
        refused((1, 1, 4, 4), r"kernel_size must be an integer >= 1 .*, got 0", kernel_size=0),
        refused((1, 1, 4, 4), r"stride must be an integer >= 1 .*, got \(1, 0\)", kernel_size=2, stride=(1, 0)),
        refused((1, 1, 4, 4), r"padding must be an integer >= 0 .*, got -1", kernel_size=2, padding=-1),
        refused(
            (1, 1, 4, 4), r"padding must be at most half of kernel_size, got padding=\(2", kernel_size=3, padding=2
        ),
        refused((1, 1, 4, 2), r"the map with its padding must hold one window, got x \(1, 1, 4, 2\)", kernel_size=3),
        refused((1, 1, 0, 4), r"the map with its padding must hold one window, got x", kernel_size=2, padding=1),
    )


def _at(shape: tuple[int, ...], *ones: tuple[int, ...]) -> np.ndarray:
    g = np.zeros(shape)
    for index in ones:
        g[index] += 1
    return g


CASES = [
    OpCase(
        name="max_pool2d",
        op=ops.max_pool2d,
        samples=max_pool2d_samples,
        reference=reference_max_pool2d,
        equations="y = max of each window",
        kinks=(
            Kink(
                "two taps equal: the first",
                Sample((np.ones((1, 1, 2, 2)),), {"kernel_size": 2}),
                (_at((1, 1, 2, 2), (0, 0, 0, 0)),),
            ),
            Kink(
                "two taps equal beside padding: the first on the map",
                Sample((np.ones((1, 1, 2, 3)),), {"kernel_size": 2, "padding": 1}),
                (_at((1, 1, 2, 3), (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 1, 1)),),
            ),
            Kink(
                "all taps −∞: the first on the map",
                Sample((np.full((1, 1, 2, 2), -np.inf),), {"kernel_size": (2, 1), "padding": (1, 0), "stride": 2}),
                (_at((1, 1, 2, 2), (0, 0, 0, 0), (0, 0, 1, 0)),),
            ),
        ),
        errors=(
            *window_errors("max_pool2d"),
            ErrorCase(
                Sample((np.ones((1, 1, 2, 2)),), {"kernel_size": 2, "padding": 1, "dilation": 3}),
                ValueError,
                r"^max_pool2d: every window must reach the map.*dilation=\(3, 3\)",
            ),
        ),
        draw=max_pool2d_drawn,
    ),
    OpCase(
        name="avg_pool2d",
        op=ops.avg_pool2d,
        samples=avg_pool2d_samples,
        reference=reference_avg_pool2d,
        equations="y = Σ of each window / P",
        linear_in=(0,),
        errors=(
            *window_errors("avg_pool2d"),
            ErrorCase(
                Sample((np.ones((1, 1, 2, 2)),), {"kernel_size": 2, "divisor_override": 0}),
                ValueError,
                r"^avg_pool2d: divisor_override must be an integer >= 1, got 0",
            ),
        ),
        draw=avg_pool2d_drawn,
    ),
    OpCase(
        name="adaptive_avg_pool2d",
        op=ops.adaptive_avg_pool2d,
        samples=adaptive_avg_pool2d_samples,
        reference=reference_adaptive_avg_pool2d,
        equations="Y = A X Bᵀ, rows of A and B average",
        linear_in=(0,),
        errors=(
            ErrorCase(
                Sample((np.ones((1, 1, 2, 2)),), {"output_size": (0, 1)}),
                ValueError,
                r"^adaptive_avg_pool2d: output_size must be an integer >= 1 .*, got \(0, 1\)",
            ),
            ErrorCase(
                Sample((np.ones((1, 1, 2, 2)),), {"output_size": (1, 1, 1)}),
                ValueError,
                r"^adaptive_avg_pool2d: output_size must be .*, got \(1, 1, 1\)",
            ),
            ErrorCase(
                Sample((np.ones((1, 2, 2)),), {"output_size": 1}),
                ValueError,
                r"^adaptive_avg_pool2d: x must have shape \(N, C, H, W\), got \(1, 2, 2\)",
            ),
            ErrorCase(
                Sample((np.ones((1, 1, 0, 2)),), {"output_size": 1}),
                ValueError,
                r"^adaptive_avg_pool2d: x must have at least one sample a map, got \(1, 1, 0, 2\)",
            ),
        ),
        draw=adaptive_avg_pool2d_drawn,
    ),
]
