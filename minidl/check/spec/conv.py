"""Specification of convolution and transposed convolution."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def reference_conv2d(x, weight, bias, *, stride=1, padding=0, dilation=1, groups=1) -> np.ndarray:
    """Each output is b_o plus the products of the kernel with the window it lies on, zeros outside the map."""
    (sh, sw), (dh, dw) = _pair(stride), _pair(dilation)
    n_images, _, height, width = x.shape
    n_out, per_group, kh, kw = weight.shape
    if padding == "valid":
        padding = 0
    if padding == "same":
        top, left = dh * (kh - 1) // 2, dw * (kw - 1) // 2
        out_height, out_width = height, width
    else:
        top, left = _pair(padding)
        out_height = (height + 2 * top - dh * (kh - 1) - 1) // sh + 1
        out_width = (width + 2 * left - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((n_images, n_out, out_height, out_width))
    for n, o, i, j in np.ndindex(y.shape):
        y[n, o, i, j] = 0.0 if bias is None else bias[o]
        for c, u, v in np.ndindex(per_group, kh, kw):
            row, column = i * sh + u * dh - top, j * sw + v * dw - left
            if 0 <= row < height and 0 <= column < width:
                channel = (o * groups // n_out) * per_group + c
                y[n, o, i, j] += x[n, channel, row, column] * weight[o, c, u, v]
    return y


def reference_conv_transpose2d(
    x, weight, bias, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> np.ndarray:
    """Each input stamps its multiple of the kernel onto the output."""
    (sh, sw), (ph, pw), (dh, dw), (eh, ew) = map(_pair, (stride, padding, dilation, output_padding))
    n_images, channels, height, width = x.shape
    _, per_group, kh, kw = weight.shape
    out_height = (height - 1) * sh - 2 * ph + dh * (kh - 1) + eh + 1
    out_width = (width - 1) * sw - 2 * pw + dw * (kw - 1) + ew + 1
    y = np.zeros((n_images, per_group * groups, out_height, out_width))
    if bias is not None:
        for o in range(y.shape[1]):
            y[:, o] = bias[o]
    for n, c, i, j in np.ndindex(x.shape):
        for o, u, v in np.ndindex(per_group, kh, kw):
            row, column = i * sh + u * dh - ph, j * sw + v * dw - pw
            if 0 <= row < out_height and 0 <= column < out_width:
                y[n, (c * groups // channels) * per_group + o, row, column] += x[n, c, i, j] * weight[c, o, u, v]
    return y


# x, weight, and the parameters: each branch, height ≠ width throughout.
CONV = [
    ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    ((2, 3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
    ((2, 2, 8, 7), (3, 2, 3, 2), {"stride": 2}),  # the last row is never read
    ((1, 2, 7, 9), (2, 2, 2, 3), {"stride": (2, 3), "padding": (1, 2), "dilation": (3, 2)}),
    ((2, 4, 5, 4), (6, 2, 3, 1), {"groups": 2, "padding": (1, 0)}),
    ((2, 3, 4, 5), (6, 1, 3, 3), {"groups": 3, "padding": 1, "stride": (1, 2)}),  # depthwise
    ((1, 3, 5, 4), (2, 3, 4, 2), {"padding": "same", "dilation": (1, 2)}),
    ((1, 3, 5, 4), (2, 3, 4, 2), {"padding": "valid", "stride": (1, 2)}),
    ((2, 3, 4, 5), (4, 3, 1, 1), {}),
    ((2, 3, 5, 5), (4, 3, 1, 1), {"stride": 2}),
    ((1, 2, 2, 2), (2, 2, 2, 3), {"padding": (3, 2), "stride": (4, 1)}),  # whole windows lie in the border
]
TRANSPOSE = [
    ((2, 3, 3, 4), (3, 4, 3, 2), {}),
    ((2, 3, 4, 3), (3, 2, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 2, 3, 4), (2, 3, 2, 3), {"stride": (3, 2), "padding": (0, 2), "dilation": (2, 1), "output_padding": (2, 0)}),
    ((2, 4, 3, 2), (4, 3, 3, 2), {"groups": 2, "stride": (1, 2)}),
    ((2, 3, 3, 2), (3, 2, 2, 2), {"groups": 3, "padding": 1, "stride": 2}),
    ((1, 2, 3, 3), (2, 2, 2, 3), {"stride": 1, "dilation": 3, "output_padding": (1, 2)}),  # beyond the last window
    ((2, 3, 2, 4), (3, 4, 1, 1), {}),
]


def _samples(shapes: list, rng: np.random.Generator) -> Iterator[Sample]:
    for i, (x, weight, params) in enumerate(shapes):
        out = weight[0] if shapes is CONV else weight[1] * params.get("groups", 1)
        bias = None if i % 3 == 2 else rng.normal(size=out)
        yield Sample((rng.normal(size=x), rng.normal(size=weight), bias), params)


def conv2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    return _samples(CONV, rng)


def conv_transpose2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    return _samples(TRANSPOSE, rng)


def drawn_geometry(draw) -> dict:
    """Stride, padding, dilation, groups, each a pair that tells the axes apart; and the kernel's size."""
    from hypothesis import strategies as st

    def pair(low: int, high: int):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    return {
        "kernel": pair(1, 4),
        "stride": pair(1, 3),
        "padding": pair(0, 3),
        "dilation": pair(1, 3),
        "groups": draw(st.integers(1, 3)),
    }


