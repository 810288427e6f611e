r"""Convolution and transposed convolution in two dimensions.

Convolution (in fact cross-correlation: the kernel is not flipped).  With x (N, C, H, W), W (O, C/G, kh, kw), b (O,),
x̄ = x with p zeros around it, stride s, dilation d, and o in group g = ⌊o G / O⌋:

    y[n,o,i,j]    = b[o] + Σ_cuv  x̄[n, g C/G + c, i s + u d, j s + v d]  W[o,c,u,v]          (1)
    gx̄[n,c,a,e]   = Σ gy[n,o,i,j] W[o,c′,u,v]   over i s + u d = a,  j s + v d = e            (2)
    gx            = gx̄ without its border of p
    gW[o,c,u,v]   = Σ_nij  gy[n,o,i,j]  x̄[n, g C/G + c, i s + u d, j s + v d]                (3)
    gb[o]         = Σ_nij  gy[n,o,i,j]                                                        (4)

(1) is a sum of products x̄ · W.  By the product rule each of them adds gy · W to gx̄, which is (2), and gy · x̄ to gW,
which is (3).  Write (1) without b as y = A_W x; then (2) is gx = A_Wᵀ gy.

Transposed convolution is that adjoint as a layer.  With W (C, O/G, kh, kw), x in the part of the gradient:

    y  = A_Wᵀ x + b             by (2)                                                        (5)
    gx = A_W gy                 by (1)                                                        (6)
    gW                          by (3), x in the place of its gy and gy in that of its x      (7)

(7): L changes by ⟨gy, A_dWᵀ x⟩ = ⟨A_dW gy, x⟩, which is what (3) differentiates.  Several sizes of y have their
windows on the same x, as the division in (8) rounds down; `output_padding` chooses among them.

    Ho = ⌊(H + 2p − d (kh − 1) − 1) / s⌋ + 1                                                  (8)

Source: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from __future__ import annotations

from typing import Any

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.kernels.geometry import Padding, Pair, output_size
from minidl.ops import _check

__all__ = ["conv2d", "conv_transpose2d"]


class Conv2d(Function):
    """y = A_W x + b; see (1)-(4)."""

    def forward(self, x: Array, weight: Array, bias: Array | None, **geometry: Any) -> Array:
        self.x, self.weight, self.geometry = x, weight, geometry
        y = self.kernels.correlate(x, weight, **geometry)  # (1)
        return y if bias is None else y + bias[:, None, None]

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        x, w, geometry = self.x, self.weight, self.geometry
        needs_gx, needs_gw, needs_gb = self.needs_grad
        gx = gw = None
        if needs_gx and needs_gw:
            gx, gw = self.kernels.correlate_adjoints(gy, x, w, **geometry)  # (2), (3)
        elif needs_gx:
            gx = self.kernels.correlate_adjoint_x(gy, w, x.shape, **geometry)  # (2)
        elif needs_gw:
            gw = self.kernels.correlate_adjoint_w(gy, x, w.shape, **geometry)  # (3)
        gb = gy.sum(axis=(0, 2, 3)) if needs_gb else None  # (4)
        return gx, gw, gb


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Two-dimensional convolution, as in `torch.nn.functional.conv2d`: (1).

    Args:
        x: shape (N, C, H, W), N ≥ 1.
        weight: shape (O, C/groups, kh, kw), dtype of `x`.
        bias: shape (O,), or None.
        stride: step between windows, ≥ 1.  This and the next two: one integer, or (vertical, horizontal).
        padding: zeros at each border, ≥ 0; "valid" for none; "same" for an output of the size of `x` (`stride`
            must be 1; an odd number of zeros puts one more at the bottom and right).
        dilation: distance between the taps of the kernel, ≥ 1.
        groups: G ≥ 1 separate convolutions, each from C/G to O/G channels; C makes it depthwise.

    Returns:
        Tensor of shape (N, O, Ho, Wo), see (8).

    Raises:
        ValueError: shapes or parameters do not fit, or no window fits into the padded input.

    Example:
        >>> import numpy as np
        >>> conv2d(np.ones((1, 3, 8, 6)), np.ones((4, 3, 3, 3)), stride=2, padding=(1, 0)).shape
        (1, 4, 4, 2)
    """
    x, weight = as_tensor(x), as_tensor(weight)
    bias = None if bias is None else as_tensor(bias)
    _check_operands("conv2d", x, weight, "OCHW", bias, groups)
    if x.shape[1] != weight.shape[1] * groups:
        raise ValueError(
            f"conv2d: x must have weight.shape[1] * groups = {weight.shape[1] * groups} channels, got {x.shape[1]}"
        )
    if weight.shape[0] % groups:
        raise ValueError(f"conv2d: groups must divide out_channels, got groups={groups}, out_channels={len(weight)}")
    stride = _check.pair("conv2d", "stride", stride, minimum=1)
    dilation = _check.pair("conv2d", "dilation", dilation, minimum=1)
    borders = _borders(padding, weight.shape[2:], stride, dilation)
    if min(output_size(x.shape[2:], weight.shape[2:], stride, borders, dilation)) < 1:
        raise ValueError(
            f"conv2d: kernel must fit into the padded input, got kernel {weight.shape[2:]} with dilation {dilation} "
            f"on input {x.shape[2:]} with padding {padding}"
        )
    return Conv2d.apply(x, weight, bias, stride=stride, padding=borders, dilation=dilation, groups=groups)


