"""The known mistakes, a file a family: what each makes of a call, so that it can be recognised by its result."""

from __future__ import annotations

import importlib
from functools import cache

from minidl.check.mistakes.call import Call, Mistake

__all__ = ["Call", "Mistake", "mistakes_of"]

FAMILIES = (
    "conv",
    "products",
    "pool",
    "stochastic",
    "gaussian",
    "norm",
    "softmax",
    "loss",
    "elementwise",
    "shape",
    "common",
)


@cache
def mistakes() -> tuple[Mistake, ...]:
    """All of them."""
    modules = (importlib.import_module(f"{__name__}.{family}") for family in FAMILIES)
    return tuple(m for module in modules for m in module.MISTAKES)


@cache
def mistakes_of(op: str) -> tuple[Mistake, ...]:
    """Those that can be made in `op`, the particular ones first."""
    from minidl.check.mistakes.common import other_ops

    known = [m for m in mistakes() if not m.ops or op in m.ops]
    return (*known, *other_ops(op))
