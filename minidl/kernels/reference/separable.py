"""A small matrix along one axis of a map, one product at a time."""

from __future__ import annotations

import numpy as np

__all__ = ["along_height", "along_height_adjoint_t", "along_width", "along_width_adjoint_t"]


def along_height(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """y_{ncij} = Σ_h t_{(c)ih} x_{nchj}."""
    t = np.broadcast_to(t, (x.shape[1], *t.shape[-2:]))  # (Ho,H) or (C,Ho,H) → (C,Ho,H)
    y = np.zeros((*x.shape[:2], t.shape[1], x.shape[3]), np.result_type(x, t))
    for n, c, i, j in np.ndindex(y.shape):
        for h in range(x.shape[2]):
            y[n, c, i, j] += t[c, i, h] * x[n, c, h, j]
    return y


def along_width(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """y_{ncij} = Σ_w t_{(c)jw} x_{nciw}."""
    return along_height(x.swapaxes(2, 3), t).swapaxes(2, 3)


def along_height_adjoint_t(gy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gt_{cih} = Σ_{nj} gy_{ncij} x_{nchj}."""
    gt = np.zeros((x.shape[1], gy.shape[2], x.shape[2]), np.result_type(gy, x))
    for n, c, i, j in np.ndindex(gy.shape):
        for h in range(x.shape[2]):
            gt[c, i, h] += gy[n, c, i, j] * x[n, c, h, j]
    return gt


def along_width_adjoint_t(gy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gt_{cjw} = Σ_{ni} gy_{ncij} x_{nciw}."""
    return along_height_adjoint_t(gy.swapaxes(2, 3), x.swapaxes(2, 3))
