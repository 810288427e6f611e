"""Argument checks shared by the ops: each message names the op, the rule and the value."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device import Array, get_array_module
from minidl.guards import frozen


def pair(op: str, name: str, value: Any, minimum: int) -> tuple[int, int]:
    """`value` as (vertical, horizontal), each an integer >= `minimum`; one integer stands for both.

    Example:
        >>> pair("conv2d", "stride", 2, minimum=1)
        (2, 2)
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    integral = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values)
    if len(values) != 2 or not integral or min(values) < minimum:
        raise ValueError(f"{op}: {name} must be an integer >= {minimum} or a pair of them, got {value!r}")
    return int(values[0]), int(values[1])


def integer(op: str, name: str, value: Any, minimum: int) -> int:
    """`value` as an int >= `minimum`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{op}: {name} must be an integer >= {minimum}, got {value!r}")
    return int(value)


def number(op: str, name: str, value: Any) -> float:
    """`value` as a Python float: np.float64 would widen a float32 array.  NaN is refused."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool) or value != value:
        raise ValueError(f"{op}: {name} must be a number, got {value!r}")
    return float(value)


def ndim(op: str, name: str, shape: tuple[int, ...], axes: str) -> None:
    """Refuse a `shape` that has not one length per letter of `axes`, such as "NCHW"."""
    if len(shape) != len(axes):
        raise ValueError(f"{op}: {name} must have shape ({', '.join(axes)}), got {shape}")


def choice(op: str, name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuse a `value` outside `allowed`."""
    if value not in allowed:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def positive(op: str, name: str, value: Any) -> None:
    """Refuse numbers that are not > 0 (NaN included).  What is on a GPU is not read: it would stall the step."""
    x = _on_the_host(value)
    if not np.all(x > 0):
        raise ValueError(f"{op}: {name} must be > 0, got {x[~(x > 0)].flat[0]}")


def not_negative(op: str, name: str, value: Any) -> None:
    """Refuse numbers that are not >= 0 (NaN included); as `positive`."""
    x = _on_the_host(value)
    if not np.all(x >= 0):
        raise ValueError(f"{op}: {name} must be >= 0, got {x[~(x >= 0)].flat[0]}")


def _on_the_host(value: Any) -> np.ndarray:
    """The real part of a Tensor, array, list or number; nothing of what is on a GPU."""
    array = getattr(value, "data", value) if hasattr(value, "grad_fn") else value
    return np.real(np.asarray(array)) if get_array_module(array) is np else np.empty(0)


def integers(op: str, name: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
    """`value` as a read-only integer array of its own, so that a later edit cannot reach backward."""
    xp = get_array_module(value)
    array = xp.array(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be integers, got dtype {array.dtype}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{op}: {name} must have shape {shape}, got {array.shape}")
    return frozen(array)


def broadcasts_to(op: str, name: str, shape: tuple[int, ...], to: tuple[int, ...]) -> None:
    """Refuse a `shape` that does not broadcast to the shape `to`."""
    if len(shape) > len(to) or any(n not in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False)):
        raise ValueError(f"{op}: {name} must broadcast to shape {to}, got {shape}")
