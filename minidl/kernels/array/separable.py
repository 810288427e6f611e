"""A small matrix along one axis of a map: the readable form, for NumPy and CuPy.

    along_height   Y = T X        columns of the map are mixed          T (Ho, H) or, one a channel, (C, Ho, H)
    along_width    Y = X Tᵀ       rows of the map are mixed             T (Wo, W) or (C, Wo, W)

The adjoint in x is the same routine with Tᵀ.  Any linear map that is separable, whatever it does at the border, is
one of each: blurs, adaptive averages.
"""

from __future__ import annotations

from minidl.device import Array

__all__ = ["along_height", "along_height_adjoint_t", "along_width", "along_width_adjoint_t"]


def along_height(x: Array, t: Array) -> Array:
    """y[n,c,i,j] = Σ_h t[(c),i,h] x[n,c,h,j]: (N, C, H, W) → (N, C, Ho, W)."""
    return t @ x  # (C,Ho,H)(N,C,H,W)


def along_width(x: Array, t: Array) -> Array:
    """y[n,c,i,j] = Σ_w t[(c),j,w] x[n,c,i,w]: (N, C, H, W) → (N, C, H, Wo)."""
    return x @ t.swapaxes(-1, -2)  # (N,C,H,W)(C,W,Wo)


def along_height_adjoint_t(gy: Array, x: Array) -> Array:
    """gt[c,i,h] = Σ_nj gy[n,c,i,j] x[n,c,h,j]: (C, Ho, H)."""
    c, out, length = x.shape[1], gy.shape[2], x.shape[2]
    gy_rows = gy.transpose(1, 2, 0, 3).reshape(c, out, -1)  # (N,C,Ho,W) → (C,Ho,N·W)
    x_rows = x.transpose(1, 2, 0, 3).reshape(c, length, -1)  # (N,C,H,W) → (C,H,N·W)
    return gy_rows @ x_rows.swapaxes(1, 2)


def along_width_adjoint_t(gy: Array, x: Array) -> Array:
    """gt[c,j,w] = Σ_ni gy[n,c,i,j] x[n,c,i,w]: (C, Wo, W)."""
    return along_height_adjoint_t(gy.swapaxes(2, 3), x.swapaxes(2, 3))
