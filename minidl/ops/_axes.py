"""Axes and shapes: their checks, each message naming the op, the rule and the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Axis = int | Sequence[int] | None


def one_axis(op: str, axis: Any, ndim: int) -> int:
    """`axis`, counted from the end if negative, as an index below `ndim`.

    Example:
        >>> one_axis("stack", -1, 3)
        2
    """
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        raise TypeError(f"{op}: axis must be an integer, got {axis!r}")
    if not -ndim <= axis < ndim:
        rule = f"in [{-ndim}, {ndim})" if ndim else "absent for a tensor without axes"
        raise ValueError(f"{op}: axis must be {rule}, got {axis}")
    return int(axis) % ndim


def several_axes(op: str, axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` (an integer, several, or None for all) as indices below `ndim`, in ascending order.

    Example:
        >>> several_axes("sum", (-1, 0), 3)
        (0, 2)
    """
    if axis is None:
        return tuple(range(ndim))
    chosen = [one_axis(op, a, ndim) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{op}: axis must name each axis once, got {axis}")
    return tuple(sorted(chosen))


def lengths(op: str, name: str, value: Any, minimum: int) -> tuple[int, ...]:
    """`value` (an integer or several) as a tuple of integers >= `minimum`."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    integral = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in values)
    if not integral or any(n < minimum for n in values):
        raise ValueError(f"{op}: {name} must hold integers >= {minimum}, got {value!r}")
    return tuple(int(n) for n in values)
