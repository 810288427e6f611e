"""Convolution as one matrix product per tap: the readable form, for NumPy and CuPy.

With G groups, x̄ the zero-padded x, and for every tap (u, v) the matrix of what it lies on,

    T_uv = x̄[:, :, u d : … : s, v d : … : s]          shape (N, G, C/G, P),  P = Ho Wo

all three routines are loops over taps:

    y     = Σ_uv  W_uv  T_uv            (O/G, C/G) (C/G, P)            `correlate`
    x̄ at T_uv  +=  W_uvᵀ gy             (C/G, O/G) (O/G, P)            `correlate_adjoint_x`
    gW_uv = gy T_uvᵀ, summed over N     (O/G, N P) (N P, C/G)          `correlate_adjoint_w`

One tap never lies on the same sample twice, so `+=` on the view is safe.
"""

from __future__ import annotations

from collections.abc import Iterator

from minidl.device import Array, get_array_module
from minidl.kernels.geometry import Padding, Pair, output_size, sides, tap

__all__ = ["correlate", "correlate_adjoint_w", "correlate_adjoint_x", "correlate_adjoints"]


def correlate(x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> Array:
    """y[n,o,i,j] = Σ_cuv x̄[n, g C/G + c, i s + u d, j s + v d] w[o,c,u,v],  g = ⌊o G / O⌋.

    Args:
        x: (N, C, H, W).
        w: (O, C/G, kh, kw).
        stride, dilation: (vertical, horizontal).
        padding: (vertical, horizontal) zeros, each one number or (before, after).
        groups: G; divides C and O.

    Returns:
        (N, O, Ho, Wo).
    """
    xp = get_array_module(x, w)
    n, o = x.shape[0], w.shape[0]
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    x_taps, w = _grouped(_padded(xp, x, padding), groups), _grouped(w[None], groups)[0]
    y = xp.zeros((n, groups, o // groups, size[0] * size[1]), xp.result_type(x, w))
    for u, v, rows, columns in _taps(w.shape[-2:], size, stride, dilation):
        y += w[..., u, v] @ x_taps[..., rows, columns].reshape(n, groups, w.shape[2], -1)
    return y.reshape(n, o, *size)


def correlate_adjoint_x(
    gy: Array, w: Array, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """gx[n,c,·] = Σ_o Σ gy[n,o,i,j] w[o,c,u,v] over the windows (i, j) and taps (u, v) that lie on the sample.

    Args:
        gy: (N, O, Ho, Wo).
        x_shape: (N, C, H, W); samples that no window reaches get 0.

    Returns:
        (N, C, H, W).
    """
    xp = get_array_module(gy, w)
    n, c, height, width = x_shape
    (top, bottom), (left, right) = sides(padding)
    rows_of_gy = _grouped(gy, groups).reshape(n, groups, gy.shape[1] // groups, -1)  # (N,G,O/G,P)
    w = _grouped(w[None], groups)[0].swapaxes(1, 2)  # (G,C/G,O/G,kh,kw)
    padded = (n, groups, c // groups, height + top + bottom, width + left + right)
    gx = xp.zeros(padded, xp.result_type(gy, w))
    for u, v, rows, columns in _taps(w.shape[-2:], gy.shape[2:], stride, dilation):
        on_tap = gx[..., rows, columns]
        on_tap += (w[..., u, v] @ rows_of_gy).reshape(on_tap.shape)
    return gx.reshape(n, c, *padded[3:])[:, :, top : top + height, left : left + width]


def correlate_adjoint_w(
    gy: Array, x: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """gw[o,c,u,v] = Σ_nij gy[n,o,i,j] x̄[n, g C/G + c, i s + u d, j s + v d].

    Args:
        gy: (N, O, Ho, Wo).
        x: (N, C, H, W).
        w_shape: (O, C/G, kh, kw).

    Returns:
        (O, C/G, kh, kw).
    """
    xp = get_array_module(gy, x)
    o, c = w_shape[0], w_shape[1]
    x_taps = _grouped(_padded(xp, x, padding), groups)
    rows_of_gy = _grouped(gy, groups).transpose(1, 2, 0, 3, 4).reshape(groups, o // groups, -1)  # (G,O/G,N·P)
    gw = xp.empty((groups, o // groups, *w_shape[1:]), xp.result_type(gy, x))
    for u, v, rows, columns in _taps(w_shape[2:], gy.shape[2:], stride, dilation):
        on_tap = x_taps[..., rows, columns].transpose(1, 0, 3, 4, 2).reshape(groups, -1, c)  # (G,N·P,C/G)
        gw[..., u, v] = rows_of_gy @ on_tap
    return gw.reshape(w_shape)


def correlate_adjoints(
    gy: Array, x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> tuple[Array, Array]:
    """Both adjoints, (gx, gw), of one gy (N, O, Ho, Wo)."""
    geometry = (stride, padding, dilation, groups)
    return correlate_adjoint_x(gy, w, x.shape, *geometry), correlate_adjoint_w(gy, x, w.shape, *geometry)


def _padded(xp, x: Array, padding: Padding) -> Array:
    return xp.pad(x, ((0, 0), (0, 0), *sides(padding)))


def _grouped(x: Array, groups: int) -> Array:
    """(N, C, …) → (N, G, C/G, …)."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def _taps(kernel: tuple, size: tuple, stride: Pair, dilation: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """Every tap (u, v), and the rows and columns of the padded map that it lies on."""
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            yield u, v, tap(u, size[0], stride[0], dilation[0]), tap(v, size[1], stride[1], dilation[1])
