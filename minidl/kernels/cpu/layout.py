"""How feature maps lie in memory: physically C, H, W, N under the logical shape (N, C, H, W).

A row of W·N elements is then contiguous, whatever the stride or padding along H, and a channel is one run of H·W·N.
Copies of windows, sums over channels and matrix products with the channels as rows all walk long runs.  The shape
says N, C, H, W; the strides alone know, and NumPy's elementwise functions keep them.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def chwn(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """`x` (N, C, H, W) as a C-ordered array (C, H, W, N): a view if it lies so, a copy if not.

    Example:
        >>> x = empty((2, 3, 4, 5), np.float32)
        >>> np.shares_memory(chwn(x), x)
        True
    """
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0), dtype)


def nchw(y: np.ndarray) -> np.ndarray:
    """The logical view (N, C, H, W) of `y` (C, H, W, N)."""
    return y.transpose(3, 0, 1, 2)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised array of logical `shape` (N, C, H, W) that lies as C, H, W, N."""
    n, c, h, w = shape
    return nchw(np.empty((c, h, w, n), dtype))
