"""The adjoint of broadcasting."""

from __future__ import annotations

from minidl.device import Array


def sum_to(gy: Array, shape: tuple[int, ...]) -> Array:
    """Sum `gy` over the axes along which `shape` was broadcast: the adjoint of `broadcast_to(·, gy.shape)`.

    Example:
        >>> import numpy as np
        >>> sum_to(np.ones((2, 3, 4)), (3, 1)).tolist()
        [[8.0], [8.0], [8.0]]
    """
    if gy.shape == shape:
        return gy
    lead = gy.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and gy.shape[lead + i] != 1)
    return gy.sum(axis=axes, keepdims=True).reshape(shape)  # (1, …, 1, *shape) → shape
