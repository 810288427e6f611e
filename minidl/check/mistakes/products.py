"""Mistakes in matrix products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minidl.check.mistakes.call import Call, Mistake


def _not_transposed(c: Call) -> np.ndarray:
    bias = 0.0 if c["bias"] is None else c["bias"]
    return c["x"] @ c["weight"] + bias


def _own_factor(c: Call) -> Mapping[str, np.ndarray]:
    """Each factor's gradient times itself, not times the other."""
    a, b = c["a"], c["b"]
    if a.shape != b.shape or a.shape[-1] != a.shape[-2]:
        return {}
    return {"a": c.gy @ a.swapaxes(-1, -2), "b": b.swapaxes(-1, -2) @ c.gy}


def _factor_not_transposed(c: Call) -> Mapping[str, np.ndarray]:
    a, b = c["a"], c["b"]
    if a.shape != b.shape or a.shape[-1] != a.shape[-2]:
        return {}
    return {"a": c.gy @ b, "b": a @ c.gy}


MISTAKES = [
    Mistake(
        "transposed weight",
        ("linear",),
        "weight is (outputs, inputs) and y = x Wᵀ + b; here it is y = x W + b",
        _not_transposed,
    ),
    Mistake(
        "transposed factor",
        ("matmul",),
        "the product is A Bᵀ",
        lambda c: c["a"] @ c["b"].swapaxes(-1, -2),
    ),
    Mistake(
        "transposed factor",
        ("matmul",),
        "the product is Aᵀ B",
        lambda c: c["a"].swapaxes(-1, -2) @ c["b"],
    ),
    Mistake("factors swapped", ("matmul",), "the product is B A", lambda c: c["b"] @ c["a"]),
    Mistake(
        "transposed weight",
        ("linear",),
        "gx = gy W; here W is transposed",
        gradient=lambda c: {"x": c.gy @ c["weight"].T},
    ),
    Mistake(
        "transposed factor",
        ("matmul",),
        "gA = gy Bᵀ and gB = Aᵀ gy; here the other factor is not transposed",
        gradient=_factor_not_transposed,
    ),
    Mistake(
        "own factor instead of the other",
        ("matmul",),
        "gA = gy Bᵀ and gB = Aᵀ gy; here each is multiplied by its own matrix",
        gradient=_own_factor,
    ),
]
