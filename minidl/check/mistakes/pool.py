"""Mistakes in maximum, average and adaptive pooling."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import Any

import numpy as np

from minidl.check.mistakes.call import Call, Mistake, flag, pair, with_swapped
from minidl.check.spec.pool import grid_of, on_map, window_divisor, windows_of

WINDOWED = ("max_pool2d", "avg_pool2d", "gaussian_pool2d", "maxent_pool2d")
Window = tuple[tuple[int, int], list[int], list[int]]


def windows_in(c: Call) -> list[Window]:
    """(output index, rows, columns) of every window."""
    dilation = 1 if c["dilation"] is None else c["dilation"]
    return list(windows_of(c["x"], c["kernel_size"], c["stride"], c["padding"], dilation, c["ceil_mode"]))


def window_by_window(c: Call, f: Callable[[np.ndarray, Window], np.ndarray]) -> np.ndarray:
    """The output f(samples on the map, window) of every window; samples have shape (K, N, C)."""
    x = c["x"]
    return grid_of({w[0]: f(np.array([x[:, :, a, b] for a, b in on_map(x, w[1], w[2])]), w) for w in windows_in(c)})


def scattered(c: Call, f: Callable[[np.ndarray, Window], np.ndarray], overwrite: bool = False) -> np.ndarray:
    """gx where window w gives its samples f(samples, w) of shape (K, N, C): added up, or one over the other."""
    x = c["x"]
    gx = np.zeros(x.shape)
    for w in windows_in(c):
        places = on_map(x, w[1], w[2])
        for (a, b), share in zip(places, f(np.array([x[:, :, a, b] for a, b in places]), w), strict=True):
            gx[:, :, a, b] = share if overwrite else gx[:, :, a, b] + share
    return gx


def cotangent(c: Call, w: Window) -> np.ndarray:
    """gy of a window, (N, C)."""
    return c.gy[:, :, w[0][0], w[0][1]]


def counted(c: Call, w: Window) -> int:
    """How many samples a window counts."""
    return window_divisor(c["x"], w[1], w[2], c["padding"], bool(c["count_include_pad"]))


def _zero_padded_maximum(c: Call) -> np.ndarray:
    def largest(samples: np.ndarray, w: Window) -> np.ndarray:
        outside = len(w[1]) * len(w[2]) - len(samples)
        return np.maximum(samples.max(axis=0), 0.0) if outside else samples.max(axis=0)

    return window_by_window(c, largest)


def _whole_windows(c: Call) -> np.ndarray | None:
    """Every sum over kh kw, that of a window beyond the padding too."""
    if not c["ceil_mode"] or c["divisor_override"]:
        return None
    kh, kw = pair(c["kernel_size"])
    return c(divisor_override=kh * kw)


def _share_of_average(c: Call, samples: np.ndarray, w: Window) -> np.ndarray:
    return np.broadcast_to(cotangent(c, w) / (c["divisor_override"] or counted(c, w)), samples.shape)


def _only_the_largest(c: Call) -> np.ndarray:
    """Each window writes to its largest sample only, over what is there."""
    gx, x = np.zeros(c["x"].shape), c["x"]
    for w in windows_in(c):
        places = on_map(x, w[1], w[2])
        samples = np.array([x[:, :, a, b] for a, b in places])
        for k, (a, b) in enumerate(places):
            is_largest = samples[k] == samples.max(axis=0)
            gx[:, :, a, b] = np.where(is_largest, cotangent(c, w), gx[:, :, a, b])
    return gx


def _adaptive(c: Call, bounds: Callable[[int, int, int], tuple[int, int]]) -> np.ndarray | None:
    x = c["x"]
    sizes = [n or x.shape[2 + axis] for axis, n in enumerate(pair(c["output_size"]))]
    y = np.zeros((*x.shape[:2], *sizes))
    for i, j in np.ndindex(*sizes):
        (a, b), (d, e) = bounds(i, x.shape[2], sizes[0]), bounds(j, x.shape[3], sizes[1])
        if b <= a or e <= d:
            return None
        y[:, :, i, j] = x[:, :, a:b, d:e].mean((2, 3))
    return y


def _changed(**changes: Any) -> Callable[[Call], np.ndarray]:
    return lambda c: c(**changes)


def _stride_by_default(c: Call) -> np.ndarray | None:
    return c(stride=1) if c["stride"] is None else None


MISTAKES = [
    Mistake(
        "padding with zeros",
        ("max_pool2d",),
        "zeros of the padding take part in the maximum; padding counts as −∞",
        _zero_padded_maximum,
    ),
    Mistake(
        "count_include_pad",
        ("avg_pool2d", "gaussian_pool2d"),
        "whether zeros of the padding count is taken the other way round",
        lambda c: c(**flag(c, "count_include_pad")),
    ),
    Mistake(
        "window beyond the padding counted",
        ("avg_pool2d",),
        "under ceil_mode a window is cut off at the end of the padding, and divided by what is left of it",
        _whole_windows,
    ),
    Mistake(
        "divisor_override ignored", ("avg_pool2d",), "divisor_override has no effect", _changed(divisor_override=None)
    ),
    Mistake("ceil_mode ignored", WINDOWED, "the output is that of ceil_mode=False", _changed(ceil_mode=False)),
    Mistake("ceil_mode always on", WINDOWED, "the output is that of ceil_mode=True", _changed(ceil_mode=True)),
    Mistake("dilation ignored", ("max_pool2d",), "the output is that of dilation=1", _changed(dilation=1)),
    Mistake("padding ignored", WINDOWED, "the output is that of padding=0", _changed(padding=0)),
    Mistake("stride ignored", WINDOWED, "the output is that of stride = kernel_size", _changed(stride=None)),
    Mistake("default stride 1", WINDOWED, "stride=None is kernel_size; here it is 1", _stride_by_default),
    *(
        Mistake(
            f"{name}: height and width swapped",
            ops,
            f"{name} is a pair (vertical, horizontal); the output is that of the pair the other way round",
            with_swapped(name),
        )
        for name, ops in (
            ("kernel_size", WINDOWED),
            ("stride", WINDOWED),
            ("padding", WINDOWED),
            ("dilation", ("max_pool2d",)),
            ("output_size", ("adaptive_avg_pool2d",)),
        )
    ),
    Mistake(
        "height and width swapped",
        WINDOWED,
        "windows are (vertical, horizontal); the output is that of all of them the other way round",
        with_swapped("kernel_size", "stride", "padding"),
    ),
    Mistake(
        "sum instead of mean",
        ("avg_pool2d",),
        "the samples are added up and not divided",
        lambda c: window_by_window(c, lambda samples, w: samples.sum(axis=0)),
    ),
    Mistake(
        "minimum instead of maximum",
        ("max_pool2d",),
        "the output is the smallest sample",
        lambda c: window_by_window(c, lambda samples, w: samples.min(axis=0)),
    ),
    Mistake(
        "average instead of maximum",
        ("max_pool2d",),
        "the output is the mean of the samples",
        lambda c: window_by_window(c, lambda samples, w: samples.mean(axis=0)),
    ),
    Mistake(
        "ends of windows rounded down",
        ("adaptive_avg_pool2d",),
        "window i ends at ⌈(i + 1) H / I⌉; here at ⌊(i + 1) H / I⌋",
        lambda c: _adaptive(c, lambda i, n, m: (i * n // m, (i + 1) * n // m)),
    ),
    Mistake(
        "windows of equal size",
        ("adaptive_avg_pool2d",),
        "windows have ⌊H / I⌋ samples and what is left over is not read",
        lambda c: _adaptive(c, lambda i, n, m: (i * (n // m), (i + 1) * (n // m))),
    ),
    Mistake(
        "windows of equal size",
        ("adaptive_avg_pool2d",),
        "windows have H − (I − 1) ⌊H / I⌋ samples, ⌊H / I⌋ apart",
        lambda c: _adaptive(c, lambda i, n, m: (i * floor(n / m), i * floor(n / m) + n - (m - 1) * floor(n / m))),
    ),
    Mistake(
        "overlapping windows overwrite",
        ("max_pool2d",),
        "a sample that is the largest of several windows keeps one cotangent; it gets their sum (use +=, not =)",
        gradient=lambda c: {"x": _only_the_largest(c)},
    ),
    Mistake(
        "overlapping windows overwrite",
        ("avg_pool2d",),
        "a sample of several windows keeps one share; it gets their sum (use +=, not =)",
        gradient=lambda c: {"x": scattered(c, lambda s, w: _share_of_average(c, s, w), overwrite=True)},
    ),
    Mistake(
        "cotangent spread over the window",
        ("max_pool2d",),
        "every sample of a window gets an equal share; the largest gets it all",
        gradient=lambda c: {"x": scattered(c, lambda s, w: np.broadcast_to(cotangent(c, w) / len(s), s.shape))},
    ),
    Mistake(
        "cotangent given to the whole window",
        ("max_pool2d", "avg_pool2d"),
        "every sample of a window gets the whole cotangent",
        gradient=lambda c: {"x": scattered(c, lambda s, w: np.broadcast_to(cotangent(c, w), s.shape))},
    ),
    Mistake(
        "cotangent ignored",
        ("max_pool2d",),
        "the gradient is the mask of the largest samples: it is not multiplied by gy",
        gradient=lambda c: {"x": (c.pull(np.ones_like(c.gy))["x"] != 0).astype(float)},
    ),
    Mistake(
        "count_include_pad",
        ("avg_pool2d",),
        "in the gradient whether zeros of the padding count is taken the other way round",
        gradient=lambda c: c.pull(**flag(c, "count_include_pad")),
    ),
    Mistake(
        "not divided",
        ("adaptive_avg_pool2d",),
        "the gradient is not divided by the size of each window",
        gradient=lambda c: {"x": c.pull()["x"] * (c["x"][0, 0].size / c.gy[0, 0].size)},
    ),
]
