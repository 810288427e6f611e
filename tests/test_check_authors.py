"""The authors' formulas, written in PyTorch, pass; without the mask of the clamp they fail, and are told so."""

from __future__ import annotations

import math

import pytest

from minidl.check import compare

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads spin while they wait
F = torch.nn.functional


def gaussian_pooling(x, eta, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False, eps=1e-6):
    """Mean and deviation from E[x] and E[x²], the variance floored; torch.clamp masks its gradient."""
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    mean = F.avg_pool2d(x, *window)
    variance = F.avg_pool2d(x * x, *window) - mean * mean
    return mean + eta * torch.sqrt(torch.clamp(variance, min=eps))


class Unmasked(torch.autograd.Function):
    """The floor of the variance whose backward forgets the mask, as a hand-written kernel may."""

    @staticmethod
    def forward(ctx, variance, eps):
        return torch.clamp(variance, min=eps)

    @staticmethod
    def backward(ctx, g):
        return g, None


def without_the_mask(x, eta, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False, eps=1e-6):
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    mean = F.avg_pool2d(x, *window)
    variance = F.avg_pool2d(x * x, *window) - mean * mean
    return mean + eta * torch.sqrt(Unmasked.apply(variance, eps))


def maxent_pooling(x, lam, kernel_size, stride=None):
    """Σ p x with p = softmax(λx) over each window."""
    h, w = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    s, t = (h, w) if stride is None else stride if isinstance(stride, tuple) else (stride, stride)
    samples = x.unfold(2, h, s).unfold(3, w, t).flatten(4)
    return (torch.softmax(lam[..., None] * samples, -1) * samples).sum(-1)


def stat_rot(x, weight, noise, angle=math.pi / 4):
    """cos α z + sin α e √(|x|²|w|² − z²), e of variance 1/(min(D, K) − 1)."""
    z = x @ weight.T
    radicand = (x * x).sum(1, keepdim=True) * (weight * weight).sum(1) - z * z
    e = noise / math.sqrt(min(weight.shape) - 1)
    return math.cos(angle) * z + math.sin(angle) * e * torch.sqrt(radicand)


def inverse_softplus(mu0, sigma0, noise):
    return F.softplus(mu0 + sigma0 * noise)


def half(sigma0, noise):
    return sigma0 * noise.abs()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("fn", "op"),
    [
        (gaussian_pooling, "gaussian_pool2d"),
        (maxent_pooling, "maxent_pool2d"),
        (stat_rot, "stat_rot_linear"),
        (inverse_softplus, "inverse_softplus_gaussian"),
        (half, "half_gaussian"),
    ],
)
def test_the_authors_formulas_pass(fn, op: str, dtype: str) -> None:
    verdict = compare(fn, op, dtype=dtype, drawn=8)
    assert verdict.ok, str(verdict)
    assert verdict.gradients == "torch.autograd"


def test_without_the_mask_of_the_clamp_it_fails_with_that_diagnosis() -> None:
    verdict = compare(without_the_mask, "gaussian_pool2d", drawn=8)
    assert not verdict.ok and verdict.diagnosis.whole
    assert verdict.diagnosis.name == "clamp not masked"
    assert verdict.reason.startswith("gradient of x: clamp not masked: where the variance is below ε")
