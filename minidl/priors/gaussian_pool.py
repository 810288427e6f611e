r"""Local Gaussian pooling as a layer: η is drawn from a prior, whose parameters are fixed, learned, or seen in the map.

The output of a window is its mean plus η of its standard deviations, see `ops.gaussian_pool2d`, with e ~ N(0, 1):

    inverse-softplus Gaussian   η = ln(1 + exp(μ₀ + σ₀ e))                                       (1)
    half-Gaussian               η = σ₀ |e|                                                       (2)

    adaptive    μ₀ = a_μ,  σ₀ = squash(a_σ),  a from `GlobalGuidance`, one a sample and channel   (3)
    learned     μ₀ and ℓ parameters, σ₀ = squash(ℓ), one a channel                               (4)
    fixed       μ₀ and σ₀ as given                                                               (5)

squash is the sigmoid for (1), softplus for (2).  e is one number a sample and channel, or one a window too, or there
is none: then (1) has no σ₀, η = ln(1 + exp μ₀), and (2) keeps to the value of its evaluation.

Evaluation puts a typical η in place of the random one:

    median   ln(1 + exp μ₀)                        0.6745 σ₀                                     (6)
    mean     Σ_i w_i ln(1 + exp(μ₀ + σ₀ z_i))      σ₀ √(2/π)                                     (7)

with the 24 nodes z and weights w of Gauss–Hermite quadrature, exact to 2e-12 for |μ₀| ≤ 4, σ₀ ≤ 1.  The output is
linear in η, so (7) gives the mean of the layer's outputs; the authors take the median of (1), and nothing public
says what they take of (2): e = 0 would be average pooling, so the mean.

Source: T. Kobayashi, "Gaussian-based pooling for convolutional neural networks", NeurIPS 2019.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor, as_tensor
from minidl.device import get_array_module
from minidl.nn.pool import Size
from minidl.ops import _check
from minidl.ops._windows import windows
from minidl.priors.guidance import GlobalGuidance
from minidl.priors.squash import SQUASH, a_channel, unsquashed

__all__ = ["GaussianPool2d"]

PRIORS = {"inverse_softplus": "sigmoid", "half_gaussian": "softplus"}  # and what squashes their σ₀
HALF_GAUSSIAN = {"mean": math.sqrt(2 / math.pi), "median": 0.6744897501960817}  # for σ₀ = 1
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)


class GaussianPool2d(nn.Module):
    """Mean of each window plus η of its standard deviations, η ≥ 0 from a prior; see (1)-(7).

    Args:
        channels: C.
        kernel_size, stride, padding, ceil_mode: of the windows, as for `nn.AvgPool2d`.
        prior: "inverse_softplus" or "half_gaussian".
        parameters: "adaptive", "learned" or "fixed".
        noise: e for each "channel" of each sample, each "position" of the output besides, or "none".
        inference: "median" or "mean"; None: as the authors, the median of (1), the mean of (2).
        mu0, sigma0: numbers, or one a channel: of "fixed", or at first of "learned".  None: 0 and squash(0).
        hidden: width of the guidance, C/2 if None.
        count_include_pad: whether zeros of the padding count as samples; the authors' two forms differ in this.
        eps: floor of the variance in a window.
        rng: where initial values come from, and parent of the layer's own generator of e, `draws`.

    Raises:
        ValueError: an argument is none of these, or a hyper-parameter is given that the layer does not have.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> pool = GaussianPool2d(8, kernel_size=2, rng=rng)
        >>> x = Tensor(rng.normal(size=(4, 8, 6, 6)).astype(np.float32))
        >>> y = pool(x)
        >>> y.shape, bool((y.data > nn.AvgPool2d(2)(x).data).all())
        ((4, 8, 3, 3), True)
        >>> bool((pool(x).data == y.data).any()), bool((pool.eval()(x).data == pool(x).data).all())
        (False, True)
    """

    no_weight_decay = ("mu0", "sigma0_raw")

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        prior: str = "inverse_softplus",
        parameters: str = "adaptive",
        noise: str = "channel",
        inference: str | None = None,
        mu0: Any = None,
        sigma0: Any = None,
        hidden: int | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
        eps: float = 1e-6,
        rng: np.random.Generator,
    ) -> None:
        name = "GaussianPool2d"
        self.channels = _check.integer(name, "channels", channels, minimum=1)
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad, self.eps = count_include_pad, eps
        _check.choice(name, "prior", prior, tuple(PRIORS))
        _check.choice(name, "parameters", parameters, ("adaptive", "learned", "fixed"))
        _check.choice(name, "noise", noise, ("channel", "position", "none"))
        _check.choice(name, "inference", inference, ("median", "mean", None))
        self.prior, self.source, self.noise = prior, parameters, noise
        self.inference = inference or ("median" if prior == "inverse_softplus" else "mean")
        self.has_mu0 = prior == "inverse_softplus"
        self.has_sigma0 = prior == "half_gaussian" or noise != "none"
        self._refuse_superfluous(mu0, sigma0)
        if parameters == "adaptive":
            heads = ["mu"] * self.has_mu0 + ["sigma"] * self.has_sigma0
            self.guidance = GlobalGuidance(channels, heads, hidden, rng=rng)
        elif parameters == "learned":
            if self.has_mu0:
                self.mu0: Tensor = nn.Parameter(a_channel(name, "mu0", 0.0 if mu0 is None else mu0, channels))
            if self.has_sigma0:
                self.sigma0_raw = nn.Parameter(unsquashed(name, "sigma0", sigma0, PRIORS[prior], channels))
        else:
            if self.has_mu0:
                self.mu0 = nn.Buffer(a_channel(name, "mu0", 0.0 if mu0 is None else mu0, channels))
            if self.has_sigma0:
                default = SQUASH[PRIORS[prior]](Tensor(0.0)).item()
                self.sigma0 = nn.Buffer(a_channel(name, "sigma0", default if sigma0 is None else sigma0, channels))
                _check.not_negative(name, "sigma0", self.sigma0.data)
        self.draws = rng.spawn(1)[0]

    def _refuse_superfluous(self, mu0: Any, sigma0: Any) -> None:
        for name, value, there in (("mu0", mu0, self.has_mu0), ("sigma0", sigma0, self.has_sigma0)):
            if value is not None and self.source == "adaptive":
                raise ValueError(
                    f"GaussianPool2d: {name} must be None where parameters='adaptive' takes it from the map"
                )
            if value is not None and not there:
                raise ValueError(f"GaussianPool2d: prior={self.prior!r} with noise={self.noise!r} has no {name}")

    def law(self, x: Tensor, names: tuple[str, ...] = ("mu", "sigma")) -> dict[str, Tensor]:
        """μ₀ and σ₀ for the map x, those of `names`: shape (N, C, 1, 1) or (1, C, 1, 1)."""
        if self.source == "fixed":
            return {name: self.mu0 if name == "mu" else self.sigma0 for name in names}  # (5)
        if self.source == "adaptive":
            raw = dict(zip(names, self.guidance(x, names), strict=True))  # (3)
        else:
            raw = {name: self.mu0 if name == "mu" else self.sigma0_raw for name in names}  # (4)
        return {name: a if name == "mu" else SQUASH[PRIORS[self.prior]](a) for name, a in raw.items()}

    def eta(self, x: Tensor, noise: Any = None) -> Tensor:
        """η for the map x: drawn if `noise` is given or the layer is training, else the typical one."""
        if noise is None and self.training and self.noise != "none":
            noise = self._draw(x)
        if noise is None:
            return self._typical(x)
        if self.noise == "none":
            raise ValueError("GaussianPool2d: noise must be None, as the layer was made with noise='none'")
        noise = as_tensor(noise, like=x)
        if self.prior == "half_gaussian":
            return ops.half_gaussian(self.law(x, ("sigma",))["sigma"], noise)  # (2)
        law = self.law(x)
        return ops.inverse_softplus_gaussian(law["mu"], law["sigma"], noise)  # (1)

    def _typical(self, x: Tensor) -> Tensor:
        if self.prior == "half_gaussian":
            return self.law(x, ("sigma",))["sigma"] * HALF_GAUSSIAN[self.inference]  # (6), (7)
        if self.inference == "median" or not self.has_sigma0:
            return ops.softplus(self.law(x, ("mu",))["mu"])  # (6)
        law, column = self.law(x), (len(NODES), 1, 1, 1, 1)
        nodes, weights = (as_tensor(a.tolist(), like=x) for a in (NODES, WEIGHTS / WEIGHTS.sum()))
        values = ops.softplus(law["mu"] + law["sigma"] * ops.reshape(nodes, column))  # (24,N,C,1,1)
        return ops.sum(values * ops.reshape(weights, column), axis=0)  # (7)

    def _draw(self, x: Tensor) -> Tensor:
        """e in the dtype of x, drawn in float64 on the CPU: the same numbers in every dtype and on every device."""
        shape = (*x.shape[:2], 1, 1)
        if self.noise == "position":
            place = windows("GaussianPool2d", x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)
            shape = (*x.shape[:2], *place.output_size)
        e = self.draws.standard_normal(shape).astype(x.dtype)
        return Tensor(get_array_module(x.data).asarray(e))

    def forward(self, x: Tensor, noise: Any = None) -> Tensor:
        return ops.gaussian_pool2d(
            x,
            self.eta(x, noise),
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.eps,
        )

    def extra_repr(self) -> str:
        ceil = ", ceil_mode=True" if self.ceil_mode else ""
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"prior={self.prior}, parameters={self.source}, noise={self.noise}, inference={self.inference}{ceil}"
        )
