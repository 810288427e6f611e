"""Mistakes in reductions, rearrangements and reading by index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minidl.check.mistakes.call import Call, Mistake

REDUCTIONS = ("sum", "mean", "max", "min", "var", "logsumexp")
Gradients = Mapping[str, np.ndarray]


def _axes(c: Call) -> tuple[int, ...]:
    axis, n = c["axis"], c["x"].ndim
    if axis is None:
        return tuple(range(n))
    return tuple(a % n for a in ((axis,) if isinstance(axis, int) else axis))


def _group(c: Call) -> int:
    """How many elements are reduced to one."""
    return int(np.prod([c["x"].shape[a] for a in _axes(c)]))


def _kept(c: Call, y: np.ndarray) -> np.ndarray:
    """A reduced array with its reduced axes of length 1."""
    return y.reshape([1 if a in _axes(c) else n for a, n in enumerate(c["x"].shape)])


def _spread(c: Call, factor: Any = 1.0) -> Gradients:
    return {"x": np.broadcast_to(_kept(c, c.gy), c["x"].shape) * factor}


def _unnormalised_variance(c: Call) -> Gradients:
    x = c["x"]
    return _spread(c, 2 * (x - x.mean(_axes(c), keepdims=True)) / max(_group(c), 1))


def _listed(c: Call) -> list[np.ndarray]:
    return [x for x in c.sample.inputs if x is not None]


def _pieces(c: Call, names: Sequence[str]) -> Gradients:
    """The gradients of concat's inputs in another order; the shapes must allow it."""
    g = c.pull()
    shapes_fit = all(g[a].shape == g[b].shape for a, b in zip(c.names, names, strict=True))
    return {a: g[b] for a, b in zip(c.names, names, strict=True)} if shapes_fit else {}


def _assigned(c: Call) -> Gradients:
    """gx by gx[key] = gy: of elements read twice the last cotangent stays."""
    gx = np.zeros(c["x"].shape)
    if c.case.name == "getitem":
        gx[c["key"] if not isinstance(c["key"], list) else np.array(c["key"], dtype=None if c["key"] else int)] = c.gy
        return {"x": gx}
    axis = c["axis"] % c["x"].ndim
    indices = np.asarray(c["indices"]) % max(c["x"].shape[axis], 1)
    gx[(slice(None),) * axis + (indices,)] = c.gy
    return {"x": gx}


def _padded(c: Call, **how: Any) -> np.ndarray | None:
    try:
        return c(**how)
    except ValueError:
        return None


def _widths(c: Call) -> list[tuple[int, int]]:
    width, n = c["pad_width"], c["x"].ndim
    pairs = width if isinstance(width, (list, tuple)) else [width] * n
    return [tuple(w) if isinstance(w, (list, tuple)) else (w, w) for w in pairs]


def _cropped(c: Call) -> Gradients:
    """gx without what the border read of the map."""
    inner = tuple(slice(before, before + n) for (before, _), n in zip(_widths(c), c["x"].shape, strict=True))
    return {"x": c.gy[inner]}


def _other_mode(mode: str) -> Callable[[Call], np.ndarray | None]:
    return lambda c: _padded(c, mode=mode, value=0.0) if c["mode"] != mode else None


def _unflipped(c: Call) -> Gradients:
    return {"x": c.gy}


def _order(c: Call) -> tuple[int, ...]:
    n = c["x"].ndim
    return tuple(range(n))[::-1] if c["axes"] is None else tuple(a % n for a in c["axes"])


def _of_one_copy(c: Call) -> Gradients:
    """One of the copies' cotangents."""
    shape = (1,) * (c.gy.ndim - c["x"].ndim) + c["x"].shape
    here = tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)
    return {"x": c.gy[here].reshape(c["x"].shape)}


