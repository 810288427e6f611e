r"""Convolution with a Gaussian prior: a filter is a Gaussian of learned width, convolved with a structural filter.

With S the structural filter (O, C/G, kh, kw), d its dilation, and k_c the taps −r … r of a Gaussian of width σ_c
(one a layer, or one an input channel), outer product k_c k_cᵀ = K_c:

    W_oc = (↑S_oc) * K_c      size d(k − 1) + 1 + 2r, ↑ puts d − 1 zeros between the taps        (1)

There are two routes to the same output:

    filter      y = S ⋆ (K x),   K x taken on the map grown by the padding p, S without padding   (2)
    kernel      y = W ⋆ x,       padding p + r, dilation 1                                       (3)

(2) is (3) for every stride, dilation and number of groups, gradients of σ included.  Blurring onto the map itself,
and padding the blurred map with zeros (border="crop"), cuts off what the Gaussian spreads beyond the edge: another
layer, which differs in a border of p.  Multiply-adds for an output, of one output channel and input channel:

    filter      kh kw + 2 (2r + 1) sh sw G/O          kernel      (d(kh − 1) + 1 + 2r) (d(kw − 1) + 1 + 2r)      (4)

Width.  A sampled kernel has ln σ as its parameter.  Its gradient dies like exp(−1/2σ²): below 0.2 nothing can be
learned, so σ is kept in [0.3, σ_max].  A discrete kernel has t = σ² itself; at t = 0 it is the identity with a
gradient of 1/2: a trained network can start there as what it was.  Any positive function of a free parameter in
place of t would make that gradient vanish at 0, so t is projected onto [σ_min², σ_max²] after it has moved.

The second moment m₂ = Σ k_u u² is what σ² means for receptive fields: a truncated, sampled kernel has not σ² exactly.

Source: T. Kobayashi, "Disentangled convolution for optimizing receptive field", Pattern Recognition Letters 169,
2023, for the idea; per layer or channel, initial widths, radius, borders and the discrete kernel are our choices.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor, as_tensor, no_grad
from minidl.device import get_array_module
from minidl.nn import init
from minidl.nn.conv import Size
from minidl.ops import _check
from minidl.priors.like import like

__all__ = ["GaussianConv2d"]

Pair = tuple[int, int]


class GaussianConv2d(nn.Conv2d):
    """Convolution whose filters are Gaussians convolved with structural filters; see (1)-(4).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as for `nn.Conv2d`; they are
            the structural filter's.
        sigma0: σ at first, in samples of the layer's input; a number, or with per="channel" one a channel.
        radius: r, half the width of the Gaussian; None: ⌈3 σ_max⌉.
        per: one σ a "layer", or one an input "channel".
        kernel: "sampled" or "discrete".
        route: "filter", "kernel", or "auto", the one with fewer multiply-adds by (4).
        border: "exact", or "crop", which has the filter route alone.
        sigma_min, sigma_max: range of σ; sigma_min None: 0.3 for the sampled kernel, 0 for the discrete one.
        rng: where the structural filter and the bias come from.
        weight_init, bias_init: as for `nn.Conv2d`.

    Attributes:
        weight: S, shape (O, C/G, kh, kw), under `nn.Conv2d`'s name: state dicts of a plain network fit.
        log_sigma: ln σ of the sampled kernel, shape (1,) or (C,); or else
        variance: t = σ² of the discrete one.

    Raises:
        ValueError: an argument is none of these; σ is out of its range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> layer = GaussianConv2d(3, 8, 3, padding=1, bias=False, kernel="discrete", sigma0=0, rng=rng)
        >>> x = Tensor(rng.normal(size=(2, 3, 9, 9)).astype(np.float32))
        >>> bool(np.allclose(layer(x).data, ops.conv2d(x, layer.weight, padding=1).data, atol=1e-6))
        True
    """

    no_weight_decay = ("bias", "log_sigma", "variance")

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
        sigma0: Any = 0.5,
        radius: int | None = None,
        per: str = "layer",
        kernel: str = "sampled",
        route: str = "auto",
        border: str = "exact",
        sigma_min: float | None = None,
        sigma_max: float = 2.0,
        rng: np.random.Generator,
        weight_init: init.Initializer = init.fan_in_uniform,
        bias_init: init.Initializer | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            rng=rng,
            weight_init=weight_init,
            bias_init=bias_init,
        )
        name = "GaussianConv2d"
        _check.choice(name, "per", per, ("layer", "channel"))
        _check.choice(name, "kernel", kernel, ("sampled", "discrete"))
        _check.choice(name, "route", route, ("auto", "filter", "kernel"))
        _check.choice(name, "border", border, ("exact", "crop"))
        if border == "crop" and route == "kernel":
            raise ValueError(f"{name}: border must be 'exact' on the kernel route, got 'crop'")
        self.per, self.kernel, self.route, self.border = per, kernel, route, border
        self.sigma_min = (0.3 if kernel == "sampled" else 0.0) if sigma_min is None else sigma_min
        self.sigma_max = sigma_max
        self._check_range()
        self.radius = _check.integer(name, "radius", math.ceil(3 * sigma_max) if radius is None else radius, minimum=1)
        sigma = self._initial(sigma0)
        if kernel == "sampled":
            self.log_sigma = nn.Parameter(np.log(sigma).astype(np.float32))
        else:
            self.variance = nn.Parameter((sigma * sigma).astype(np.float32))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, **options: Any) -> GaussianConv2d:
        """A layer with the geometry and the very parameters of `conv`; `options` are those of the Gaussian.

        With kernel="discrete" and sigma0=0 it computes what `conv` does.
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
        layer.weight, layer.bias = conv.weight, conv.bias
        return layer

    def _check_range(self) -> None:
        low, high = (_check.number("GaussianConv2d", n, getattr(self, n)) for n in ("sigma_min", "sigma_max"))
        if not (0 <= low < high < math.inf) or (self.kernel == "sampled" and low == 0):
            at_least = "0 <" if self.kernel == "sampled" else "0 <="
            raise ValueError(f"GaussianConv2d: {at_least} sigma_min < sigma_max must hold, got {low:g} and {high:g}")

    def _initial(self, sigma0: Any) -> np.ndarray:
        """σ at first, shape (1,) or (C,)."""
        count = 1 if self.per == "layer" else self.in_channels
        sigma = np.asarray(sigma0)
        inside = sigma.dtype.kind in "iuf" and ((sigma >= self.sigma_min) & (sigma <= self.sigma_max)).all()
        if not inside or sigma.shape not in ((), (count,)):
            many = f" or {count} of them" if count > 1 else ""
            raise ValueError(
                f"GaussianConv2d: sigma0 must be a number{many} from sigma_min={self.sigma_min:g} to "
                f"sigma_max={self.sigma_max:g}, got {sigma0!r:.60}"
            )
        return np.broadcast_to(sigma.astype(np.float64), (count,))

    @property
    def taken(self) -> str:
        """The route that is taken, "filter" or "kernel"; it depends on the stride, which a pool may take over."""
        if self.route != "auto":
            return self.route
        outputs, (kh, kw), (sh, sw) = self.out_channels // self.groups, self.kernel_size, self.stride
        by_filter = kh * kw * outputs + 2 * (2 * self.radius + 1) * sh * sw  # (4), both sides times O/G
        by_kernel = math.prod(self.composed_size) * outputs
        return "kernel" if by_kernel < by_filter and self.border == "exact" else "filter"

    @property
    def composed_size(self) -> Pair:
        """Size of W."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) + 1 + 2 * self.radius, dw * (kw - 1) + 1 + 2 * self.radius

    @property
    def sigma(self) -> np.ndarray:
        """σ, shape (1,) or (C,), as the next forward takes it."""
        self.project()
        return np.exp(self.log_sigma.numpy()) if self.kernel == "sampled" else np.sqrt(self.variance.numpy())

    @no_grad()
    def second_moment(self) -> np.ndarray:
        """m₂ = Σ k_u u² of each kernel in samples², shape (1,) or (C,): what the layer adds to a receptive field."""
        u = np.arange(-self.radius, self.radius + 1)
        return self.taps().numpy() @ (u * u).astype(self.weight.dtype)

    def taps(self) -> Tensor:
        """k, shape (1, 2r + 1) or (C, 2r + 1)."""
        self.project()
        if self.kernel == "sampled":
            return ops.gaussian_kernel1d(ops.exp(self.log_sigma), radius=self.radius)
        return ops.gaussian_kernel1d(None, self.variance, radius=self.radius, kind="discrete")

    def composed_weight(self) -> Tensor:
        """W of (1), shape (O, C/G, …): one plain convolution with padding p + r does what the layer does."""
        o, c, kh, kw = self.weight.shape
        g, size = self.groups, self.composed_size
        maps = ops.reshape(self.weight, (g, o // g, c, kh, kw))
        maps = ops.reshape(ops.transpose(maps, (1, 0, 2, 3, 4)), (o // g, g * c, kh, kw))  # (O/G,C,kh,kw)
        for axis, (length, step) in enumerate(zip(self.kernel_size, self.dilation, strict=True)):
            if step > 1:
                spread = as_tensor(np.eye(step * (length - 1) + 1)[:, ::step].tolist(), like=maps)  # (d(k−1)+1, k)
                maps = spread @ maps if axis == 0 else maps @ ops.transpose(spread)  # ↑
        wide = ops.separable_filter(maps, self.taps(), grow=self.radius)  # (1)  (O/G,C,…)
        wide = ops.transpose(ops.reshape(wide, (o // g, g, c, *size)), (1, 0, 2, 3, 4))
        return ops.reshape(wide, (o, c, *size))

    def forward(self, x: Tensor) -> Tensor:
        geometry: dict[str, Any] = {"stride": self.stride, "groups": self.groups}
        if self.border == "crop":
            x = ops.separable_filter(x, self.taps())
            return ops.conv2d(x, self.weight, self.bias, padding=self.padding, dilation=self.dilation, **geometry)
        (vertical, horizontal), (below, right) = self._padding()
        if below or right:
            x = ops.pad(x, ((0, 0), (0, 0), (0, below), (0, right)))
        if self.taken == "filter":
            x = ops.separable_filter(x, self.taps(), grow=(vertical, horizontal))
            return ops.conv2d(x, self.weight, self.bias, dilation=self.dilation, **geometry)  # (2)
        padding = (vertical + self.radius, horizontal + self.radius)
        return ops.conv2d(x, self.composed_weight(), self.bias, padding=padding, **geometry)  # (3)

    def project(self) -> None:
        """Put σ back into its range, from which a step may have taken it; all that uses σ does so first."""
        if self.kernel == "sampled":
            parameter, low, high = self.log_sigma, math.log(self.sigma_min), math.log(self.sigma_max)
        else:
            parameter, low, high = self.variance, self.sigma_min**2, self.sigma_max**2
        xp = get_array_module(parameter.data)
        parameter.data = xp.minimum(xp.maximum(parameter.data, low), high)

    def _padding(self) -> tuple[Pair, Pair]:
        """Zeros at every border, and further ones at the bottom and right, where "same" needs an odd number."""
        if not isinstance(self.padding, str):
            return self.padding, (0, 0)
        _check.choice("GaussianConv2d", "padding", self.padding, ("same", "valid"))
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if self.stride != (1, 1):
            raise ValueError(f"GaussianConv2d: padding 'same' must have stride 1, got stride={self.stride}")
        vertical, horizontal = (d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True))
        return (vertical // 2, horizontal // 2), (vertical % 2, horizontal % 2)

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Of the route that is taken; composing W, once for a batch, is not counted."""
        outputs = math.prod(y_shape) * self.weight.shape[1]
        if self.taken == "kernel":
            return outputs * math.prod(self.composed_size)
        n, c, height, width = x_shape
        (vertical, horizontal), (below, right) = self._padding() if self.border == "exact" else ((0, 0), (0, 0))
        height, width = height + below, width + right
        wide = width + 2 * horizontal  # rows first: (2r + 1) products a sample of (height, wide), then of (…, wide)
        blur = n * c * (2 * self.radius + 1) * (height * wide + (height + 2 * vertical) * wide)
        return outputs * math.prod(self.kernel_size) + blur

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, radius={self.radius}, per={self.per}, kernel={self.kernel}, "
            f"route={self.taken}, border={self.border}"
        )
