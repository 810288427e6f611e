r"""Positive hyper-parameters: functions that squash the real line, and their inverses, which give initial values.

sigmoid     y = 1 / (1 + e⁻ᵃ)  in (0, 1)       a = ln y − ln(1 − y)
softplus    y = ln(1 + eᵃ)     > 0             a = y + ln(1 − e⁻ʸ)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor

__all__ = ["SQUASH", "a_channel", "unsquashed"]

SQUASH: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": ops.sigmoid, "softplus": ops.softplus}
_LIMIT = {"sigmoid": 1.0, "softplus": np.inf}
_INVERSE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda y: np.log(y) - np.log1p(-y),
    "softplus": lambda y: y + np.log(-np.expm1(-y)),
}


def a_channel(layer: str, name: str, value: Any, channels: int) -> np.ndarray:
    """`value`, a number or one a channel, as a finite float32 array of shape (1, C, 1, 1).

    Example:
        >>> a_channel("MaxEntPool2d", "lam", 2.0, 3).ravel()
        array([2., 2., 2.], dtype=float32)
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.shape not in ((), (channels,)) or not np.isfinite(array).all():
        raise ValueError(f"{layer}: {name} must be a finite number or {channels} of them, got {value!r:.60}")
    return np.broadcast_to(array.astype(np.float32)[..., None, None], (1, channels, 1, 1)).copy()


def unsquashed(layer: str, name: str, value: Any, squash: str, channels: int) -> np.ndarray:
    """The array of shape (1, C, 1, 1) that `squash` takes to `value`; zeros if it is None.

    Raises:
        ValueError: `value` lies outside of what `squash` can give, or is no number a channel.

    Example:
        >>> unsquashed("MaxEntPool2d", "lam", 0.5, "sigmoid", 1).ravel()
        array([0.], dtype=float32)
    """
    if value is None:
        return np.zeros((1, channels, 1, 1), np.float32)
    array, limit = a_channel(layer, name, value, channels), _LIMIT[squash]
    if not ((array > 0) & (array < limit)).all():
        below = f" and < {limit:g}" if limit < np.inf else ""
        raise ValueError(f"{layer}: {name} must be > 0{below}, got {value!r:.60}")
    return _INVERSE[squash](array.astype(np.float64)).astype(np.float32)
