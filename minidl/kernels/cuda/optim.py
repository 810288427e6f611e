"""Optimizer steps in one launch (src/optim.cu); what they compute stands in kernels/array/optim.py."""

from __future__ import annotations

from functools import cache, lru_cache
from types import ModuleType

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.cuda.launch import ints, launch, real, ring
from minidl.kernels.segments import Segment, runs

__all__ = ["adamw_step", "loss_scale_step", "sgd_step"]

SEGMENTS = 512  # as in src/optim.cu


def sgd_step(
    p: Array,
    g: Array,
    v: Array,
    segments: tuple[Segment, ...],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    inverse_scale: Array | None = None,
    found_inf: Array | None = None,
) -> tuple[Array, Array, Array]:
    """As `array.sgd_step`, at most 512 segments."""
    xp = get_array_module(p)
    p_new, v_new, low = _fresh(p, g, 2)
    launch(
        "sgd_step",
        g.dtype,
        *ring(p.size),
        *(p, g, v, p_new, v_new, low),
        *_table(xp, segments, p.size),
        *ints(len(segments)),
        *(np.float64(lr), real(momentum, p.dtype), np.bool_(nesterov)),
        *_scaling(xp, inverse_scale, found_inf),
        np.int64(p.size),
    )
    return p_new, v_new, low


def adamw_step(
    p: Array,
    g: Array,
    m: Array,
    s: Array,
    steps: Array,
    segments: tuple[Segment, ...],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    inverse_scale: Array | None = None,
    found_inf: Array | None = None,
) -> tuple[Array, Array, Array, Array, Array]:
    """As `array.adamw_step`, at most 512 segments."""
    xp = get_array_module(p)
    p_new, m_new, s_new, low = _fresh(p, g, 3)
    steps_new = xp.empty_like(steps)
    launch(
        "adamw_step",
        g.dtype,
        *ring(p.size),
        *(p, g, m, s, p_new, m_new, s_new, low, steps, steps_new),
        *_table(xp, segments, p.size),
        *ints(len(segments)),
        *(np.float64(lr), np.float64(betas[0]), np.float64(betas[1]), real(eps, p.dtype)),
        *_scaling(xp, inverse_scale, found_inf),
        np.int64(p.size),
    )
    return p_new, m_new, s_new, steps_new, low


def loss_scale_step(
    g: Array, scale: Array, good_steps: Array, *, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
) -> tuple[Array, Array, Array, Array]:
    """As `array.loss_scale_step`, in two launches."""
    xp = get_array_module(g)
    grid, block = ring(g.size)
    overflows = xp.empty(grid, np.int32)
    launch("count_overflows", g.dtype, grid, block, g, overflows, np.int64(g.size))
    found_inf, inverse_scale = xp.empty(1, np.bool_), xp.empty(1, np.float32)
    next_scale, next_good = xp.empty(1, np.float32), xp.empty(1, np.int32)
    launch(
        "loss_scale_step",
        g.dtype,
        (1,),
        block,
        *(overflows, *ints(*grid), scale, good_steps, np.float32(growth), np.float32(backoff), np.int32(interval)),
        *(found_inf, inverse_scale, next_scale, next_good),
    )
    return found_inf, inverse_scale, next_scale, next_good


def _fresh(p: Array, g: Array, count: int) -> list[Array]:
    """`count` arrays like p, and one for p in the dtype of g: the first of them where that is p's own."""
    fresh = [get_array_module(p).empty_like(p) for _ in range(count)]
    return [*fresh, fresh[0] if g.dtype == p.dtype else get_array_module(p).empty_like(g)]


@lru_cache(maxsize=16)
def _table(xp: ModuleType, segments: tuple[Segment, ...], size: int) -> tuple[Array, Array, Array]:
    """The columns of `segments` on the device, copied there once."""
    if len(segments) > SEGMENTS:
        raise ValueError(f"segments: must be at most {SEGMENTS}, got {len(segments)}")
    checked = [segment for _, segment in runs(segments, size)]
    columns = zip((np.int64, np.float64, np.float64), zip(*checked, strict=True), strict=True)
    ends, decays, factors = (xp.asarray(np.array(column, dtype)) for dtype, column in columns)
    return ends, decays, factors


def _scaling(xp: ModuleType, inverse_scale: Array | None, found_inf: Array | None) -> tuple[Array, Array]:
    one, no = _neutral(xp)
    return one if inverse_scale is None else inverse_scale, no if found_inf is None else found_inf


@cache
def _neutral(xp: ModuleType) -> tuple[Array, Array]:
    """A scale of 1 and no overflow."""
    return xp.ones(1, np.float32), xp.zeros(1, np.bool_)
