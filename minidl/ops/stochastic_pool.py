r"""Pooling by a local law: Gaussian pooling with its priors, and maximum-entropy pooling.

Local Gaussian pooling.  R are the samples of a window on the map, n of them, P the divisor: n, or more where n₀ = P − n
zeros of the padding count as samples.  The window is summed up by the Gaussian with its mean and deviation, and the
output lies η deviations above the mean:

    μ = Σ_R x / P                                                                            (1)
    v = [Σ_R (x − μ)² + n₀ μ²] / P,          s = √max(v, ε)                                  (2)
    Y = μ + η s                                                                              (3)
    gη   = gY s,   summed over the axes along which η was broadcast                          (4)
    gv   = [v > ε] η gY / 2s                                                                 (5)
    gx_k = Σ [gY + 2 gv (x_k − μ)] / P   over the windows with k ∈ R                         (6)

η = 0 is average pooling; η = √(P − 1) gives the maximum of a window with one value that is not 0, and at least the
maximum of any.  (2) is Σ x²/P − μ² without its cancellation: subtracting μ first costs a second look at the window,
and keeps v where |μ| ≫ s.  In (6) the change of μ inside v drops out, as Σ_R (x − μ) = n₀ μ.  Where v ≤ ε the output
does not see v, hence the bracket in (5); without it the gradient is not that of the output.

Priors.  η ≥ 0 is not learned itself but drawn, with e ~ N(0, 1) given as an array:

    half-Gaussian               η = σ₀ |e|                          mean σ₀ √(2/π)           (7)
    inverse-softplus Gaussian   η = ln(1 + exp(μ₀ + σ₀ e))          median ln(1 + exp μ₀)    (8)

Maximum-entropy pooling.  Of all laws p on the samples of a window, the one that maximises Σ p_k x_k + H(p)/λ, H the
entropy, and its mean:

    p_k = exp(λ x_k) / Σ_R exp(λ x_j),       y = Σ_R p_k x_k                                 (9)
    gx_k = Σ gy p_k [1 + λ (x_k − y)]        over the windows with k ∈ R                    (10)
    gλ   = gy Σ_R p_k (x_k − y)²,            summed over the axes along which λ was broadcast  (11)

λ = 0 is average pooling, λ → ∞ maximum pooling.  It is not log-sum-exp pooling, ln(mean exp(λx))/λ, whose gradient is
p_k alone.

Sources: T. Kobayashi, "Gaussian-based pooling for convolutional neural networks", NeurIPS 2019, for (1)-(8); "Global
feature guided local pooling", ICCV 2019, for (9)-(11).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops import _check
from minidl.ops._broadcast import operands, sum_to
from minidl.ops._windows import Windows, windows
from minidl.ops.activation import softplus
from minidl.ops.elementwise import add, mul
from minidl.ops.piecewise import abs as absolute

__all__ = ["gaussian_pool2d", "half_gaussian", "inverse_softplus_gaussian", "maxent_pool2d"]


class GaussianPool2d(Function):
    """Y = μ + η s; see (1)-(6)."""

    def forward(
        self, x: Array, eta: Array, *, windows: Windows, divisor: np.ndarray, outside: np.ndarray | None, eps: float
    ) -> Array:
        self.x, self.eta, self.windows, self.eps = x, eta, windows, eps
        self.divisor = self.xp.asarray(divisor, x.dtype)  # (Ho,Wo)
        zeros = None if outside is None else self.xp.asarray(outside, x.dtype)
        y, self.mean, self.s = self.kernels.gaussian_pool(
            x, eta, self.divisor, zeros, eps, *windows.place, windows.output_size
        )  # (1)-(3)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_geta = self.needs_grad
        gx = None
        if needs_gx:
            kept = self.eta, self.x, self.mean, self.s, self.divisor, self.eps
            gx = self.kernels.gaussian_pool_adjoint(gy, *kept, *self.windows.place)  # (5), (6)
        return gx, sum_to(gy * self.s, self.eta.shape) if needs_geta else None  # (4)


def gaussian_pool2d(
    x: Any,
    eta: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """Mean of each window plus η times its standard deviation (of the population: divided by P, not P − 1).

    Args:
        x: shape (N, C, H, W).
        eta: η in standard deviations, any shape that broadcasts to the output: a number, (1, C, 1, 1) one a
            channel, (N, C, 1, 1), (N, C, Ho, Wo).  The priors below give η ≥ 0.
        kernel_size: height and width of the windows: an integer or a pair, as the next two.
        stride: steps between windows; `kernel_size` if None.
        padding: zeros around the map, at most half of `kernel_size`.
        ceil_mode: whether a last window that the edge cuts off counts, if it begins on the map.
        count_include_pad: whether zeros of the padding count as samples; then a constant map has a deviation at
            its border.
        eps: floor of the variance, > 0: a constant window c gives c + η √eps.

    Returns:
        Tensor of shape (N, C, Ho, Wo), Ho = ⌊(H + 2p − kh) / s⌋ + 1 (⌈·⌉ under `ceil_mode`).

    Raises:
        ValueError: as `avg_pool2d`; `eta` does not broadcast; `eps` is not > 0.

    Example:
        >>> gaussian_pool2d([[[[1.0, 3.0], [1.0, 3.0]]]], 0.5, kernel_size=2).data
        array([[[[2.5]]]], dtype=float32)
    """
    x = as_tensor(x)
    where = windows("gaussian_pool2d", x, kernel_size, stride, padding, ceil_mode=ceil_mode)
    eta = as_tensor(eta, like=x)
    _check.broadcasts_to("gaussian_pool2d", "eta", eta.shape, (*x.shape[:2], *where.output_size))
    eps = _check.number("gaussian_pool2d", "eps", eps)
    if eps <= 0:
        raise ValueError(f"gaussian_pool2d: eps must be > 0, got {eps}")
    inside = where.inside()
    divisor = where.counted() if count_include_pad else inside
    outside = divisor - inside if count_include_pad else None
    return GaussianPool2d.apply(x, eta, windows=where, divisor=divisor, outside=outside, eps=eps)


def half_gaussian(sigma0: Any, noise: Any) -> Tensor:
    """η = σ₀ |e|, (7): the absolute value of a centred Gaussian.

    Evaluation takes the mean, σ₀ √(2/π): e = 0 would be average pooling.

    Args:
        sigma0: σ₀ ≥ 0, any shape that broadcasts with `noise`.
        noise: e, standard normal; a constant.

    Returns:
        Tensor of the broadcast shape, ≥ 0.

    Raises:
        ValueError: σ₀ is negative or NaN (not looked at on a GPU), or the shapes do not broadcast.

    Example:
        >>> half_gaussian([2.0], [-1.0, 0.5]).data
        array([2., 1.], dtype=float32)
    """
    _check.not_negative("half_gaussian", "sigma0", sigma0)
    sigma0, noise = operands("half_gaussian", sigma0, noise)
    return mul(sigma0, absolute(noise.detach()))


def inverse_softplus_gaussian(mu0: Any, sigma0: Any, noise: Any) -> Tensor:
    """η = ln(1 + exp(μ₀ + σ₀ e)), (8): a positive variable whose inverse softplus is Gaussian.

    softplus(μ₀) is its median; the mean lies above it by at most σ₀²/8.

    Args:
        mu0: μ₀, any shape that broadcasts with the others.
        sigma0: σ₀ ≥ 0.
        noise: e, standard normal; a constant.

    Returns:
        Tensor of the broadcast shape, > 0.

    Raises:
        ValueError: σ₀ is negative or NaN (not looked at on a GPU), or the shapes do not broadcast.

    Example:
        >>> inverse_softplus_gaussian([0.0], [1.0], [0.0, 1.0]).data.round(4)
        array([0.6931, 1.3133], dtype=float32)
    """
    _check.not_negative("inverse_softplus_gaussian", "sigma0", sigma0)
    mu0, sigma0, noise = operands("inverse_softplus_gaussian", mu0, sigma0, noise)
    return softplus(add(mu0, mul(sigma0, noise.detach())))


class MaxEntPool2d(Function):
    """y = Σ p x, p = softmax of λx over each window; see (9)-(11)."""

    def forward(self, x: Array, lam: Array, *, windows: Windows) -> Array:
        self.x, self.lam, self.windows = x, lam, windows
        self.y, self.kept = self.kernels.maxent_pool(x, lam, *windows.place, windows.output_size)  # (9)
        return self.y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_glam = self.needs_grad
        law = self.x, self.lam, self.y, self.kept, *self.windows.place
        gx = self.kernels.maxent_pool_adjoint(gy, *law) if needs_gx else None  # (10)
        return gx, sum_to(gy * self.kernels.maxent_variance(*law), self.lam.shape) if needs_glam else None  # (11)


def maxent_pool2d(
    x: Any, lam: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False
) -> Tensor:
    """Mean of each window under the law of largest entropy, softmax(λx): between average (λ = 0) and maximum (λ → ∞).

    Args:
        x: shape (N, C, H, W).
        lam: λ per unit of x, any shape that broadcasts to the output; negative ones lean to the minimum.
        kernel_size: height and width of the windows: an integer or a pair, as the next two.
        stride: steps between windows; `kernel_size` if None.
        padding: samples around the map that no window counts, at most half of `kernel_size`.
        ceil_mode: whether a last window that the edge cuts off counts, if it begins on the map.

    Returns:
        Tensor of shape (N, C, Ho, Wo), Ho = ⌊(H + 2p − kh) / s⌋ + 1 (⌈·⌉ under `ceil_mode`).

    Raises:
        ValueError: as `max_pool2d`; `lam` does not broadcast.

    Example:
        >>> [maxent_pool2d([[[[1.0, 3.0]]]], lam, kernel_size=(1, 2)).item() for lam in (0.0, 100.0)]
        [2.0, 3.0]
    """
    x = as_tensor(x)
    where = windows("maxent_pool2d", x, kernel_size, stride, padding, ceil_mode=ceil_mode)
    lam = as_tensor(lam, like=x)
    _check.broadcasts_to("maxent_pool2d", "lam", lam.shape, (*x.shape[:2], *where.output_size))
    return MaxEntPool2d.apply(x, lam, windows=where)
