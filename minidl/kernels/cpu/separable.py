"""A small matrix along one axis of a map, as matrix products on threads.

In physical order C, H, W, N the product along the height is one (Ho, H) (H, W·N) a channel, along the width one
(Wo, W) (W, N) a row.  A block is a few channels.
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.cpu.gemm import multiply, multiply_transposed
from minidl.kernels.cpu.layout import chwn, nchw
from minidl.kernels.cpu.threads import run_blocks, split

__all__ = ["along_height", "along_height_adjoint_t", "along_width", "along_width_adjoint_t"]

_BLOCK = 1 << 19  # elements of x in a block


def along_height(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """As `array.along_height`."""
    n, c, h, w = x.shape
    dtype = np.result_type(x, t)
    columns, t = chwn(x, dtype).reshape(c, h, w * n), _by_channel(t, c, dtype)  # (C,H,W,N) → (C,H,W·N)
    y = np.empty((c, t.shape[1], w * n), dtype)

    def block(s: slice) -> None:
        multiply(t[s], columns[s], y[s])  # (C,Ho,H)(C,H,W·N)

    run_blocks(block, _blocks(columns))
    return nchw(y.reshape(c, -1, w, n))


def along_width(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """As `array.along_width`."""
    n, c, h, _ = x.shape
    dtype = np.result_type(x, t)
    rows, t = chwn(x, dtype), _by_channel(t, c, dtype)
    y = np.empty((c, h, t.shape[1], n), dtype)

    def block(s: slice) -> None:
        multiply(t[s, None], rows[s], y[s])  # (C,1,Wo,W)(C,H,W,N)

    run_blocks(block, _blocks(rows))
    return nchw(y)


def along_height_adjoint_t(gy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """As `array.along_height_adjoint_t`."""
    dtype = np.result_type(gy, x)
    gy, x = (chwn(a, dtype).reshape(a.shape[1], a.shape[2], -1) for a in (gy, x))  # (C,H,W,N) → (C,H,W·N)
    gt = np.empty((len(x), gy.shape[1], x.shape[1]), dtype)

    def block(s: slice) -> None:
        gt[s] = multiply_transposed(gy[s], x[s])  # (C,Ho,W·N)(C,W·N,H)

    run_blocks(block, _blocks(x))
    return gt


def along_width_adjoint_t(gy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """As `array.along_width_adjoint_t`."""
    dtype = np.result_type(gy, x)
    gy, x = chwn(gy, dtype), chwn(x, dtype)
    gt = np.empty((len(x), gy.shape[2], x.shape[2]), dtype)

    def block(s: slice) -> None:
        gt[s] = multiply_transposed(gy[s], x[s]).sum(axis=1)  # (C,H,Wo,N)(C,H,N,W)

    run_blocks(block, _blocks(x))
    return gt


def _by_channel(t: np.ndarray, channels: int, dtype: np.dtype) -> np.ndarray:
    """T (M, K), (1, M, K) or (C, M, K) as (C, M, K): a view that repeats it where it is shared."""
    return np.broadcast_to(np.ascontiguousarray(t, dtype), (channels, *t.shape[-2:]))


def _blocks(x: np.ndarray) -> list[slice]:
    """Slices of the channels of x (C, …)."""
    return split(len(x), at_most=_BLOCK // max(x.size // max(len(x), 1), 1)) if len(x) else []
