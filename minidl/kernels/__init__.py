"""The few heavy array routines, each in several forms that compute the same thing.

    reference   plain loops: the definition
    array       whole-array expressions for NumPy or CuPy: the readable form
    cpu         NumPy in blocks, on threads: the fast form
    cuda        CuPy with kernels of our own: the fast form on a card

`kernels_for(xp)` gives the form that `Function` hands to the ops as `self.kernels`.
Every form takes and returns arrays of logical shape (N, C, H, W); how the elements lie
in memory is the kernel's own business, which strides express.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import numpy as np

_forced: ContextVar[ModuleType | None] = ContextVar("minidl_kernels", default=None)


def kernels_for(xp: ModuleType) -> ModuleType:
    """The kernel module that computes on arrays of `xp`.

    Args:
        xp: NumPy or CuPy.

    Returns:
        The module.

    Example:
        >>> kernels_for(np).__name__
        'minidl.kernels.cpu'
    """
    forced = _forced.get()
    if forced is not None:
        return forced
    if xp is np:
        return importlib.import_module("minidl.kernels.cpu")
    # Kernels in CUDA C++ need a CuPy that can compile them, which a stand-in on NumPy cannot.
    return importlib.import_module("minidl.kernels.cuda" if hasattr(xp, "RawModule") else "minidl.kernels.array")


@contextmanager
def use_kernels(name: str) -> Iterator[ModuleType]:
    """Run the ops of this thread on one form, to compare forms or to teach.

    Args:
        name: "reference", "array", "cpu" (NumPy arrays alone) or "cuda" (CuPy arrays alone).

    Yields:
        The module of kernels.

    Raises:
        ValueError: there is no such form.

    Example:
        >>> with use_kernels("array") as kernels:
        ...     kernels.__name__
        'minidl.kernels.array'
    """
    if name not in ("reference", "array", "cpu", "cuda"):
        raise ValueError(f"use_kernels: must be 'reference', 'array', 'cpu' or 'cuda', got {name!r}")
    token = _forced.set(importlib.import_module(f"minidl.kernels.{name}"))
    try:
        yield kernels_for(np)
    finally:
        _forced.reset(token)
