"""Convolution as a matrix product per group (src/conv.cu); what it computes stands in kernels/array/conv.py.

Launches for one group: forward the kernel's matrix, `im2col` and the product; (2) the matrix, the product and
`col2im`; (3) `im2col` and the product.  Without a window to lay out (1×1, stride 1, no padding) only the products are
left.  cuBLAS gives the same bits every time, on one stream and one kind of card.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minidl.device import Array, get_array_module
from minidl.kernels.array import conv as array
from minidl.kernels.cuda import depthwise
from minidl.kernels.cuda.depthwise import Windows
from minidl.kernels.cuda.launch import computes, ints, launch, pixel_blocks
from minidl.kernels.cuda.layout import channels_last, empty_map, logical
from minidl.kernels.geometry import Padding, Pair, output_size, sides

__all__ = ["correlate", "correlate_adjoint_w", "correlate_adjoint_x", "correlate_adjoints"]

WORKSPACE = 256 << 20  # bytes of `cols` at a time; one image's, if that is more, in (2)


def correlate(x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> Array:
    """As `array.correlate`: (1)."""
    if not computes(x, w):
        return array.correlate(x, w, stride, padding, dilation, groups)
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    at = _windows(x.shape, w.shape, size, stride, padding, dilation)
    if depthwise.applies(w.shape, groups):
        return depthwise.correlate(x, w, at)
    xp, of_x, o = get_array_module(x), channels_last(x), len(w) // groups
    matrices = _matrices(w, groups)  # (G,O/G,K)
    y = empty_map(x, len(x), size, len(w))
    rows = y.reshape(-1, len(w))
    for part in _parts(len(rows), matrices.shape[2], x.itemsize):
        for g in range(groups):
            cols = _im2col(of_x, part, g, w.shape[1], at)
            if groups == 1:
                xp.matmul(cols, matrices[g].T, out=rows[part])
            else:
                rows[part, g * o : (g + 1) * o] = cols @ matrices[g].T
    return logical(y)


def correlate_adjoint_x(
    gy: Array, w: Array, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """As `array.correlate_adjoint_x`: (2)."""
    if not computes(gy, w):
        return array.correlate_adjoint_x(gy, w, x_shape, stride, padding, dilation, groups)
    at = _windows(x_shape, w.shape, gy.shape[2:], stride, padding, dilation)
    if depthwise.applies(w.shape, groups):
        return depthwise.correlate_adjoint_x(gy, w, x_shape[0], at)
    n, c, height, width = x_shape
    o, group = len(w) // groups, c // groups
    matrices, of_gy = _matrices(w, groups), channels_last(gy)
    pixels = gy.shape[2] * gy.shape[3]
    gx = empty_map(gy, n, (height, width), c)
    for part in _parts(n, pixels * matrices.shape[2], gy.itemsize):  # whole images: a sample gathers from its own
        rows = of_gy[part].reshape(-1, len(w))
        for g in range(groups):
            gcols = rows[:, g * o : (g + 1) * o] @ matrices[g]  # (P,O/G)(O/G,K)
            if groups == 1 and not at.moves:
                gx[part] = gcols.reshape(gx[part].shape)
                continue
            of = gx[part]
            count = len(of) * height * width
            launch(
                *("col2im", gy.dtype, *pixel_blocks(count, group), gcols, of),
                *(*ints(count, g * group, group), *at.ints()),
            )
    return logical(gx)


def correlate_adjoint_w(
    gy: Array, x: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """As `array.correlate_adjoint_w`: (3)."""
    if not computes(gy, x):
        return array.correlate_adjoint_w(gy, x, w_shape, stride, padding, dilation, groups)
    at = _windows(x.shape, w_shape, gy.shape[2:], stride, padding, dilation)
    if depthwise.applies(w_shape, groups):
        return depthwise.correlate_adjoint_w(gy, x, w_shape, at)
    xp, of_x, rows = get_array_module(gy, x), channels_last(x), channels_last(gy).reshape(-1, w_shape[0])
    o, c, kh, kw = w_shape
    gw = []  # a matrix (O/G,K) a group
    for g in range(groups):
        total: Array = None
        for part in _parts(len(rows), kh * kw * c, x.itemsize):
            of_gy = rows[part, g * (o // groups) : (g + 1) * (o // groups)]
            product = of_gy.T @ _im2col(of_x, part, g, c, at)  # (O/G,P)(P,K)
            # more than one part: half precision would round every partial sum
            total = (
                product if total is None else total + product.astype(np.result_type(x.dtype, np.float32), copy=False)
            )
        gw.append(total.astype(x.dtype, copy=False))
    matrix = gw[0] if groups == 1 else xp.concatenate(gw)
    return matrix.reshape(o, kh, kw, c).transpose(0, 3, 1, 2)  # (O,K) → (O,kh,kw,C/G) → (O,C/G,kh,kw)


def correlate_adjoints(
    gy: Array, x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> tuple[Array, Array]:
    """As `array.correlate_adjoints`; gy is laid channels last once for both."""
    gy = logical(channels_last(gy)) if computes(gy, x, w) else gy
    geometry = (stride, padding, dilation, groups)
    return correlate_adjoint_x(gy, w, x.shape, *geometry), correlate_adjoint_w(gy, x, w.shape, *geometry)


def _windows(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> Windows:
    (top, _), (left, _) = sides(padding)
    height, width = x_shape[2:]
    kernel = (w_shape[2], w_shape[3])
    return Windows((height, width), x_shape[1], (size[0], size[1]), kernel, stride, (top, left), dilation)


def _matrices(w: Array, groups: int) -> Array:
    """(O, C/G, kh, kw) → (G, O/G, K), K = kh kw C/G, channels fastest: one copy."""
    rows = get_array_module(w).ascontiguousarray(w.transpose(0, 2, 3, 1))
    return rows.reshape(groups, len(w) // groups, -1)


def _parts(count: int, elements: int, itemsize: int) -> Iterator[slice]:
    """Pieces of range(count), each item of which takes so many elements of the workspace."""
    step = max(1, WORKSPACE // (elements * itemsize))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _im2col(x: Array, part: slice, g: int, group: int, at: Windows) -> Array:
    """The rows `part` of `cols` for group g of `group` channels; x (N, H, W, C)."""
    if group == at.channels and not at.moves:
        return x.reshape(-1, at.channels)[part]
    count = part.stop - part.start
    cols = get_array_module(x).empty((count, at.kernel_size[0] * at.kernel_size[1] * group), x.dtype)
    grid, block = pixel_blocks(count, group)
    launch("im2col", x.dtype, grid, block, x, cols, *ints(part.start, count, g * group, group), *at.ints())
    return cols
