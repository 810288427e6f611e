"""A small matrix along each axis of a map: the readable form, for NumPy and CuPy.

    Z = X T_wᵀ         rows of the map are mixed            T_w (Wo, W), (1, Wo, W) or, one a channel, (C, Wo, W)
    Y = T_h Z          columns of the map are mixed         T_h (Ho, H), (1, Ho, H) or (C, Ho, H)

Any linear map that is separable, whatever it does at the border, is one of these: blurs, adaptive averages.
"""

from __future__ import annotations

import numpy as np

from minidl.device import Array, get_array_module

__all__ = ["reading_matrix", "reading_matrix_adjoint", "separable_map", "separable_map_adjoint"]


def reading_matrix(k: Array, sources: np.ndarray, length: int) -> Array:
    """T[i, sources[u, i]] += k_u: the matrix of a filter whose output i reads one sample through each tap u.

    Args:
        k: taps, (C, T).
        sources: (T, Ho), in NumPy's memory; `length` stands for no sample.

    Returns:
        T (C, Ho, length).
    """
    xp = get_array_module(k)
    t = xp.zeros((len(k), sources.shape[1], length + 1), k.dtype)  # column `length` takes what lies nowhere
    rows = xp.arange(sources.shape[1])
    for u, source in enumerate(xp.asarray(sources)):
        t[:, rows, source] += k[:, u, None]  # one tap reads once a row: no index twice
    return t[..., :length]


def reading_matrix_adjoint(gt: Array, sources: np.ndarray) -> Array:
    """gk_u = Σ_i gT[i, sources[u, i]], (C, T)."""
    xp = get_array_module(gt)
    nowhere = xp.zeros((*gt.shape[:2], 1), gt.dtype)
    wide = xp.concatenate([gt, nowhere], axis=-1)
    rows = xp.arange(gt.shape[1])
    return xp.stack([wide[:, rows, source].sum(axis=-1) for source in xp.asarray(sources)], axis=-1)


def separable_map(x: Array, t_h: Array, t_w: Array) -> tuple[Array, Array]:
    """Y = T_h X T_wᵀ of every map, and Z = X T_wᵀ.

    Args:
        x: (N, C, H, W).
        t_h, t_w: the matrices, of one dtype with x.

    Returns:
        Y (N, C, Ho, Wo) and Z (N, C, H, Wo).
    """
    z = x @ t_w.swapaxes(-1, -2)  # (N,C,H,W)(C,W,Wo)
    return t_h @ z, z  # (C,Ho,H)(N,C,H,Wo)


def separable_map_adjoint(
    gy: Array,
    x: Array,
    z: Array,
    t_h: Array,
    t_w: Array,
    needs_gx: bool,
    needs_gt: bool,
    sources: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """gX = Q T_w with Q = T_hᵀ gY; gT_h = Σ_n gY Zᵀ and gT_w = Σ_n Qᵀ X of every channel.

    Args:
        gy: (N, C, Ho, Wo).
        x, z, t_h, t_w: as in `separable_map`, and what it returned.
        needs_gx, needs_gt: which gradients are wanted; None stands for the others.
        sources: for each matrix the elements of gT that will be looked at, [i, sources[u, i]] as in
            `reading_matrix`; None for all.  A form may leave the others 0; this one computes them.

    Returns:
        gX (N, C, H, W), gT_h (C, Ho, H) and gT_w (C, Wo, W): one a channel, shared or not.
    """
    q = t_h.swapaxes(-1, -2) @ gy  # (C,H,Ho)(N,C,Ho,Wo)
    gx = q @ t_w if needs_gx else None  # (N,C,H,Wo)(C,Wo,W)
    if not needs_gt:
        return gx, None, None
    return gx, _rows(gy) @ _rows(z).swapaxes(1, 2), _rows(q.swapaxes(2, 3)) @ _rows(x.swapaxes(2, 3)).swapaxes(1, 2)


def _rows(x: Array) -> Array:
    """(N, C, H, W) → (C, H, N·W)."""
    n, c, h, w = x.shape
    return x.transpose(1, 2, 0, 3).reshape(c, h, n * w)
