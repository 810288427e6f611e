r"""Convolution on a fixed basis: filters are combinations of given ones, and only the coefficients are learned.

With m fixed filters B_j, orthonormal, and coefficients a (O, C/G, m),

    W_oc = Σ_j a_ocj B_j                                    composed: one plain convolution            (1)
    y = 1×1 convolution, a, of the C·m maps B_j ⋆ x_c       depthwise with the m filters, then 1×1     (2)

(1) and (2) are the same.  ga = gW Bᵀ, so that learning sees the part of gW in the span of the basis.  Multiply-adds
for an output, of one output channel and input channel:

    composed    kh kw               filter      m + m kh kw G/O                                        (3)

The basis.  One axis of length k has k orthonormal functions b_0 … b_{k−1}, and B = b_i b_jᵀ, by their order i + j:

    Gaussian    g, g′, g″, … sampled at the taps, orthonormalised in this order                        (4)
    DCT         b_i(u) = √(2/k) cos(π i (2u + 1) / 2k),  √(1/k) for i = 0                              (5)

A derivative of a Gaussian is a polynomial times the Gaussian, so (4) is one function for each degree, whatever σ:
all k² of them span every filter, and those up to order n all derivatives up to it.

Source: T. Kobayashi, "Analyzing filters toward efficient ConvNet", CVPR 2018, for parameter-free bases; its own are
not public, these are ours.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor, no_grad
from minidl.device import get_array_module
from minidl.nn import init
from minidl.nn.conv import Size
from minidl.ops import _check
from minidl.priors.like import like

__all__ = ["BasisConv2d", "filter_basis"]


class BasisConv2d(nn.Module):
    """Convolution whose filters are combinations of fixed ones; see (1)-(3).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as for `nn.Conv2d`.
        basis: "gaussian" (4) or "dct" (5).
        order: highest i + j of the filters; None: all kh kw of them, which is another parametrisation of
            `nn.Conv2d` and no less.
        sigma: of the Gaussian (4), in taps; None: a third of the kernel's length, at least 0.5.
        route: "filter" (2), "composed" (1), or "auto", the one with fewer multiply-adds by (3).
        rng: where coefficients and bias come from.
        weight_init, bias_init: functions of `nn.init`; the weight's is given the shape (O, C/G, m).

    Attributes:
        coefficients: a, shape (O, C/G, m).
        basis: the filters, shape (m, kh, kw), in float64.
        bias: shape (O,), or None.

    Raises:
        ValueError: an argument is none of these, or a number is out of its range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> layer = BasisConv2d(3, 8, 3, padding=1, order=2, rng=rng)
        >>> layer.coefficients.shape, layer.weight.shape
        ((8, 3, 6), (8, 3, 3, 3))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        basis: str = "gaussian",
        order: int | None = None,
        sigma: float | None = None,
        route: str = "auto",
        rng: np.random.Generator,
        weight_init: init.Initializer = init.fan_in_uniform,
        bias_init: init.Initializer | None = None,
    ) -> None:
        with init.skip():  # the checks of a plain convolution
            plain = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, rng=rng)
        self.in_channels, self.out_channels, self.groups = plain.in_channels, plain.out_channels, plain.groups
        self.kernel_size, self.stride = plain.kernel_size, plain.stride
        self.padding, self.dilation = plain.padding, plain.dilation
        _check.choice("BasisConv2d", "route", route, ("auto", "filter", "composed"))
        filters = filter_basis(plain.kernel_size, basis, order, sigma)
        shape = (out_channels, in_channels // groups, len(filters))
        self.coefficients = nn.Parameter.owning(weight_init(shape, rng=rng))
        bias_init = bias_init or partial(init.fan_in_uniform, fan_in=init.fans(plain.weight.shape)[0])
        self.bias = nn.Parameter.owning(bias_init((out_channels,), rng=rng)) if bias else None
        self.basis = filters
        self.kind, self.order = basis, order
        self.route = ("filter" if self._filter_is_cheaper() else "composed") if route == "auto" else route

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, **options: Any) -> BasisConv2d:
        """A layer with the geometry and bias of `conv`, and its filters' projections on the basis.

        With order=None they are the filters themselves, to rounding; otherwise the nearest ones in the span.
        `options` are this layer's own arguments.
        """
        with init.skip():
            layer = cls(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                conv.padding,
                conv.dilation,
                conv.groups,
                conv.bias is not None,
                rng=np.random.default_rng(0),  # draws nothing: the values are those of `conv`
                **options,
            )
        like(layer, conv.weight)
        layer.project(conv.weight)
        layer.bias = conv.bias
        return layer

    @no_grad()
    def project(self, weight: Tensor) -> None:
        """Take the filters nearest to `weight`, shape (O, C/G, kh, kw)."""
        flat = ops.reshape(weight, (*self.coefficients.shape[:2], -1))
        self.coefficients.data = (flat @ ops.transpose(self._basis())).data  # (O,C/G,kh·kw)(kh·kw,m)

    def _basis(self) -> Tensor:
        """B as a matrix (m, kh·kw) where and as the coefficients are."""
        xp, dtype = get_array_module(self.coefficients.data), self.coefficients.dtype
        return Tensor(xp.asarray(self.basis.reshape(len(self.basis), -1), dtype))

    @property
    def weight(self) -> Tensor:
        """W of (1), shape (O, C/G, kh, kw)."""
        flat = self.coefficients @ self._basis()  # (O,C/G,m)(m,kh·kw)
        return ops.reshape(flat, (*self.coefficients.shape[:2], *self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        geometry: dict[str, Any] = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        if self.route == "composed":
            return ops.conv2d(x, self.weight, self.bias, groups=self.groups, **geometry)  # (1)
        c, (m, kh, kw) = self.in_channels, self.basis.shape
        filters = ops.reshape(ops.broadcast_to(self._basis(), (c, m, kh * kw)), (c * m, 1, kh, kw))
        maps = ops.conv2d(x, filters, groups=c, **geometry)  # (N,C·m,Ho,Wo)
        mixing = ops.reshape(self.coefficients, (self.out_channels, -1, 1, 1))  # (O,C/G·m,1,1)
        return ops.conv2d(maps, mixing, self.bias, groups=self.groups)  # (2)

    def _filter_is_cheaper(self) -> bool:
        m, taps, outputs = len(self.basis), math.prod(self.kernel_size), self.out_channels // self.groups
        return m * outputs + m * taps < taps * outputs  # (3), both sides times O/G

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Of the route that is taken; composing W, once for a batch, is not counted."""
        m, taps, mixed = len(self.basis), math.prod(self.kernel_size), self.in_channels // self.groups
        if self.route == "composed":
            return math.prod(y_shape) * mixed * taps
        n, _, height, width = y_shape
        return math.prod(y_shape) * mixed * m + n * height * width * self.in_channels * m * taps

    def extra_repr(self) -> str:
        groups = f", groups={self.groups}" if self.groups != 1 else ""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}{groups}, basis={self.kind}, m={len(self.basis)}, route={self.route}"
        )


def filter_basis(
    size: tuple[int, int], kind: str = "gaussian", order: int | None = None, sigma: float | None = None
) -> np.ndarray:
    """Orthonormal filters B = b_i b_jᵀ by their order i + j, shape (m, kh, kw), in float64; see (4), (5).

    Args:
        size: (kh, kw).
        kind: "gaussian" (4) or "dct" (5).
        order: highest i + j; None for all kh kw filters.
        sigma: of the Gaussian, in taps; None: a third of the length, at least 0.5.

    Returns:
        Array of shape (m, kh, kw), in float64.

    Raises:
        ValueError: an unknown kind, a negative order, or a width that is not positive.

    Example:
        >>> filter_basis((3, 3), order=1).shape
        (3, 3, 3)
    """
    _check.choice("filter_basis", "kind", kind, ("gaussian", "dct"))
    highest = sum(size) if order is None else _check.integer("filter_basis", "order", order, minimum=0)
    if sigma is not None and not 0 < _check.number("filter_basis", "sigma", sigma) < math.inf:
        raise ValueError(f"filter_basis: sigma must be > 0, got {sigma}")
    rows, columns = (
        _cosines(k) if kind == "dct" else _derivatives(k, max(k / 3, 0.5) if sigma is None else sigma) for k in size
    )
    pairs = sorted(np.ndindex(*size), key=lambda p: (p[0] + p[1], p[0]))
    return np.array([np.outer(rows[i], columns[j]) for i, j in pairs if i + j <= highest])


def _derivatives(k: int, sigma: float) -> np.ndarray:
    """b_0 … b_{k−1} of (4), each a row, their signs those of the derivatives."""
    u = (np.arange(k) - (k - 1) / 2) / sigma
    polynomials = np.vander(u, k, increasing=True) * (-1.0) ** np.arange(k)  # the leading term of g⁽ⁱ⁾/g is (−u)ⁱ
    q, r = np.linalg.qr(polynomials * np.exp(-u * u / 2)[:, None])
    return (q * np.where(np.diag(r) < 0, -1, 1)).T


def _cosines(k: int) -> np.ndarray:
    """b_0 … b_{k−1} of (5), each a row."""
    i, u = np.arange(k)[:, None], np.arange(k)
    return np.where(i == 0, math.sqrt(1 / k), math.sqrt(2 / k)) * np.cos(np.pi * i * (2 * u + 1) / (2 * k))
