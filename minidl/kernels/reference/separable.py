"""A small matrix along each axis of a map, one product at a time."""

from __future__ import annotations

import numpy as np

__all__ = ["reading_matrix", "reading_matrix_adjoint", "separable_map", "separable_map_adjoint"]


def reading_matrix(k: np.ndarray, sources: np.ndarray, length: int) -> np.ndarray:
    """Output i reads the sample sources[u, i] through tap u; `length` stands for none."""
    t = np.zeros((len(k), sources.shape[1], length), k.dtype)
    for c, u, i in np.ndindex(len(k), *sources.shape):
        if sources[u, i] < length:
            t[c, i, sources[u, i]] += k[c, u]
    return t


def reading_matrix_adjoint(gt: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """t += k gives gk += gt."""
    gk = np.zeros((len(gt), len(sources)), gt.dtype)
    for c, u, i in np.ndindex(len(gt), *sources.shape):
        if sources[u, i] < gt.shape[2]:
            gk[c, u] += gt[c, i, sources[u, i]]
    return gk


def separable_map(x: np.ndarray, t_h: np.ndarray, t_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y_ij = Σ_h t_h[i,h] z_hj, after z_hj = Σ_w t_w[j,w] x_hw; and z."""
    z = _along_height(x.swapaxes(2, 3), t_w).swapaxes(2, 3)
    return _along_height(z, t_h), z


def separable_map_adjoint(
    gy: np.ndarray,
    x: np.ndarray,
    z: np.ndarray,
    t_h: np.ndarray,
    t_w: np.ndarray,
    needs_gx: bool,
    needs_gt: bool,
    sources: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Each product y += t z gives gz += gy t and gt += gy z; then the same for z += t x."""
    gz = _along_height(gy, t_h.swapaxes(-1, -2))
    gx = _along_height(gz.swapaxes(2, 3), t_w.swapaxes(-1, -2)).swapaxes(2, 3)
    gt_h, gt_w = _products(gy, z), _products(gz.swapaxes(2, 3), x.swapaxes(2, 3))
    return gx if needs_gx else None, gt_h if needs_gt else None, gt_w if needs_gt else None


def _along_height(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    t = np.broadcast_to(t, (x.shape[1], *t.shape[-2:]))  # (Ho,H), (1,Ho,H) or (C,Ho,H) → (C,Ho,H)
    y = np.zeros((*x.shape[:2], t.shape[1], x.shape[3]), np.result_type(x, t))
    for n, c, i, j in np.ndindex(y.shape):
        for h in range(x.shape[2]):
            y[n, c, i, j] += t[c, i, h] * x[n, c, h, j]
    return y


def _products(gy: np.ndarray, x: np.ndarray) -> np.ndarray:
    gt = np.zeros((x.shape[1], gy.shape[2], x.shape[2]), np.result_type(gy, x))
    for n, c, i, j in np.ndindex(gy.shape):
        for h in range(x.shape[2]):
            gt[c, i, h] += gy[n, c, i, j] * x[n, c, h, j]
    return gt
