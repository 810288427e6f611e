"""Mistakes in convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.check.mistakes.call import Call, Mistake, flipped, pair, with_swapped

CONV = ("conv2d",)
BOTH = ("conv2d", "conv_transpose2d")


def _padding(c: Call) -> tuple[int, int] | None:
    """Numbers of zeros; None for a word."""
    return None if isinstance(c["padding"], str) else pair(c["padding"])


def _padded(c: Call, before: int, after: int, **how: Any) -> np.ndarray | None:
    """The convolution of a map with `before` and `after` times the padding at its ends."""
    if (p := _padding(c)) is None:
        return None
    widths = ((0, 0), (0, 0), *((before * n, after * n) for n in p))
    return c(x=np.pad(c["x"], widths, **how), padding=0)


def _same_on_top(c: Call) -> np.ndarray | None:
    """padding='same' with the odd zero at the top and left."""
    if c["padding"] != "same":
        return None
    total = [d * (k - 1) for k, d in zip(c["weight"].shape[2:], pair(c["dilation"]), strict=True)]
    return c(x=np.pad(c["x"], ((0, 0), (0, 0), *((n - n // 2, n // 2) for n in total))), padding=0)


def _interleaved(c: Call, inputs: bool, outputs: bool) -> np.ndarray:
    """Channels dealt out to the groups in turn, not in blocks."""
    x, weight, bias, groups = c["x"], c["weight"], c["bias"], c["groups"]

    def in_turn(n: int) -> np.ndarray:
        return np.arange(n).reshape(-1, groups).T.ravel()

    if inputs:
        x = x[:, in_turn(x.shape[1])]
    if not outputs:
        return c(x=x)
    order = in_turn(len(weight))
    y = c(x=x, weight=weight[order], bias=None if bias is None else bias[order])
    return y[:, np.argsort(order)]


def _dealt_out(inputs: bool, outputs: bool) -> Any:
    return lambda c: _interleaved(c, inputs, outputs)


def _continued(mode: str) -> Any:
    return lambda c: _padded(c, 1, 1, mode=mode)


def _first_group(c: Call) -> np.ndarray:
    each = c["x"].shape[1] // c["groups"]
    return c(x=np.tile(c["x"][:, :each], (1, c["groups"], 1, 1)))


def _scaled(c: Call, by: float) -> np.ndarray:
    bias = 0.0 if c["bias"] is None else c["bias"][:, None, None]
    return c(bias=None) * by + bias


def _rounded_up(c: Call) -> np.ndarray | None:
    """As many windows as begin before the end, not as fit."""
    if (p := _padding(c)) is None:
        return None
    s = pair(c["stride"])
    widths = ((0, 0), (0, 0), *((n, n + step - 1) for n, step in zip(p, s, strict=True)))
    return c(x=np.pad(c["x"], widths), padding=0)


def overwritten(c: Call) -> np.ndarray:
    """gx where the taps write their shares one over the other: the last tap that reaches a sample stays."""
    gx = np.zeros(c["x"].shape)
    for u, v in np.ndindex(c["weight"].shape[2:]):
        one = np.zeros_like(c["weight"])
        one[..., u, v] = 1.0
        touched = c.pull(np.ones(c.y.shape), weight=one)["x"] != 0
        gx = np.where(touched, c.pull(weight=one * c["weight"])["x"], gx)
    return gx


def overwritten_by_windows(c: Call) -> np.ndarray:
    """gx where the windows write their shares one over the other, the last staying."""
    gx = np.zeros(c["x"].shape)
    everywhere = np.ones_like(c["weight"])
    for i, j in np.ndindex(c.y.shape[2:]):
        here = np.zeros(c.y.shape)
        here[:, :, i, j] = 1.0
        touched = c.pull(here, weight=everywhere)["x"] != 0
        gx = np.where(touched, c.pull(here * c.gy)["x"], gx)
    return gx


def _default(name: str, value: Any) -> Any:
    return lambda c: c(**{name: value})


def _one_for_both(name: str, axis: int) -> Any:
    return lambda c: None if isinstance(c[name], str) else c(**{name: pair(c[name])[axis]})


MISTAKES = [
    Mistake(
        "kernel flipped",
        BOTH,
        "the output is that of the kernel turned by half a turn; convolution is a correlation here, Σ x[i + u] w[u]",
        lambda c: c(weight=flipped(c["weight"])),
    ),
    Mistake(
        "kernel transposed",
        BOTH,
        "the output is that of a kernel whose height and width are exchanged",
        lambda c: c(weight=c["weight"].swapaxes(2, 3)),
    ),
    *(
        Mistake(
            f"{name}: height and width swapped",
            BOTH if name != "output_padding" else ("conv_transpose2d",),
            f"{name} is a pair (vertical, horizontal); the output is that of the pair the other way round",
            with_swapped(name),
        )
        for name in ("stride", "padding", "dilation", "output_padding")
    ),
    Mistake(
        "height and width swapped",
        BOTH,
        "stride, padding and dilation are (vertical, horizontal); here all of them are the other way round",
        with_swapped("stride", "padding", "dilation"),
    ),
    Mistake(
        "stride and dilation swapped",
        BOTH,
        "the output is that of stride and dilation in each other's place",
        lambda c: c(stride=c["dilation"], dilation=c["stride"]),
    ),
    *(
        Mistake(
            f"{name}: one number for both axes",
            BOTH,
            f"{name} is a pair (vertical, horizontal); only its {which} number is used, for both axes",
            _one_for_both(name, axis),
        )
        for name in ("stride", "padding", "dilation")
        for axis, which in enumerate(("first", "second"))
    ),
    Mistake(
        "padding on one side",
        CONV,
        "the zeros stand at the top and left only, not at the bottom and right",
        lambda c: _padded(c, 1, 0),
    ),
    Mistake(
        "padding on one side",
        CONV,
        "the zeros stand at the bottom and right only, not at the top and left",
        lambda c: _padded(c, 0, 1),
    ),
    Mistake(
        "padding on one side",
        CONV,
        "all the zeros, twice as many, stand at the top and left",
        lambda c: _padded(c, 2, 0),
    ),
    Mistake(
        "padding on one side",
        CONV,
        "all the zeros, twice as many, stand at the bottom and right",
        lambda c: _padded(c, 0, 2),
    ),
    *(
        Mistake(
            f"padding by {word}",
            CONV,
            f"around the map stand no zeros but its continuation ({word})",
            _continued(mode),
        )
        for word, mode in (
            ("reflection", "reflect"),
            ("reflection", "symmetric"),
            ("the edge", "edge"),
            ("wrapping", "wrap"),
        )
    ),
    Mistake(
        "odd zero of 'same' at the top",
        CONV,
        "an odd number of zeros of padding='same' has one more at the bottom and right; here at the top and left",
        _same_on_top,
    ),
    *(
        Mistake(f"{name} ignored", BOTH, f"the output is that of {name}={value}", _default(name, value))
        for name, value in (("stride", 1), ("padding", 0), ("dilation", 1))
    ),
    Mistake(
        "output_padding ignored",
        ("conv_transpose2d",),
        "the output is that of output_padding=0",
        _default("output_padding", 0),
    ),
    *(
        Mistake(
            "groups interleaved",
            CONV,
            "groups are blocks of neighbouring channels; here channels go to the groups in turn",
            _dealt_out(i, o),
        )
        for i, o in ((True, False), (False, True), (True, True))
    ),
    Mistake(
        "only the first group",
        CONV,
        "every group reads the channels of the first one",
        _first_group,
    ),
    Mistake("bias ignored", (*BOTH, "linear"), "the output lacks the bias", lambda c: c(bias=None)),
    Mistake(
        "bias added twice",
        (*BOTH, "linear"),
        "the bias is there twice",
        lambda c: None if c["bias"] is None else c(bias=2 * c["bias"]),
    ),
    Mistake(
        "mean instead of sum",
        CONV,
        "the sum over the input channels is divided by their number",
        lambda c: _scaled(c, 1 / c["weight"].shape[1]),
    ),
    Mistake(
        "mean instead of sum",
        CONV,
        "the sum over the kernel is divided by the number of its taps",
        lambda c: _scaled(c, 1 / c["weight"][0].size),
    ),
    Mistake(
        "last window missing",
        CONV,
        "the output lacks its last row and column: its length is ⌊(H + 2p − d(k − 1) − 1)/s⌋ + 1",
        lambda c: c.y[..., :-1, :-1],
    ),
    Mistake(
        "output size rounded up",
        CONV,
        "there is a last window that reaches beyond the padding; the division by the stride rounds down",
        _rounded_up,
    ),
    Mistake(
        "channels of the weight swapped",
        ("conv_transpose2d",),
        "weight is (C, O/groups, kh, kw); it is read as (O, C, kh, kw)",
        lambda c: c(weight=c["weight"].swapaxes(0, 1)),
    ),
    Mistake(
        "mirrored adjoint",
        BOTH,
        "the gradient of x is that of the kernel turned by half a turn",
        gradient=lambda c: {"x": c.pull(weight=flipped(c["weight"]))["x"]},
    ),
    Mistake(
        "kernel flipped",
        BOTH,
        "the gradient of weight is turned by half a turn",
        gradient=lambda c: {"weight": flipped(c.pull()["weight"])},
    ),
    Mistake(
        "overlapping windows overwrite",
        CONV,
        "where windows overlap the gradient of x keeps one share; it is the sum of all (use +=, not =)",
        gradient=lambda c: {"x": overwritten(c)},
    ),
    Mistake(
        "overlapping windows overwrite",
        CONV,
        "where windows overlap the gradient of x keeps one share; it is the sum of all (use +=, not =)",
        gradient=lambda c: {"x": overwritten_by_windows(c)},
    ),
]
