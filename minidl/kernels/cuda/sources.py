"""The table of CUDA sources: which file defines which kernels, for which types, within which bounds.

Nothing here needs CuPy or a card: `python -m pytest tests/gpu/test_nvrtc.py` compiles all of it for every
architecture from the compiler's wheel alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "BLOCKS",
    "REGISTERS",
    "SOURCES",
    "THREADS",
    "TYPES",
    "Source",
    "instantiations",
    "options",
    "source_of",
    "text",
]

FOLDER = Path(__file__).resolve().parent / "src"

TYPES = {  # by the character NumPy gives the dtype: what T and A of src/common.cuh stand for
    "e": ("f16", "float"),
    "f": ("float", "float"),
    "d": ("double", "double"),
}


@dataclass(frozen=True)
class Source:
    """A file of kernels.

    Attributes:
        file: its name in `src/`.
        kernels: the names that can be launched.
        types: the dtypes it is compiled for, keys of `TYPES`.
        flags: options of the compiler beside the types.
    """

    file: str
    kernels: tuple[str, ...]
    types: str = "efd"
    flags: tuple[str, ...] = ()


SOURCES = (
    Source("conv.cu", ("im2col", "col2im")),
    Source("depthwise.cu", ("depthwise", "depthwise_adjoint_x", "depthwise_chunks", "depthwise_total")),
    Source("elementwise.cu", ("relu", "relu_adjoint", "add")),
    Source("loss.cu", ("cross_entropy", "cross_entropy_adjoint")),
    Source("noise.cu", ("uniform_noise", "normal_noise"), types="fd", flags=("--fmad=false",)),
    Source(
        "norm.cu",
        (
            *("chunk_moments", "channel_moments", "channel_affine"),
            *("chunk_products", "channel_products", "batch_norm_gx"),
            *("inverse_root", "weighted_sum"),
        ),
    ),
    Source("optim.cu", ("sgd_step", "adamw_step", "count_overflows", "loss_scale_step")),
    Source(
        "separable.cu",
        ("reading_matrix", "reading_matrix_adjoint", "band_limits", "along_axis", "matrix_gradient"),
    ),
    Source(
        "stochastic_pool.cu",
        (
            *("gaussian_pool", "gaussian_pool_adjoint"),
            *("maxent_pool", "maxent_pool_adjoint", "maxent_variance"),
        ),
    ),
    Source(
        "window.cu",
        (
            *("window_sum", "window_sum_adjoint", "window_max", "window_max_adjoint"),
            *("window_max_wide", "window_max_wide_adjoint"),
        ),
    ),
)

# What __launch_bounds__(256, BLOCKS) in the sources promises the compiler, and asks of it: blocks of at most THREADS
# threads, and so many blocks at a time on one multiprocessor, which share its 65536 registers.  Doubles take two each.
THREADS = 256
BLOCKS = {"e": 4, "f": 4, "d": 2}
REGISTERS = {dtype: 65536 // (THREADS * blocks) for dtype, blocks in BLOCKS.items()}

_OF = {kernel: source for source in SOURCES for kernel in source.kernels}


def source_of(kernel: str) -> Source:
    """The entry of the table that defines `kernel`.

    Example:
        >>> source_of("sgd_step").file
        'optim.cu'
    """
    return _OF[kernel]


@cache
def text(file: str) -> str:
    """A source with what it includes put in its place."""
    source = (FOLDER / file).read_text(encoding="utf-8")
    return re.sub(r'^#include "([\w.]+)"$', lambda found: text(found[1]), source, flags=re.MULTILINE)


def options(source: Source, dtype: str) -> tuple[str, ...]:
    """The compiler's options for arrays of `dtype` (a key of `TYPES`).

    Example:
        >>> options(source_of("sgd_step"), "e")
        ('--std=c++17', '-DSTORED=f16', '-DACCUMULATED=float', '-DBLOCKS=4')
    """
    stored, accumulated = TYPES[dtype]
    return (
        "--std=c++17",
        f"-DSTORED={stored}",
        f"-DACCUMULATED={accumulated}",
        f"-DBLOCKS={BLOCKS[dtype]}",
        *source.flags,
    )


def instantiations() -> Iterator[tuple[Source, str]]:
    """Everything there is to compile: every source with every dtype it is for."""
    for source in SOURCES:
        for dtype in source.types:
            yield source, dtype
