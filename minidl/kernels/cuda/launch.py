"""Launching a kernel by its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.cuda.sources import THREADS, TYPES, options, source_of, text

__all__ = ["THREADS", "Dim", "blocks_of", "computes", "counted", "ints", "launch", "pixel_blocks", "real", "ring"]

Dim = tuple[int, ...]

_counter: ContextVar[Counter[str] | None] = ContextVar("minidl_launches", default=None)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the launches inside, by the kernel's name.

    Example:
        >>> with counted() as launches:
        ...     pass
        >>> launches.total()
        0
    """
    launches: Counter[str] = Counter()
    token = _counter.set(launches)
    try:
        yield launches
    finally:
        _counter.reset(token)


def launch(name: str, dtype: Any, grid: Dim, block: Dim, *arguments: Any) -> None:
    """Run kernel `name`, compiled for arrays of `dtype`, on `grid` × `block` threads; returns before it has run.

    Args:
        arguments: in the order of the kernel's parameters: arrays that are contiguous, and NumPy scalars.  CUDA checks
            neither; a Python number would arrive as 64 bits whatever the kernel expects, and is refused.
    """
    xp = get_array_module(*arguments)
    for argument in arguments:
        if isinstance(argument, xp.ndarray):
            if not argument.flags.c_contiguous:
                raise ValueError(f"{name}: arrays must be contiguous, got strides {argument.strides}")
        elif not isinstance(argument, np.generic):
            raise TypeError(f"{name}: scalars must be NumPy's, got {type(argument).__name__}")
    launches = _counter.get()
    if launches is not None:
        launches[name] += 1
    _kernel(xp, name, np.dtype(dtype).char)(grid, block, arguments)


@cache
def _kernel(xp: ModuleType, name: str, dtype: str) -> Any:
    source = source_of(name)
    return xp.RawKernel(text(source.file), name, options=options(source, dtype))  # compiled at its first launch


def computes(*arrays: Array | None) -> bool:
    """Whether the kernels take these arrays: none empty, all of one dtype that there is an instantiation for."""
    given = [a for a in arrays if a is not None]
    return len({a.dtype for a in given}) == 1 and given[0].dtype.char in TYPES and all(a.size for a in given)


def ints(*values: int) -> tuple[np.int32, ...]:
    """`values` as `int` parameters; one that does not fit is an OverflowError."""
    return tuple(np.int32(value) for value in values)


def real(value: float, dtype: Any) -> np.floating:
    """`value` as a parameter of type A: the precision that arrays of `dtype` are computed in."""
    return np.float64(value) if np.dtype(dtype).char == "d" else np.float32(value)


def ring(size: int) -> tuple[Dim, Dim]:
    """Grid and block for `size` elements in a row, each thread taking every so-many-th of them."""
    return (min(-(-size // THREADS), 2048),), (THREADS,)


def blocks_of(channels: int) -> Dim:
    """The rectangle of threads, (channels, pixels), for maps of so many channels."""
    across = min(1 << (channels - 1).bit_length(), 128)
    return across, THREADS // across


def pixel_blocks(pixels: int, channels: int) -> tuple[Dim, Dim]:
    """Grid and block with a row of threads for every pixel; see src/common.cuh.

    Raises:
        OverflowError: there are too many pixels for their number, rounded up to whole blocks, to be an `int`.

    Example:
        >>> pixel_blocks(100, 3)
        ((2,), (4, 64))
    """
    ints(pixels + THREADS)
    block = blocks_of(channels)
    return (-(-pixels // block[1]),), block
