"""Mistakes in Gaussian kernels and filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.check.mistakes.call import Call, Mistake, run
from minidl.check.spec.gaussian import BORDERS

KERNEL, FILTER, SEPARABLE = ("gaussian_kernel1d",), ("gaussian_filter",), ("separable_filter",)
FILTERS = (*FILTER, *SEPARABLE)
WIDTH = (*KERNEL, *FILTER)


def _kind(c: Call) -> str:
    return c["kind"] or c["kernel"]


def _variance(c: Call) -> np.ndarray:
    return c["sigma"] ** 2 if c["variance"] is None else c["variance"]


def _with_variance(c: Call, t: np.ndarray) -> np.ndarray:
    """The op with another variance."""
    return c(sigma=None, variance=t)


def _unnormalised(c: Call) -> np.ndarray | None:
    """exp(−u²/2σ²) over √(2π) σ, its value on the line, not over its sum."""
    if _kind(c) != "sampled":
        return None
    t = _variance(c)[..., None]
    u = np.arange(-c["radius"], c["radius"] + 1)
    return np.exp(-u * u / (2 * t)) / np.sqrt(2 * np.pi * t)


def _filtered(c: Call, taps: np.ndarray | None) -> np.ndarray | None:
    return None if taps is None else run("separable_filter", c["x"], taps, border=c["border"], grow=c["grow"])


def _gk(c: Call) -> np.ndarray:
    """The cotangent of the taps: given, or what reaches them through the filter."""
    if c.case.name == "gaussian_kernel1d":
        return c.gy
    taps = _taps(c)
    separable = _filter_call(c, taps)
    return separable.pull()["taps"]


def _taps(c: Call) -> np.ndarray:
    return run("gaussian_kernel1d", c["sigma"], c["variance"], radius=c["radius"], kind=_kind(c))


def _filter_call(c: Call, taps: np.ndarray) -> Call:
    from minidl.check.spec import CASES
    from minidl.check.spec.case import Sample

    case = next(case for case in CASES if case.name == "separable_filter")
    return Call(case, Sample((c["x"], taps), {"border": c["border"], "grow": c["grow"]}), c.gy)


def _width_gradient(c: Call, normaliser) -> Mapping[str, np.ndarray]:
    """gσ = Σ gk k (z² − normaliser)/σ, or its like for the variance."""
    if _kind(c) != "sampled":
        return {}
    k, gk = _taps(c), _gk(c)
    sigma = np.sqrt(_variance(c))[..., None]
    z2 = (np.arange(-c["radius"], c["radius"] + 1) / sigma) ** 2
    g = (gk * k * (z2 - normaliser(k, z2)) / sigma).sum(axis=-1)
    return {"sigma": g} if c["variance"] is None else {"variance": g / (2 * sigma[..., 0])}


def _own_adjoint(c: Call) -> Mapping[str, np.ndarray]:
    """gx by filtering gy once more."""
    if c["grow"] not in (0, (0, 0)):
        return {}
    return {"x": c(x=c.gy)}


def _turned_adjoint(c: Call) -> Mapping[str, np.ndarray]:
    """gx by filtering gy with the taps turned round."""
    if c["grow"] not in (0, (0, 0)):
        return {}
    return {"x": c(x=c.gy, taps=c["taps"][..., ::-1])}


def _by_axis(c: Call, taps: np.ndarray) -> np.ndarray:
    """Taps of shape (2, C, T)."""
    return np.broadcast_to(taps, (2, c["x"].shape[1], taps.shape[-1]))


def _one_axis(c: Call, axis: int) -> np.ndarray:
    """The filter along one axis alone."""
    both = np.array(_by_axis(c, _taps(c) if c.case.name == "gaussian_filter" else c["taps"]))
    both[1 - axis] = np.eye(both.shape[-1])[both.shape[-1] // 2]
    return run("separable_filter", c["x"], both, border=c["border"], grow=c["grow"])


def _axis_gradient(c: Call, axis: int) -> Mapping[str, np.ndarray]:
    """Gradients of a width or taps shared by both axes, from one axis alone."""
    name = next(n for n in ("taps", "sigma", "variance") if n in c.names and c[n] is not None)
    shared = c[name]
    lone = shared.ndim == (3 if name == "taps" else 2) and shared.shape[0] == 2
    if lone:
        return {}
    tail = shared.shape[-1:] if name == "taps" else ()
    both = np.broadcast_to(shared, (2, c["x"].shape[1], *tail))
    g = np.asarray(c.pull(**{name: np.array(both)})[name][axis])
    while g.ndim > shared.ndim:
        g = g.sum(axis=0)
    for a, n in enumerate(shared.shape):
        if n == 1:
            g = g.sum(axis=a, keepdims=True)
    return {name: g.reshape(shared.shape)}


def _of_axis(axis: int) -> Any:
    return lambda c: _axis_gradient(c, axis)


def _axes_swapped(c: Call) -> np.ndarray | None:
    name = next((n for n in ("taps", "sigma", "variance") if n in c.names and c[n] is not None), "")
    value = c[name]
    if value.ndim != (3 if name == "taps" else 2) or len(value) != 2:
        return None
    return c(**{name: value[::-1]})


def _radius(c: Call, by: int) -> np.ndarray | None:
    return c(radius=c["radius"] + by) if c["radius"] + by >= 1 else None


def _other_kind(c: Call) -> np.ndarray | None:
    name = "kind" if "kind" in c.sample.params or c.case.name == "gaussian_kernel1d" else "kernel"
    if np.any(_variance(c) == 0):
        return None
    return c(**{name: "sampled" if _kind(c) == "discrete" else "discrete"})


def _border(name: str):
    return lambda c: None if c["border"] == name or c["grow"] not in (0, (0, 0)) else c(border=name)


def _called(border: str) -> str:
    return {"symmetric": "'symmetric' (d c b a | a b c d)", "mirror": "'mirror' (d c b | a b c d)"}.get(
        border, repr(border)
    )


MISTAKES = [
    *(
        Mistake(
            f"wrong border: {name}",
            FILTERS,
            f'the border is read as {_called(name)}; libraries call different ones "reflect"',
            _border(name),
        )
        for name in BORDERS
    ),
    Mistake(
        "radius off by one", FILTER, "the kernel reaches r − 1 samples; it has 2r + 1 taps", lambda c: _radius(c, -1)
    ),
    Mistake(
        "radius off by one", FILTER, "the kernel reaches r + 1 samples; it has 2r + 1 taps", lambda c: _radius(c, 1)
    ),
    Mistake(
        "kernel not normalised",
        KERNEL,
        "the taps are values of the density; they are divided by their sum",
        _unnormalised,
    ),
    Mistake(
        "kernel not normalised",
        FILTER,
        "the taps are values of the density; they are divided by their sum",
        lambda c: _filtered(c, _unnormalised(c)),
    ),
    Mistake(
        "σ taken for the variance",
        WIDTH,
        "sigma is a standard deviation; here it is used as the variance",
        lambda c: None if c["sigma"] is None else _with_variance(c, c["sigma"]),
    ),
    Mistake(
        "variance taken for σ",
        WIDTH,
        "variance is σ²; here it is used as σ",
        lambda c: None if c["variance"] is None else _with_variance(c, c["variance"] ** 2),
    ),
    Mistake(
        "2 in the exponent forgotten",
        WIDTH,
        "the exponent is −u²/2σ²; here −u²/σ²",
        lambda c: _with_variance(c, _variance(c) / 2),
    ),
    Mistake("other kind of kernel", WIDTH, "sampled and discrete kernels are taken for each other", _other_kind),
    Mistake("axes swapped", FILTERS, "the first kernel is the vertical one; here the horizontal", _axes_swapped),
    Mistake("one axis alone", FILTERS, "only the columns are filtered", lambda c: _one_axis(c, 0)),
    Mistake("one axis alone", FILTERS, "only the rows are filtered", lambda c: _one_axis(c, 1)),
    Mistake(
        "kernel flipped",
        SEPARABLE,
        "the taps are turned round; y_i = Σ_u k_u x_{i+u}",
        lambda c: c(taps=c["taps"][..., ::-1]),
    ),
    Mistake(
        "stale normaliser",
        WIDTH,
        "the derivative of the kernel's sum is its second moment m as truncated, gσ = Σ gk k (z² − m)/σ; here m = 1, "
        "which holds for wide kernels only",
        gradient=lambda c: _width_gradient(c, lambda k, z2: 1.0),
    ),
    Mistake(
        "normaliser taken for constant",
        WIDTH,
        "the kernel's sum depends on σ: gσ = Σ gk k (z² − m)/σ; here m is missing",
        gradient=lambda c: _width_gradient(c, lambda k, z2: 0.0),
    ),
    Mistake(
        "gradient of σ² for σ",
        WIDTH,
        "the gradient is that of the variance; ∂σ²/∂σ = 2σ is missing",
        gradient=lambda c: {n: g / (2 * c["sigma"]) for n, g in c.pull().items() if n == "sigma"},
    ),
    Mistake(
        "mirrored adjoint",
        FILTERS,
        "the gradient of x is gy filtered once more; at this border the filter is not its own adjoint",
        gradient=_own_adjoint,
    ),
    Mistake(
        "mirrored adjoint",
        SEPARABLE,
        "the gradient of x is gy filtered with the taps turned round; at this border that is not the adjoint",
        gradient=_turned_adjoint,
    ),
    *(
        Mistake(
            "one axis alone",
            FILTERS,
            f"the gradient of the kernel is that of the {which} alone; both use it",
            gradient=_of_axis(axis),
        )
        for axis, which in enumerate(("columns", "rows"))
    ),
]
