r"""Gaussian filtering, separable, with a gradient for its width.

Sampled kernel.  Taps u = −r … r, standard deviation σ > 0 in samples:

    k_u = a_u / Σ_v a_v,     a_u = exp(−z_u² / 2),   z_u = u / σ                               (1)
    gσ  = Σ_u gk_u k_u (z_u² − m) / σ,     m = Σ_v k_v z_v²                                    (2)

The −m is the derivative of the normaliser, the second moment of the kernel as it is truncated; writing −1 there is
right only for wide kernels.  a_u dies like exp(−1/2σ²): below σ ≈ 0.2 nothing is left of the gradient.

Discrete kernel.  T_n(t) = e^{−t} I_n(t), t = σ² ≥ 0, I_n the modified Bessel function, is the heat kernel on the
integers: T_n(0) = δ_n, and (4).  Its Fourier integral ∫ exp(t (cos φ − 1) − i n φ) dφ / 2π over a period, its path
shifted to the saddle point φ = −i asinh(n/t), where nothing cancels, is by the trapezoidal rule, θ_j = 2πj/M,

    T_n = ρⁿ exp(n²/(s + t)) 1/M Σ_j exp(s (cos θ_j − 1)) cos n(θ_j − sin θ_j)                 (3)
          with s = √(n² + t²),  ρ = t / (n + s)
    ∂T_n/∂t = (T_{n−1} − 2 T_n + T_{n+1}) / 2                                                  (4)
    k_u = T_u / S,     S = Σ_{|v| ≤ r} T_v                                                     (5)
    gt  = Σ_u gk_u [(k_{u−1} − 2 k_u + k_{u+1}) / 2 − k_u (k_{r+1} − k_r)]                     (6)

where (4) summed over |n| ≤ r is T_{r+1} − T_r, whence the last bracket.  With M = 16 r + 48, (3) errs by rounding
alone for σ ≤ 2r + 4; wider kernels are all but flat.  At t = 0 the kernel is the identity, exactly, and
∂k/∂t = (…, 0, 1/2, −1, 1/2, 0, …): a layer can start as no layer at all and still learn.

Filtering.  Output i reads sample π(i + u) through tap u, π given by the border, or nothing.  One axis is a matrix T,

    T[i,j] = Σ_u k_u [π(i + u) = j]                                                            (7)
    Y = T_h X T_wᵀ,                Z = X T_wᵀ   the rows alone                                 (8)
    gX = Q T_w,                    Q = T_hᵀ gY                                                 (9)
    gT_h[i,j] = Σ gY[·,i,w] Z[·,j,w],      gT_w[i,j] = Σ Q[·,h,i] X[·,h,j]                    (10)
    gk_u = Σ_i gT[i, π(i + u)]                                                                (11)

summed over images, and over channels where they share a kernel.  Counting only what is inside divides by its mass:

    T = A / n,   A as (7) with zeros around,   n_i = Σ_j A[i,j]                               (12)
    gA = (gT − Σ_j gT[·,j] T[·,j]) / n                                                        (13)

r is an argument, never a function of σ: y would jump wherever r did, and no gradient would show it.

Source: T. Lindeberg, "Scale-space for discrete signals", IEEE TPAMI 12(3), 1990, for (3)-(5).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.kernels.geometry import Pair
from minidl.ops import _check
from minidl.ops._broadcast import sum_to
from minidl.ops.elementwise import mul, sqrt

__all__ = ["gaussian_filter", "gaussian_kernel1d", "separable_filter"]

BORDERS = ("zero", "symmetric", "mirror", "edge", "wrap", "count_inside")
KINDS = ("sampled", "discrete")


class SampledGaussian(Function):
    """k(σ), one kernel per element of σ; see (1), (2)."""

    def forward(self, sigma: Array, *, radius: int) -> Array:
        xp = self.xp
        u = abs(xp.arange(-radius, radius + 1)).astype(sigma.real.dtype)
        z = u / sigma[..., None]
        z = xp.where(z.real < 64, z, 64)  # exp(-64²/2) is 0 already: keeps 0·∞ out of (2)
        a = xp.exp(-z * z / 2)
        self.k = a / a.sum(axis=-1, keepdims=True)  # (1)
        self.z, self.sigma = z, sigma
        return self.k

    def backward(self, gk: Array) -> tuple[Array | None, ...]:
        k, z2 = self.k, self.z * self.z
        m = (k * z2).sum(axis=-1, keepdims=True)
        return ((gk * k * (z2 - m)).sum(axis=-1) / self.sigma,)  # (2)


class DiscreteGaussian(Function):
    """k(t), one kernel per element of t; see (3)-(6).  In float64 within: (4) cancels for wide kernels."""

    def forward(self, t: Array, *, radius: int) -> Array:
        xp = self.xp
        self.dtype = t.dtype
        t = t.astype(xp.result_type(t, float))[..., None]
        n, cosines, waves = (xp.asarray(a) for a in saddle_nodes(radius))
        s = xp.sqrt(n * n + t * t)
        safe = n == 0  # adds 1 to denominators whose numerators are 0, or whose power is
        scale = (t / (n + s + safe)) ** n * xp.exp(n * n / (s + t + safe))
        half = scale * (xp.exp(s[..., None] * (cosines - 1)) * waves).sum(axis=-1)  # (3)  T_0 … T_{r+1}
        wide = xp.concatenate([half[..., :0:-1], half], axis=-1)  # T_{−r−1} … T_{r+1}
        self.wide = wide / wide[..., 1:-1].sum(axis=-1, keepdims=True)  # (5)
        return self.wide[..., 1:-1].astype(self.dtype)

    def backward(self, gk: Array) -> tuple[Array | None, ...]:
        left, k, right = self.wide[..., :-2], self.wide[..., 1:-1], self.wide[..., 2:]
        gain = right[..., -1:] - k[..., -1:]  # k_{r+1} − k_r
        return ((gk * ((left - 2 * k + right) / 2 - k * gain)).sum(axis=-1).astype(self.dtype),)  # (6)


@lru_cache(maxsize=32)
def saddle_nodes(radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n = 0 … radius + 1, cos θ_j, and cos n(θ_j − sin θ_j) / M of (3), (radius + 2, M/2 + 1).

    The terms j and M − j of (3) are equal: only j ≤ M/2 are kept, with weight 2 but at the ends.
    """
    m = 16 * radius + 48
    j = np.arange(m // 2 + 1)
    theta, weights = 2 * np.pi * j / m, np.where((j == 0) | (j == m // 2), 1, 2) / m
    n = np.arange(radius + 2.0)
    return n, np.cos(theta), weights * np.cos(np.outer(n, theta - np.sin(theta)))


class SeparableFilter(Function):
    """Y = T_h X T_wᵀ; see (7)-(13)."""

    def forward(self, x: Array, k: Array, *, border: str, grow: Pair) -> Array:
        xp = self.xp
        self.x, self.k_shape, self.inside = x, k.shape, border == "count_inside"
        radius = k.shape[-1] // 2
        kernels = xp.broadcast_to(k, (2, *k.shape[-2:]) if k.ndim > 1 else (2, 1, k.shape[0]))  # (2,C or 1,2r+1)
        self.sources = _both_sources(x.shape, radius, border, grow)
        a_h, a_w = (
            self.kernels.reading_matrix(kernel, source, length)  # (7)
            for kernel, source, length in zip(kernels, self.sources, x.shape[2:], strict=True)
        )
        if self.inside:
            self.masses = [a.sum(axis=-1, keepdims=True) for a in (a_h, a_w)]
            a_h, a_w = (a / n for a, n in zip((a_h, a_w), self.masses, strict=True))  # (12)
        self.t_h, self.t_w = a_h, a_w
        y, self.z = self.kernels.separable_map(x, self.t_h, self.t_w)  # (8)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gk = self.needs_grad
        gx, gt_h, gt_w = self.kernels.separable_map_adjoint(
            gy, self.x, self.z, self.t_h, self.t_w, needs_gx, needs_gk, sources=self.sources
        )  # (9), (10)
        return gx, self._taps_gradient(gt_h, gt_w) if needs_gk else None

    def _taps_gradient(self, gt_h: Array, gt_w: Array) -> Array:
        xp = self.xp
        gts = [sum_to(gt, t.shape) for gt, t in ((gt_h, self.t_h), (gt_w, self.t_w))]  # (C,·,·) → (C or 1,·,·)
        if self.inside:
            gts = [
                (gt - (gt * t).sum(axis=-1, keepdims=True)) / n  # (13)
                for gt, t, n in zip(gts, (self.t_h, self.t_w), self.masses, strict=True)
            ]
        adjoint = self.kernels.reading_matrix_adjoint
        gk = xp.stack([adjoint(gt, s) for gt, s in zip(gts, self.sources, strict=True)])  # (11)
        return sum_to(gk, self.k_shape)  # (2,C or 1,2r+1) → shape of k


def _both_sources(shape: tuple[int, ...], radius: int, border: str, grow: Pair) -> tuple[np.ndarray, np.ndarray]:
    return sources(shape[2], radius, border, grow[0]), sources(shape[3], radius, border, grow[1])


@lru_cache(maxsize=64)
def sources(length: int, radius: int, border: str, grow: int) -> np.ndarray:
    """π(i + u) for every tap u (rows) and output i = −grow … length − 1 + grow (columns); `length` for nowhere.

    Example:
        >>> sources(3, 1, "edge", 0).tolist()
        [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    """
    at = np.arange(-radius, radius + 1)[:, None] + np.arange(-grow, length + grow)
    if border == "symmetric":  # d c b a | a b c d | d c b a
        at = at % (2 * length)
        return np.minimum(at, 2 * length - 1 - at)
    if border == "mirror":  # d c b | a b c d | c b a
        at = at % max(2 * length - 2, 1)
        return np.minimum(at, 2 * length - 2 - at)
    if border == "edge":
        return np.clip(at, 0, length - 1)
    if border == "wrap":
        return at % length
    return np.where((at >= 0) & (at < length), at, length)


def separable_filter(x: Any, taps: Any, *, border: str = "zero", grow: Any = 0) -> Tensor:
    """Correlate every channel with an odd kernel along its height and one along its width.

    Args:
        x: shape (N, C, H, W).
        taps: k_{−r} … k_r, shape (2r+1,) for all channels and both axes, (C, 2r+1) one a channel, or
            (2, C, 2r+1) or (2, 1, 2r+1) with the vertical kernels first.
        border: what is read outside the map:
            "zero"          0
            "symmetric"     d c b a | a b c d      numpy "symmetric", scipy "reflect"
            "mirror"        d c b | a b c d        numpy and torch "reflect", scipy "mirror"
            "edge"          a a a | a b c d        scipy "nearest"
            "wrap"          b c d | a b c d
            "count_inside"  nothing: the sum is divided by the kernel's mass inside the map
        grow: extra rows and columns of output on every side, one number or (vertical, horizontal); with
            border "zero" only.  A filter's answer to a map reaches beyond it, by r.

    Returns:
        Tensor of shape (N, C, H + 2 grow, W + 2 grow).

    Raises:
        ValueError: the shapes do not fit, an unknown border, or `grow` with a border that is not "zero".

    Example:
        >>> separable_filter([[[[0.0, 4.0, 0.0]]]], [0.25, 0.5, 0.25], border="symmetric").data
        array([[[[1., 2., 1.]]]], dtype=float32)
    """
    x = as_tensor(x)
    taps = as_tensor(taps, like=x)
    shape = taps.shape
    _check_map("separable_filter", x)
    if not 1 <= taps.ndim <= 3 or shape[-1] % 2 == 0:
        raise ValueError(f"separable_filter: taps must have shape (2r+1,), (C, 2r+1) or (2, C, 2r+1), got {shape}")
    _check.broadcasts_to("separable_filter", "taps", shape, (2, x.shape[1], shape[-1]))
    return _filter("separable_filter", x, taps, border, grow)


def gaussian_kernel1d(sigma: Any, variance: Any = None, *, radius: int, kind: str = "sampled") -> Tensor:
    """Gaussian taps k_{−r} … k_r that sum to 1, differentiable in their width.

    Args:
        sigma: σ > 0 in samples, any shape; None if `variance` is given.
        variance: t = σ² in its place, > 0, or ≥ 0 for the discrete kernel, where its gradient lives on at t = 0.
        radius: r ≥ 1.  3σ keeps all but 0.3 % of the mass.
        kind: "sampled", exp(−u²/2σ²) at the integers, as in scipy; "discrete", exp(−t) I_u(t), whose variance
            is t at any scale.  Both are cut at r and normalised.

    Returns:
        Tensor of shape (*sigma.shape, 2r + 1).

    Raises:
        ValueError: σ or the variance is not positive, or NaN (not looked at on a GPU); both or neither are given;
            `radius` < 1.

    Example:
        >>> gaussian_kernel1d(None, 0.0, radius=1, kind="discrete").data
        array([0., 1., 0.], dtype=float32)
    """
    return _taps("gaussian_kernel1d", "kind", sigma, variance, radius, kind)


def gaussian_filter(
    x: Any,
    sigma: Any,
    variance: Any = None,
    *,
    radius: int,
    border: str = "zero",
    kernel: str = "sampled",
    grow: Any = 0,
) -> Tensor:
    """Blur every map with a Gaussian of standard deviation σ; gradients flow to `x` and to σ (or the variance).

    Args:
        x: shape (N, C, H, W).
        sigma: σ > 0 in samples (pixels).  A number or shape () for all maps, (C,) for one a channel, (2, 1) or
            (2, C) with the vertical σ first: any shape that broadcasts to (2, C).  None if `variance` is given.
        variance: t = σ² in its place; for the discrete kernel t = 0 is allowed and the exact identity.
        radius: r ≥ 1, half the width of the kernel in samples; choose r ≥ 3 σ.
        border: "zero", "symmetric", "mirror", "edge", "wrap" or "count_inside"; see `separable_filter`.
        kernel: "sampled" or "discrete"; see `gaussian_kernel1d`.
        grow: extra rows and columns of output on every side, with border "zero".

    Returns:
        Tensor of shape (N, C, H + 2 grow, W + 2 grow).

    Raises:
        ValueError: σ or the variance is not positive, or NaN (not looked at on a GPU), or of another shape; both or
            neither are given;
            `radius` < 1; an unknown border or kernel; `grow` with another border than "zero".

    Example:
        >>> x = [[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]]
        >>> gaussian_filter(x, 1.0, radius=1).data.round(3)
        array([[[[0.075, 0.124, 0.075],
                 [0.124, 0.204, 0.124],
                 [0.075, 0.124, 0.075]]]], dtype=float32)
    """
    x = as_tensor(x)
    _check_map("gaussian_filter", x)
    for name, width in (("sigma", sigma), ("variance", variance)):
        if width is not None:
            _check.broadcasts_to("gaussian_filter", name, np.shape(width), (2, x.shape[1]))
    taps = _taps("gaussian_filter", "kernel", sigma, variance, radius, kernel, like=x)
    return _filter("gaussian_filter", x, taps, border, grow)


def _taps(
    op: str, kind_name: str, sigma: Any, variance: Any, radius: int, kind: str, like: Tensor | None = None
) -> Tensor:
    radius = _check.integer(op, "radius", radius, minimum=1)
    _check.choice(op, kind_name, kind, KINDS)
    if (sigma is None) == (variance is None):
        raise ValueError(f"{op}: exactly one of sigma and variance must be given")
    name, given = ("sigma", sigma) if variance is None else ("variance", variance)
    width = as_tensor(given, like)
    if kind == "discrete" and variance is not None:
        _check.not_negative(op, name, given)
        return DiscreteGaussian.apply(width, radius=radius)
    _check.positive(op, name, given)
    if kind == "discrete":
        return DiscreteGaussian.apply(mul(width, width), radius=radius)
    return SampledGaussian.apply(width if variance is None else sqrt(width), radius=radius)


def _filter(op: str, x: Tensor, taps: Tensor, border: str, grow: Any) -> Tensor:
    _check.choice(op, "border", border, BORDERS)
    margin = _check.pair(op, "grow", grow, minimum=0)
    if any(margin) and border != "zero":
        raise ValueError(f"{op}: grow must be 0 unless border is 'zero', got grow={grow}, border={border!r}")
    return SeparableFilter.apply(x, taps, border=border, grow=margin)


def _check_map(op: str, x: Tensor) -> None:
    _check.ndim(op, "x", x.shape, "NCHW")
    if min(x.shape[2:]) < 1:
        raise ValueError(f"{op}: x must have at least one sample a map, got {x.shape}")
