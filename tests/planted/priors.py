"""Gaussian filters, pooling priors and statistical rotation with mistakes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tests.planted import planted


def taps(sigma, radius):
    u = torch.arange(-radius, radius + 1, dtype=sigma.dtype)
    a = torch.exp(-((u / sigma[..., None]) ** 2) / 2)
    return a / a.sum(-1, keepdim=True)


def sampled_kernel(sigma, radius, kind="sampled"):
    if kind != "sampled":
        raise NotImplementedError(kind)
    return taps(sigma, radius)


@planted("gaussian_kernel1d", "stale normaliser", sampled_kernel)
def derivative_of_the_density(gk, sigma, radius, kind="sampled"):
    u = torch.arange(-radius, radius + 1, dtype=sigma.dtype)
    s = sigma[..., None]
    return (gk * taps(sigma, radius) * ((u / s) ** 2 - 1) / s).sum(-1)


@planted("gaussian_kernel1d", "kernel not normalised")
def values_of_the_density(sigma, radius, kind="sampled"):
    if kind != "sampled":
        raise NotImplementedError(kind)
    u = torch.arange(-radius, radius + 1, dtype=sigma.dtype)
    return torch.exp(-((u / sigma[..., None]) ** 2) / 2) / (math.sqrt(2 * math.pi) * sigma[..., None])


@planted("gaussian_kernel1d", "2 in the exponent forgotten")
def exponent_without_its_two(sigma, radius, kind="sampled"):
    if kind != "sampled":
        raise NotImplementedError(kind)
    u = torch.arange(-radius, radius + 1, dtype=sigma.dtype)
    a = torch.exp(-((u / sigma[..., None]) ** 2))
    return a / a.sum(-1, keepdim=True)


MODES = {"mirror": "reflect", "edge": "replicate", "wrap": "circular"}


def filtered(x, sigma, radius, mode):
    """Filter with a kernel a channel, or one for all."""
    if sigma.ndim > 1 or max(x.shape[2:]) <= radius or min(x.shape[2:]) <= radius:
        raise NotImplementedError("one sigma a channel, maps larger than the kernel")
    k = taps(sigma, radius).expand(x.shape[1], -1)
    r = radius
    padded = F.pad(x, (r, r, r, r), mode=mode) if mode != "constant" else F.pad(x, (r, r, r, r))
    rows = F.conv2d(padded, k[:, None, None, :], groups=x.shape[1])
    return F.conv2d(rows, k[:, None, :, None], groups=x.shape[1])


def gaussian(x, sigma, radius, border="zero", kernel="sampled"):
    if kernel != "sampled" or border not in ("zero", *MODES):
        raise NotImplementedError(border)
    return filtered(x, sigma, radius, MODES.get(border, "constant"))


@planted("gaussian_filter", "wrong border: mirror")
def reflects_for_symmetric(x, sigma, radius, border="zero", kernel="sampled"):
    if kernel != "sampled" or border not in ("zero", "symmetric"):
        raise NotImplementedError(border)
    return filtered(x, sigma, radius, {"zero": "constant", "symmetric": "reflect"}[border])


@planted("gaussian_filter", "mirrored adjoint", gaussian)
def blurs_the_cotangent(gy, x, sigma, radius, border="zero", kernel="sampled"):
    sigma = sigma.detach().requires_grad_()
    with torch.enable_grad():
        (gs,) = torch.autograd.grad(gaussian(x, sigma, radius, border), sigma, gy)
    return gaussian(gy, sigma.detach(), radius, border), gs


@planted("gaussian_filter", "radius off by one")
def one_tap_short(x, sigma, radius, border="zero", kernel="sampled"):
    if radius < 2:
        raise NotImplementedError("radius")
    return gaussian(x, sigma, radius - 1, border, kernel)


@planted("gaussian_filter", "one axis alone")
def rows_only(x, sigma, radius, border="zero", kernel="sampled"):
    if kernel != "sampled" or border != "zero" or sigma.ndim > 1:
        raise NotImplementedError(border)
    k = taps(sigma, radius).expand(x.shape[1], -1)
    return F.conv2d(x, k[:, None, None, :], padding=(0, radius), groups=x.shape[1])


def moments(x, kernel_size, stride, padding, ceil_mode, count_include_pad):
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    mean = F.avg_pool2d(x, *window)
    return mean, F.avg_pool2d(x * x, *window) - mean * mean


@planted("gaussian_pool2d", "clamp not masked")
def floor_straight_through(
    x, eta, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False, eps=1e-6
):
    mean, v = moments(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    floored = v + (v.clamp(min=eps) - v).detach()  # the value of the clamp, the gradient of v
    return mean + eta * torch.sqrt(floored)


@planted("gaussian_pool2d", "ε added under the root")
def smooth_floor(x, eta, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False, eps=1e-6):
    mean, v = moments(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    return mean + eta * torch.sqrt(v.clamp(min=0) + eps)


@planted("gaussian_pool2d", "count_include_pad")
def default_of_avg_pool(
    x, eta, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False, eps=1e-6
):
    mean, v = moments(x, kernel_size, stride, padding, ceil_mode, not count_include_pad)
    return mean + eta * torch.sqrt(v.clamp(min=eps))


@planted("gaussian_pool2d", "deviation taken for constant")
def detaches_the_deviation(
    x, eta, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False, eps=1e-6
):
    mean, v = moments(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    return mean + eta * torch.sqrt(v.clamp(min=eps)).detach()


def windows(x, kernel_size, stride):
    h, w = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    s, t = (h, w) if stride is None else stride if isinstance(stride, tuple) else (stride, stride)
    return x.unfold(2, h, s).unfold(3, w, t).flatten(4)


@planted("maxent_pool2d", "log-sum-exp")
def soft_maximum(x, lam, kernel_size, stride=None):
    samples = windows(x, kernel_size, stride)
    return (torch.logsumexp(lam[..., None] * samples, -1) - math.log(samples.shape[-1])) / lam


@planted("maxent_pool2d", "law taken for constant")
def detaches_the_law(x, lam, kernel_size, stride=None):
    samples = windows(x, kernel_size, stride)
    p = torch.softmax(lam[..., None] * samples, -1)
    return (p * samples).sum(-1) - (p * samples).sum(-1) + _through(p, samples, lam)


def _through(p, samples, lam):
    """Σ p x with p constant in x, but not in λ."""
    frozen = torch.softmax(lam[..., None] * samples.detach(), -1)
    return (frozen * samples).sum(-1)


@planted("half_gaussian", "absolute value forgotten")
def signed_noise(sigma0, noise):
    return sigma0 * noise


class Kept:
    """Noise that is kept from the first call of its shape, as a buffer would."""

    def __init__(self):
        self.noise = {}

    def __call__(self, sigma0, noise):
        kept = self.noise.setdefault(tuple(noise.shape), noise.clone())
        return sigma0 * kept.to(sigma0).abs()


@planted("half_gaussian", "noise reused")
def keeps_its_noise(sigma0, noise, kept=Kept()):  # noqa: B008
    return kept(sigma0, noise)


@planted("inverse_softplus_gaussian", "noise outside the softplus")
def softplus_of_the_mean(mu0, sigma0, noise):
    return F.softplus(mu0) + sigma0 * noise


@planted("inverse_softplus_gaussian", "noise drawn anew")
def draws_its_own(mu0, sigma0, noise):
    return F.softplus(mu0 + sigma0 * torch.randn_like(noise))


def rotated(x, weight, noise, angle, scale):
    z = x @ weight.T
    r = (x * x).sum(1, keepdim=True) * (weight * weight).sum(1) - z * z
    return math.cos(angle) * z + math.sin(angle) * noise * torch.sqrt(r.clamp(min=0)) * scale


@planted("stat_rot_linear", "D instead of min(D, K)")
def dimension_of_the_features(x, weight, noise, angle=math.pi / 4):
    return rotated(x, weight, noise, angle, 1 / math.sqrt(x.shape[1] - 1))


@planted("stat_rot_linear", "norms taken for constants")
def detaches_the_norms(x, weight, noise, angle=math.pi / 4):
    z = x @ weight.T
    r = (x * x).sum(1, keepdim=True).detach() * (weight * weight).sum(1).detach() - z * z
    scale = 1 / math.sqrt(min(weight.shape) - 1)
    return math.cos(angle) * z + math.sin(angle) * noise * torch.sqrt(r.clamp(min=0)) * scale


@planted("stat_rot_linear", "sine and cosine swapped")
def turns_the_other_way(x, weight, noise, angle=math.pi / 4):
    return rotated(x, weight, noise, math.pi / 2 - angle, 1 / math.sqrt(min(weight.shape) - 1))
