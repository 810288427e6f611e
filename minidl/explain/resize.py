"""Bilinear enlargement, separable: one matrix an axis.

Pixel i of n covers [i, i + 1) / n of its axis.  The centre of output pixel I of N lies, in units of input pixels, at

    c = (I + 1/2) n / N − 1/2,   kept within 0 … n − 1                                         (1)
    R[I, ⌊c⌋] = 1 − (c − ⌊c⌋),   R[I, ⌊c⌋ + 1] = c − ⌊c⌋                                       (2)
    Y = R_h X R_wᵀ                                                                             (3)

which is PyTorch's `interpolate(…, mode="bilinear", align_corners=False)`.
"""

from __future__ import annotations

import numpy as np

__all__ = ["bilinear"]


def bilinear(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize the last two axes of `maps` to `size`.

    Every output is a mean of two by two inputs: meant to enlarge; where it shrinks, it skips pixels.

    Args:
        maps: shape (…, h, w), floating point.
        size: (H, W), each >= 1.

    Returns:
        Shape (…, H, W), the dtype of `maps`.

    Raises:
        ValueError: there are fewer than two axes, or one is empty.

    Example:
        >>> bilinear(np.array([[0.0, 4.0]]), (1, 4))
        array([[0., 1., 3., 4.]])
    """
    if maps.ndim < 2 or min(*maps.shape[-2:], *size) < 1:
        raise ValueError(f"bilinear: maps (…, h, w) and size must be at least 1 × 1, got {maps.shape} and {size}")
    r_h, r_w = (weights(n, to).astype(maps.dtype) for n, to in zip(maps.shape[-2:], size, strict=True))
    return r_h @ maps @ r_w.T  # (3)


def weights(n: int, to: int) -> np.ndarray:
    """R of (2), (to, n), float64; rows sum to 1.

    Example:
        >>> weights(2, 4)
        array([[1.  , 0.  ],
               [0.75, 0.25],
               [0.25, 0.75],
               [0.  , 1.  ]])
    """
    centre = np.clip((np.arange(to) + 0.5) * n / to - 0.5, 0, n - 1)  # (1)
    left = np.minimum(np.floor(centre).astype(int), max(n - 2, 0))
    part = centre - left
    rows, matrix = np.arange(to), np.zeros((to, n))
    matrix[rows, left] += 1 - part  # (2)
    matrix[rows, np.minimum(left + 1, n - 1)] += part  # (2)
    return matrix
