"""How maps lie in memory on a card: channels last, so that neighbouring threads read neighbouring values.

A map has the logical shape (N, C, H, W) everywhere in minidl.  Here it is the transposed view of an array
(N, H, W, C) that is contiguous, as every kernel returns it; what comes in any other order is copied into this one.
"""

from __future__ import annotations

import numpy as np

from minidl.device import Array, get_array_module

__all__ = ["broadcast_map", "channels_last", "empty_map", "logical", "pixels_by_channels", "with_channels_second"]


def channels_last(x: Array) -> Array:
    """(N, C, H, W) → (N, H, W, C), contiguous; copied only if it does not lie so already."""
    return get_array_module(x).ascontiguousarray(x.transpose(0, 2, 3, 1))


def logical(x: Array) -> Array:
    """(N, H, W, C) → (N, C, H, W), a view."""
    return x.transpose(0, 3, 1, 2)


def empty_map(like: Array, n: int, size: tuple[int, ...], channels: int) -> Array:
    """A map (N, H, W, C) to be filled, size (H, W), of the module and dtype of `like`."""
    return get_array_module(like).empty((n, *size, channels), like.dtype)


def broadcast_map(value: Array) -> tuple[Array, tuple[np.int64, ...]]:
    """`value`, which broadcasts to (N, C, H, W), channels last, and its steps along N, H, W, C in elements.

    A step is 0 along an axis of length 1: the kernels then read the same element again and again.
    """
    value = channels_last(value.reshape((1,) * (4 - value.ndim) + value.shape))
    steps, step = [], 1
    for length in reversed(value.shape):
        steps.append(np.int64(step if length > 1 else 0))
        step *= length
    return value, tuple(reversed(steps))


def pixels_by_channels(x: Array) -> Array:
    """(N, C, …) → (N·…, C), contiguous: a row of C values for every pixel of every sample."""
    return get_array_module(x).ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1)).reshape(-1, x.shape[1])


def with_channels_second(rows: Array, shape: tuple[int, ...]) -> Array:
    """(N·…, C) → `shape` (N, C, …), a view."""
    last = len(shape) - 1
    return rows.reshape(shape[0], *shape[2:], shape[1]).transpose(0, last, *range(1, last))