class ConvTranspose2d(Function):
    """y = A_Wᵀ x + b; see (5)-(7)."""

    def forward(self, x: Array, weight: Array, bias: Array | None, *, y_size: Pair, **geometry: Any) -> Array:
        self.x, self.weight, self.geometry = x, weight, geometry
        y_shape = (x.shape[0], weight.shape[1] * geometry["groups"], *y_size)
        y = self.kernels.correlate_adjoint_x(x, weight, y_shape, **geometry)  # (5)
        return y if bias is None else y + bias[:, None, None]

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        x, w, geometry = self.x, self.weight, self.geometry
        needs_gx, needs_gw, needs_gb = self.needs_grad
        gx = None
        if needs_gx:
            gx = self.kernels.correlate(gy, w, **geometry)  # (6)
            gx = gx[:, :, : x.shape[2], : x.shape[3]]  # output_padding ≥ stride makes room for windows x has not
        gw = self.kernels.correlate_adjoint_w(x, gy, w.shape, **geometry) if needs_gw else None  # (7)
        gb = gy.sum(axis=(0, 2, 3)) if needs_gb else None  # (4)
        return gx, gw, gb


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> Tensor:
    """Transposed convolution, the adjoint of `conv2d` in x, as in `torch.nn.functional.conv_transpose2d`: (5).

    Args:
        x: shape (N, C, H, W), N ≥ 1.
        weight: shape (C, O/groups, kh, kw), dtype of `x`.
        bias: shape (O,), or None.
        stride: of the convolution this is the adjoint of, ≥ 1.  Each pair is (vertical, horizontal); one
            integer stands for both.
        padding: of that convolution, ≥ 0: so many rows and columns are cut from each border of y.
        output_padding: rows and columns added to y at the bottom and right, ≥ 0, less than stride or dilation.
        groups: G ≥ 1 separate convolutions, each from C/G to O/G channels.
        dilation: distance between the taps of the kernel, ≥ 1.

    Returns:
        Tensor of shape (N, O, Ho, Wo), Ho = (H − 1) s − 2p + d (kh − 1) + output_padding + 1.

    Raises:
        ValueError: shapes or parameters do not fit, or y would be empty.

    Example:
        >>> import numpy as np
        >>> conv_transpose2d(np.ones((1, 4, 5, 3)), np.ones((4, 2, 3, 3)), stride=2, padding=1, output_padding=1).shape
        (1, 2, 10, 6)
    """
    op = "conv_transpose2d"
    x, weight = as_tensor(x), as_tensor(weight)
    bias = None if bias is None else as_tensor(bias)
    _check_operands(op, x, weight, "COHW", bias, groups)
    if x.shape[1] != weight.shape[0]:
        raise ValueError(f"{op}: x must have weight.shape[0] = {weight.shape[0]} channels, got {x.shape[1]}")
    stride = _check.pair(op, "stride", stride, minimum=1)
    padding = _check.pair(op, "padding", padding, minimum=0)
    dilation = _check.pair(op, "dilation", dilation, minimum=1)
    extra = _check.pair(op, "output_padding", output_padding, minimum=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"{op}: output_padding must be less than stride or dilation, got output_padding={extra}, "
            f"stride={stride}, dilation={dilation}"
        )
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, extra, strict=True)
    height, width = ((h - 1) * s - 2 * p + d * (k - 1) + e + 1 for h, k, s, p, d, e in axes)
    if min(height, width) < 1:
        raise ValueError(f"{op}: padding must leave some output, got padding={padding}, output ({height}, {width})")
    return ConvTranspose2d.apply(
        x, weight, bias, y_size=(height, width), stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _check_operands(op: str, x: Tensor, weight: Tensor, axes: str, bias: Tensor | None, groups: Any) -> None:
    """Refuse wrong numbers of axes, empty operands, a bias of another length, groups that do not divide."""
    _check.ndim(op, "x", x.shape, "NCHW")
    _check.ndim(op, "weight", weight.shape, axes)
    if not x.size or not weight.size:
        raise ValueError(f"{op}: x and weight must not be empty, got {x.shape} and {weight.shape}")
    _check.integer(op, "groups", groups, minimum=1)
    if x.shape[1] % groups:
        raise ValueError(f"{op}: groups must divide in_channels, got groups={groups}, in_channels={x.shape[1]}")
    out_channels = weight.shape[0] if axes == "OCHW" else weight.shape[1] * groups
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"{op}: bias must have shape ({out_channels},), got {bias.shape}")


def _borders(padding: Any, kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    """The zeros at the ends of each axis that `padding` of conv2d asks for."""
    if isinstance(padding, str):
        _check.choice("conv2d", "padding", padding, ("same", "valid"))
        if padding == "valid":
            return (0, 0)
        if stride != (1, 1):
            raise ValueError(f"conv2d: padding 'same' must have stride 1, got stride={stride}")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return ((total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2))
    return _check.pair("conv2d", "padding", padding, minimum=0)