def conv2d_drawn():
    """Any geometry on any map in which one window fits."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        params = drawn_geometry(draw)
        kernel = params.pop("kernel")
        reach = [d * (k - 1) + 1 - 2 * p for k, p, d in zip(kernel, params["padding"], params["dilation"], strict=True)]
        size = [max(r, 1) + draw(st.integers(0, 4)) for r in reach]
        n, c, o = (draw(st.integers(1, 3)) for _ in range(3))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        x = rng.normal(size=(n, c * params["groups"], *size))
        weight = rng.normal(size=(o * params["groups"], c, *kernel))
        return Sample((x, weight, rng.normal(size=len(weight)) if draw(st.booleans()) else None), params)

    return sample()


def conv_transpose2d_drawn():
    """Any geometry that leaves some output, with every output padding it allows."""
    from hypothesis import assume
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        params = drawn_geometry(draw)
        kernel, stride, dilation = params.pop("kernel"), params["stride"], params["dilation"]
        params["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        for h, k, s, p, d, e in zip(
            size, kernel, stride, params["padding"], dilation, params["output_padding"], strict=True
        ):
            assume((h - 1) * s - 2 * p + d * (k - 1) + e + 1 >= 1)
        n, c, o = (draw(st.integers(1, 3)) for _ in range(3))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        x = rng.normal(size=(n, c * params["groups"], *size))
        weight = rng.normal(size=(c * params["groups"], o, *kernel))
        bias = rng.normal(size=o * params["groups"]) if draw(st.booleans()) else None
        return Sample((x, weight, bias), params)

    return sample()


def _error(message: str, x=(1, 4, 5, 6), weight=(4, 4, 3, 3), bias=None, **params) -> ErrorCase:
    bias = None if bias is None else np.ones(bias)
    return ErrorCase(Sample((np.ones(x), np.ones(weight), bias), params), ValueError, message)


CONV_ERRORS = (
    _error(r"conv2d: x must have shape \(N, C, H, W\), got \(4, 5, 6\)", x=(4, 5, 6)),
    _error(r"conv2d: weight must have shape \(O, C, H, W\), got \(4, 4\)", weight=(4, 4)),
    _error(r"conv2d: x and weight must not be empty, got \(0, 4, 5, 6\)", x=(0, 4, 5, 6)),
    _error(r"conv2d: x must have weight.shape\[1\] \* groups = 3 channels, got 4", weight=(4, 3, 3, 3)),
    _error(r"conv2d: groups must divide in_channels, got groups=3, in_channels=4", groups=3),
    _error(r"conv2d: groups must divide out_channels, got groups=2, out_channels=3", weight=(3, 2, 3, 3), groups=2),
    _error(r"conv2d: groups must be an integer >= 1, got 0", groups=0),
    _error(r"conv2d: bias must have shape \(4,\), got \(1,\)", bias=(1,)),
    _error(r"conv2d: stride must be an integer >= 1 .*, got 0", stride=0),
    _error(r"conv2d: padding must be an integer >= 0 .*, got -1", padding=-1),
    _error(r"conv2d: dilation must be an integer >= 1 .*, got \(1, 2, 3\)", dilation=(1, 2, 3)),
    _error(r"conv2d: padding must be one of 'same', 'valid', got 'full'", padding="full"),
    _error(r"conv2d: padding 'same' must have stride 1, got stride=\(2, 2\)", padding="same", stride=2),
    _error(
        r"conv2d: kernel must fit into the padded input, got kernel \(7, 3\) with dilation \(1, 1\) on input \(4, 6\) "
        r"with padding 1",
        x=(1, 4, 4, 6),
        weight=(4, 4, 7, 3),
        padding=1,
    ),
)
TRANSPOSE_ERRORS = (
    _error(r"conv_transpose2d: x must have shape \(N, C, H, W\), got \(4, 5\)", x=(4, 5)),
    _error(r"conv_transpose2d: weight must have shape \(C, O, H, W\), got \(4,\)", weight=(4,)),
    _error(r"conv_transpose2d: x and weight must not be empty, got \(0, 4, 5, 6\)", x=(0, 4, 5, 6)),
    _error(r"conv_transpose2d: x must have weight.shape\[0\] = 3 channels, got 4", weight=(3, 4, 3, 3)),
    _error(r"conv_transpose2d: groups must divide in_channels, got groups=3, in_channels=4", groups=3),
    _error(r"conv_transpose2d: bias must have shape \(8,\), got \(4,\)", bias=(4,), groups=2),
    _error(r"conv_transpose2d: stride must be an integer >= 1 .*, got \(0, 1\)", stride=(0, 1)),
    _error(r"conv_transpose2d: output_padding must be less than stride or dilation, .*\(1, 2\)", output_padding=(1, 2)),
    _error(r"conv_transpose2d: padding must leave some output, got padding=\(4, 4\), output \(-1, 0\)", padding=4),
)

CASES = [
    OpCase(
        name="conv2d",
        op=ops.conv2d,
        samples=conv2d_samples,
        reference=reference_conv2d,
        equations="y[n,o,i,j] = b[o] + Σ_cuv x̄[n, g C/G + c, i s + u d, j s + v d] W[o,c,u,v]",
        errors=CONV_ERRORS,
        draw=conv2d_drawn,
    ),
    OpCase(
        name="conv_transpose2d",
        op=ops.conv_transpose2d,
        samples=conv_transpose2d_samples,
        reference=reference_conv_transpose2d,
        equations="y = A_Wᵀ x + b, A_W the convolution by W",
        errors=TRANSPOSE_ERRORS,
        draw=conv_transpose2d_drawn,
    ),
]
