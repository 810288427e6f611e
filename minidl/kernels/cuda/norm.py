"""Batch normalisation (src/norm.cu); what it computes stands in kernels/array/norm.py.

What there is one of a channel is computed and returned in float32 for maps in half precision, whose squares would not
fit; gradients come back in the dtype of what they belong to.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.array import norm as array
from minidl.kernels.cuda.launch import THREADS, Dim, ints, launch, real
from minidl.kernels.cuda.layout import pixels_by_channels, with_channels_second
from minidl.kernels.cuda.sources import TYPES

__all__ = [
    "batch_norm",
    "batch_norm_adjoint",
    "channel_affine",
    "channel_products",
    "inverse_root",
    "weighted_sum",
]

TILE = 32  # channels of a block: 32 neighbours are one or two lines of the cache
CHUNKS = (
    2048  # at most; so few that stage 2 is short, so many that a block's chunk stays in the cache for a second look
)


def batch_norm(x: Array, weight: Array, bias: Array, eps: float, relu: bool = False) -> tuple[Array, Array, Array]:
    """As `array.batch_norm`, in three launches."""
    if not _computes(x):
        return array.batch_norm(x, weight, bias, eps, relu)
    rows_of, single = pixels_by_channels(x), _single(x)
    (rows, channels), grid, block = rows_of.shape, *_chunks(*rows_of.shape)
    per_chunk = -(-rows // grid[0])
    partial = [_empty(x, (grid[0], channels)) for _ in range(3)]
    launch("chunk_moments", x.dtype, grid, block, rows_of, *partial, *ints(rows, channels, per_chunk))
    mean, var, scale = (_empty(x, (channels,)) for _ in range(3))
    launch(
        *("channel_moments", x.dtype, *_channel_blocks(channels), *partial, single(weight), mean, var, scale),
        *(*ints(rows, channels, per_chunk, grid[0]), real(eps, x.dtype)),
    )
    return _affine(x, rows_of, mean, scale, single(bias), relu), mean, var


def channel_affine(x: Array, mean: Array, scale: Array, shift: Array, relu: bool = False) -> Array:
    """As `array.channel_affine`."""
    if not _computes(x):
        return array.channel_affine(x, mean, scale, shift, relu)
    single = _single(x)
    return _affine(x, pixels_by_channels(x), single(mean), single(scale), single(shift), relu)


def batch_norm_adjoint(
    gy: Array, x: Array, mean: Array, r: Array, weight: Array, y: Array | None = None
) -> tuple[Array, Array, Array]:
    """As `array.batch_norm_adjoint`, in three launches."""
    if not (_computes(x) and gy.dtype == x.dtype):
        return array.batch_norm_adjoint(gy, x, mean, r, weight, y)
    single = _single(x)
    relu, given = np.bool_(y is not None), (gy, x, x if y is None else y)
    of_gy, of_x, of_y = (pixels_by_channels(a) for a in given)
    mean, r, gamma = single(mean), single(r), single(weight)
    gb, gw = _products(of_gy, of_x, of_y, mean, r, relu, times_r=True)
    (rows, channels), grid, block = of_x.shape, *_chunks(*of_x.shape)
    gx = get_array_module(x).empty_like(of_x)
    launch(
        *("batch_norm_gx", x.dtype, grid, block, of_gy, of_x, of_y, gx, mean, r, gamma, gw, gb, relu),
        *ints(rows, channels, -(-rows // grid[0])),
    )
    return with_channels_second(gx, x.shape), gw.astype(weight.dtype, copy=False), gb.astype(weight.dtype, copy=False)


def channel_products(gy: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """As `array.channel_products`, in two launches."""
    if not (_computes(x) and gy.dtype == x.dtype):
        return array.channel_products(gy, x, mean)
    of_gy, of_x, mean = pixels_by_channels(gy), pixels_by_channels(x), _single(x)(mean)
    return _products(of_gy, of_x, of_x, mean, mean, np.bool_(False), times_r=False)


def inverse_root(v: Array, eps: float) -> Array:
    """As `array.inverse_root`, in one launch."""
    if not _computes(v):
        return array.inverse_root(v, eps)
    xp, grid = get_array_module(v), (-(-v.size // THREADS),)
    r = xp.empty(v.shape, v.dtype)
    launch("inverse_root", v.dtype, grid, (THREADS,), xp.ascontiguousarray(v), r, real(eps, v.dtype), *ints(v.size))
    return r


def weighted_sum(a: float, x: Array, b: float, y: Array) -> Array:
    """As `array.weighted_sum`, in one launch."""
    if not _computes(x) or x.shape != y.shape or x.dtype != y.dtype:
        return array.weighted_sum(a, x, b, y)
    xp, grid = get_array_module(x), (-(-x.size // THREADS),)
    x, y, z = xp.ascontiguousarray(x), xp.ascontiguousarray(y), xp.empty(x.shape, x.dtype)
    launch(*("weighted_sum", x.dtype, grid, (THREADS,), x, y, z, real(a, x.dtype), real(b, x.dtype)), *ints(x.size))
    return z


def _affine(x: Array, rows_of: Array, mean: Array, scale: Array, shift: Array, relu: bool) -> Array:
    (rows, channels), grid, block = rows_of.shape, *_chunks(*rows_of.shape)
    y = get_array_module(x).empty_like(rows_of)
    launch(
        *("channel_affine", x.dtype, grid, block, rows_of, y, mean, scale, shift, np.bool_(relu)),
        *ints(rows, channels, -(-rows // grid[0])),
    )
    return with_channels_second(y, x.shape)


def _products(
    gy: Array, x: Array, y: Array, mean: Array, r: Array, relu: np.bool_, times_r: bool
) -> tuple[Array, Array]:
    """Σ gy and Σ gy (x - mean), the second times r if that is wanted; all matrices (rows, channels)."""
    (rows, channels), grid, block = x.shape, *_chunks(*x.shape)
    sums, products = (_empty(x, (grid[0], channels)) for _ in range(2))
    launch(
        *("chunk_products", x.dtype, grid, block, gy, x, y, mean, sums, products, relu),
        *ints(rows, channels, -(-rows // grid[0])),
    )
    total, product = (_empty(x, (channels,)) for _ in range(2))
    launch(
        *("channel_products", x.dtype, *_channel_blocks(channels), sums, products, r, total, product),
        *(np.bool_(times_r), *ints(channels, grid[0])),
    )
    return total, product


def _chunks(rows: int, channels: int) -> tuple[Dim, Dim]:
    """Grid (chunks of rows, tiles of channels) and block of stage 1: eight rows a thread, more if the map is large."""
    across = min(1 << (channels - 1).bit_length(), TILE)
    block = (across, THREADS // across)
    per_chunk = max(8 * block[1], -(-rows // CHUNKS))
    ints(rows + per_chunk)  # an OverflowError if whole chunks of rows were too many to count
    return (-(-rows // per_chunk), -(-channels // across)), block


def _channel_blocks(channels: int) -> tuple[Dim, Dim]:
    """Grid and block of stage 2: eight channels a block, 32 threads each for the chunks."""
    return (-(-channels // 8),), (8, THREADS // 8)


def _computes(x: Array) -> bool:
    return x.dtype.char in TYPES and x.size > 0


def _single(x: Array) -> Callable[[Array], Array]:
    """Converts to the precision that x is computed in; nothing to do unless that is more than x's own."""
    dtype = np.float32 if x.dtype == np.float16 else x.dtype
    return lambda v: get_array_module(v).ascontiguousarray(v, dtype)


def _empty(x: Array, shape: tuple[int, ...]) -> Array:
    return get_array_module(x).empty(shape, np.float32 if x.dtype == np.float16 else x.dtype)
