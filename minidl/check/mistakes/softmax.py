"""Mistakes in softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from minidl.check.mistakes.call import Call, Mistake

SOFTMAX, LOG = ("softmax",), ("log_softmax",)
BOTH = (*SOFTMAX, *LOG)


def _along(axis_of: Callable[[int], int]) -> Callable[[Call], np.ndarray | None]:
    def output(c: Call) -> np.ndarray | None:
        n = c["x"].ndim
        axis = axis_of(n)
        return c(axis=axis) if -n <= axis < n and axis % n != c["axis"] % n else None

    return output


def _over_all(c: Call) -> np.ndarray:
    return c(x=c["x"].reshape(-1), axis=0).reshape(c["x"].shape)


def _diagonal(c: Call) -> Mapping[str, np.ndarray]:
    """p (1 − p) gy: the diagonal of the Jacobian diag(p) − p pᵀ."""
    return {"x": c.gy * c.y * (1 - c.y)}


def _log_gradient(c: Call, of: Callable[[np.ndarray], np.ndarray]) -> Mapping[str, np.ndarray]:
    return {"x": of(np.exp(c.y))}


MISTAKES = [
    *(
        Mistake("wrong axis", BOTH, f"it is normalised along the {which} axis, whatever `axis` says", _along(axis))
        for which, axis in (
            ("last", lambda n: -1),
            ("first", lambda n: 0),
            ("second", lambda n: 1),
            ("last but one", lambda n: -2),
        )
    ),
    Mistake("wrong axis", BOTH, "it is normalised over the whole array", _over_all),
    Mistake("logarithm to base 2", LOG, "the logarithm is to base 2; it is the natural one", lambda c: c.y / np.log(2)),
    Mistake(
        "logarithm to base 10", LOG, "the logarithm is to base 10; it is the natural one", lambda c: c.y / np.log(10)
    ),
    Mistake("logarithm forgotten", LOG, "the output is softmax", lambda c: np.exp(c.y)),
    Mistake("not normalised", SOFTMAX, "the exponentials are not divided by their sum", lambda c: np.exp(c["x"])),
    Mistake(
        "diagonal of the Jacobian alone",
        SOFTMAX,
        "gx = gy p (1 − p); it is p (gy − Σ gy p), as every p depends on every x",
        gradient=_diagonal,
    ),
    Mistake("sum forgotten", SOFTMAX, "gx = gy p; it is p (gy − Σ gy p)", gradient=lambda c: {"x": c.gy * c.y}),
    Mistake(
        "sum forgotten", LOG, "gx = gy − p; it is gy − p Σ gy", gradient=lambda c: _log_gradient(c, lambda p: c.gy - p)
    ),
    Mistake(
        "sum forgotten",
        LOG,
        "gx = gy (1 − p); it is gy − p Σ gy",
        gradient=lambda c: _log_gradient(c, lambda p: c.gy * (1 - p)),
    ),
]