MISTAKES = [
    Mistake(
        "biased or unbiased variance",
        ("var",),
        "the variance is divided by n − 1 where n is asked for, or the other way round",
        lambda c: c(correction=0 if c["correction"] else 1),
    ),
    Mistake(
        "biased or unbiased variance",
        ("var",),
        "the variance is divided by n − 1 whatever correction says",
        lambda c: c(correction=1),
    ),
    Mistake(
        "biased or unbiased variance",
        ("var",),
        "the variance is divided by n whatever correction says",
        lambda c: c(correction=0),
    ),
    Mistake("deviation instead of variance", ("var",), "the output is the standard deviation", lambda c: np.sqrt(c.y)),
    Mistake("mean instead of sum", ("sum",), "the output is the mean", lambda c: c.y / _group(c)),
    Mistake("sum instead of mean", ("mean",), "the output is the sum", lambda c: c.y * _group(c)),
    Mistake(
        "mean of exponentials",
        ("logsumexp",),
        "the output is ln mean exp x; it is ln Σ exp x",
        lambda c: c.y - np.log(_group(c)),
    ),
    Mistake(
        "logarithm to base 2",
        ("logsumexp",),
        "the logarithm is to base 2; it is the natural one",
        lambda c: c.y / np.log(2),
    ),
    Mistake("keepdims ignored", REDUCTIONS, "the output is that of keepdims=False", lambda c: c(keepdims=False)),
    Mistake("keepdims always on", REDUCTIONS, "the output is that of keepdims=True", lambda c: c(keepdims=True)),
    Mistake("axis ignored", REDUCTIONS, "all axes are reduced, whatever axis says", lambda c: c(axis=None)),
    Mistake(
        "wrong axis",
        REDUCTIONS,
        "the first of several axes alone is reduced",
        lambda c: c(axis=c["axis"][0]) if isinstance(c["axis"], (tuple, list)) and c["axis"] else None,
    ),
    Mistake("not divided", ("mean",), "the gradient is not divided by the number of elements", gradient=_spread),
    Mistake(
        "given to every element",
        ("max", "min"),
        "every element gets the whole cotangent; the extreme one gets it",
        gradient=_spread,
    ),
    Mistake(
        "divided by n",
        ("var",),
        "the gradient is divided by n; the variance was by n − correction",
        gradient=_unnormalised_variance,
    ),
    Mistake(
        "mean not subtracted",
        ("var",),
        "the gradient is 2 gy x/n; it is 2 gy (x − x̄)/n",
        gradient=lambda c: _spread(c, 2 * c["x"] / max(_group(c) - c["correction"], 1)),
    ),
    Mistake("softmax forgotten", ("logsumexp",), "the gradient is gy; it is gy softmax(x)", gradient=_spread),
    Mistake(
        "column-major order",
        ("reshape", "flatten"),
        "elements are taken column by column; it is row by row",
        lambda c: c["x"].reshape(c.y.shape, order="F"),
    ),
    Mistake(
        "inverse permutation",
        ("transpose",),
        "axis a of the output is the axis axes[a] of x; here x's axis a goes to axes[a]",
        lambda c: c["x"].transpose(np.argsort(_order(c))),
    ),
    Mistake("axes ignored", ("transpose",), "all axes are reversed, whatever axes says", lambda c: c(axes=None)),
    Mistake(
        "axes not inverted",
        ("transpose",),
        "the gradient is permuted by axes once more; it is by their inverse",
        gradient=lambda c: {"x": c.gy.transpose(_order(c))},
    ),
    Mistake("wrong axis", ("flip",), "all axes are reversed, whatever axis says", lambda c: c(axis=None)),
    Mistake("not reversed", ("flip",), "the gradient is gy; it is to be reversed too", gradient=_unflipped),
    Mistake(
        "order reversed",
        ("concat", "stack"),
        "the arrays stand in reverse order",
        lambda c: c(**dict(zip(c.names, _listed(c)[::-1], strict=True))),
    ),
    Mistake("wrong axis", ("stack",), "the arrays are joined along axis 0", lambda c: c(axis=0)),
    Mistake(
        "order reversed",
        ("concat", "stack"),
        "the gradients stand in reverse order",
        gradient=lambda c: _pieces(c, c.names[::-1]),
    ),
    Mistake(
        "first piece given to all",
        ("concat", "stack"),
        "every input gets the gradient of the first",
        gradient=lambda c: _pieces(c, [c.names[0]] * len(c.names)),
    ),
    Mistake(
        "repeated indices overwrite",
        ("take", "getitem"),
        "of an element that is read twice one cotangent stays; it gets their sum (use add.at, or index_add)",
        gradient=_assigned,
    ),
    *(
        Mistake("wrong border: " + mode, ("pad",), f"the border is that of mode={mode!r}", _other_mode(mode))
        for mode in ("reflect", "symmetric", "edge", "wrap", "constant")
    ),
    Mistake(
        "before and after swapped",
        ("pad",),
        "each pair is (before, after); here (after, before)",
        lambda c: c(pad_width=[w[::-1] for w in _widths(c)]),
    ),
    Mistake(
        "axes of pad_width reversed",
        ("pad",),
        "pad_width begins with the first axis; here with the last",
        lambda c: c(pad_width=_widths(c)[::-1]),
    ),
    Mistake("value ignored", ("pad",), "the border is 0 whatever value says", lambda c: c(value=0.0)),
    Mistake(
        "border forgotten in the gradient",
        ("pad",),
        "the gradient is gy cropped; what the border read of x belongs to it too",
        gradient=_cropped,
    ),
    Mistake(
        "not summed over broadcast axes",
        ("broadcast_to",),
        "the gradient is that of one copy; it is the sum of all",
        gradient=_of_one_copy,
    ),
    Mistake(
        "not summed over broadcast axes",
        ("broadcast_to",),
        "the gradient is the mean over the copies; it is their sum",
        gradient=lambda c: {"x": c.pull()["x"] * c["x"].size / max(c.gy.size, 1)},
    ),
    Mistake(
        "order reversed",
        ("split",),
        "the pieces stand in reverse order",
        lambda c: c(x=np.flip(c["x"], c["axis"])) if isinstance(c["sizes"], int) else None,
    ),
]
