"""Mistakes in the pooling priors, statistical rotation and dropout."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from minidl.check.mistakes.call import Call, Mistake, run
from minidl.check.mistakes.pool import Window, cotangent, counted, scattered, window_by_window
from minidl.check.spec.stochastic_pool import at_output

GAUSSIAN, MAXENT, ROTATION = ("gaussian_pool2d",), ("maxent_pool2d",), ("stat_rot_linear",)


def _with_zeros(c: Call, samples: np.ndarray, w: Window) -> np.ndarray:
    """The samples that count, zeros of the padding among them if they do."""
    zeros = np.zeros((counted(c, w) - len(samples), *samples.shape[1:]))
    return np.concatenate([samples, zeros])


def _pooled(c: Call, deviation) -> np.ndarray:
    """μ + η times `deviation(samples, ε)` of every window."""

    def one(samples: np.ndarray, w: Window) -> np.ndarray:
        samples = _with_zeros(c, samples, w)
        return samples.mean(axis=0) + at_output(c["eta"], c["x"], w[0]) * deviation(samples, c["eps"])

    return window_by_window(c, one)


def _unbiased(samples: np.ndarray, eps: float) -> np.ndarray:
    n = len(samples)
    return np.sqrt(np.maximum(samples.var(axis=0) * n / (n - 1) if n > 1 else 0 * samples[0], eps))


def _unmasked(c: Call) -> Mapping[str, np.ndarray]:
    """gx as if the floor of the variance were not there: η (x − μ)/s, s the floored deviation."""

    def share(samples: np.ndarray, w: Window) -> np.ndarray:
        whole = _with_zeros(c, samples, w)
        mean, s = whole.mean(axis=0), np.sqrt(np.maximum(whole.var(axis=0), c["eps"]))
        eta = at_output(c["eta"], c["x"], w[0])
        return cotangent(c, w) * (1 + eta * (samples - mean) / s) / len(whole)

    return {"x": scattered(c, share)}


def _without_mean(c: Call) -> Mapping[str, np.ndarray]:
    """gx with the deviation's derivative x/s, the mean in it taken for constant."""

    def share(samples: np.ndarray, w: Window) -> np.ndarray:
        whole = _with_zeros(c, samples, w)
        v = whole.var(axis=0)
        eta, s = at_output(c["eta"], c["x"], w[0]), np.sqrt(np.maximum(v, c["eps"]))
        return cotangent(c, w) * (1 + (v > c["eps"]) * eta * samples / s) / len(whole)

    return {"x": scattered(c, share)}


def _law(c: Call, samples: np.ndarray, w: Window) -> np.ndarray:
    a = at_output(c["lam"], c["x"], w[0]) * samples
    e = np.exp(a - a.max(axis=0))
    return e / e.sum(axis=0)


def _log_sum_exp(c: Call) -> np.ndarray:
    def one(samples: np.ndarray, w: Window) -> np.ndarray:
        lam = at_output(c["lam"], c["x"], w[0])
        return np.log(np.exp(lam * samples).mean(axis=0)) / lam

    return window_by_window(c, one)


def _zeros_counted(c: Call) -> np.ndarray:
    def one(samples: np.ndarray, w: Window) -> np.ndarray:
        zeros = np.zeros((len(w[1]) * len(w[2]) - len(samples), *samples.shape[1:]))
        samples = np.concatenate([samples, zeros])
        return (_law(c, samples, w) * samples).sum(axis=0)

    return window_by_window(c, one)


def _constant_law(c: Call) -> Mapping[str, np.ndarray]:
    return {"x": scattered(c, lambda samples, w: cotangent(c, w) * _law(c, samples, w))}


def _rotated(c: Call, scale: float, cos: float, sin: float, deviation=np.sqrt) -> np.ndarray:
    x, w = c["x"], c["weight"]
    z = x @ w.T
    r = (x * x).sum(1)[:, None] * (w * w).sum(1) - z * z
    return z * cos + c["noise"] * deviation(np.maximum(r, 0)) * sin * scale


def _angle(c: Call) -> tuple[float, float, float]:
    """1/√(D′ − 1), cos α, sin α."""
    return 1 / math.sqrt(min(c["weight"].shape) - 1), math.cos(c["angle"]), math.sin(c["angle"])


def _constant_norms(c: Call) -> Mapping[str, np.ndarray]:
    """gx and gw without the paths through |x|² and |w|²."""
    scale, cos, sin = _angle(c)
    x, w = c["x"], c["weight"]
    z = x @ w.T
    r = (x * x).sum(1)[:, None] * (w * w).sum(1) - z * z
    with np.errstate(all="ignore"):
        gr = np.where(r > 0, c.gy * c["noise"] * sin * scale / (2 * np.sqrt(r)), 0.0)
    gz = c.gy * cos - 2 * z * gr
    return {"x": gz @ w, "weight": gz.T @ x}


def _constant_root(c: Call) -> Mapping[str, np.ndarray]:
    gz = c.gy * math.cos(c["angle"])
    return {"x": gz @ c["weight"], "weight": gz.T @ c["x"]}


def _inverse_scale(c: Call) -> float:
    return 1 - c["p"]


MISTAKES = [
    Mistake(
        "biased or unbiased variance",
        GAUSSIAN,
        "the variance is divided by P − 1; it is the population's, over P",
        lambda c: _pooled(c, _unbiased),
    ),
    Mistake(
        "ε added under the root",
        GAUSSIAN,
        "the deviation is √(v + ε); it is √max(v, ε)",
        lambda c: _pooled(c, lambda s, eps: np.sqrt(s.var(axis=0) + eps)),
    ),
    Mistake(
        "ε outside the root",
        GAUSSIAN,
        "the deviation is √v + ε; it is √max(v, ε)",
        lambda c: _pooled(c, lambda s, eps: np.sqrt(s.var(axis=0)) + eps),
    ),
    Mistake(
        "ε ignored",
        GAUSSIAN,
        "the variance has no floor; the deviation is √max(v, ε)",
        lambda c: _pooled(c, lambda s, eps: np.sqrt(s.var(axis=0))),
    ),
    Mistake(
        "variance instead of deviation",
        GAUSSIAN,
        "η is multiplied by the variance; it is in standard deviations",
        lambda c: _pooled(c, lambda s, eps: np.maximum(s.var(axis=0), eps)),
    ),
    Mistake("η ignored", GAUSSIAN, "the output is the mean alone", lambda c: c(eta=0 * c["eta"])),
    Mistake(
        "clamp not masked",
        GAUSSIAN,
        "where the variance is below ε its floor is constant and η does not act on x; here the gradient passes",
        gradient=_unmasked,
    ),
    Mistake(
        "deviation taken for constant",
        GAUSSIAN,
        "the gradient of x is that of the mean; the deviation depends on x too",
        gradient=lambda c: {"x": c.pull(eta=0 * c["eta"])["x"]},
    ),
    Mistake(
        "mean taken for constant",
        GAUSSIAN,
        "the derivative of the deviation is (x − μ)/(P s); here μ is missing",
        gradient=_without_mean,
    ),
    Mistake("log-sum-exp", MAXENT, "the output is ln(mean exp(λx))/λ; it is the mean under softmax(λx)", _log_sum_exp),
    Mistake(
        "padding with zeros", MAXENT, "zeros of the padding take part; padding counts in no window", _zeros_counted
    ),
    Mistake("λ ignored", MAXENT, "the output is that of λ = 1", lambda c: c(lam=np.ones_like(c["lam"]))),
    Mistake("λ ignored", MAXENT, "the output is that of λ = 0, the mean", lambda c: c(lam=0 * c["lam"])),
    Mistake(
        "law taken for constant",
        MAXENT,
        "gx = gy p (1 + λ (x − y)); here it is gy p, as if p did not depend on x",
        gradient=_constant_law,
    ),
    Mistake(
        "absolute value forgotten",
        ("half_gaussian",),
        "η = σ₀ |e|; here it is σ₀ e",
        lambda c: c["sigma0"] * c["noise"],
    ),
    Mistake(
        "square instead of absolute value",
        ("half_gaussian",),
        "η = σ₀ |e|; here it is σ₀ e²",
        lambda c: c["sigma0"] * c["noise"] ** 2,
    ),
    Mistake(
        "noise outside the softplus",
        ("inverse_softplus_gaussian",),
        "η = softplus(μ₀ + σ₀ e); here softplus(μ₀) + σ₀ e",
        lambda c: run("softplus", c["mu0"]) + c["sigma0"] * c["noise"],
    ),
    Mistake(
        "exponential instead of softplus",
        ("inverse_softplus_gaussian",),
        "η = softplus(…); here exp(…)",
        lambda c: np.exp(c["mu0"] + c["sigma0"] * c["noise"]),
    ),
    Mistake(
        "σ taken for the variance",
        ("inverse_softplus_gaussian",),
        "σ₀ is a standard deviation; here its root is taken",
        lambda c: run("softplus", c["mu0"] + np.sqrt(c["sigma0"]) * c["noise"]),
    ),
    Mistake(
        "D instead of min(D, K)",
        ROTATION,
        "the noise is divided by √(D − 1); it is √(min(D, K) − 1)",
        lambda c: _rotated(c, 1 / math.sqrt(c["weight"].shape[1] - 1), *_angle(c)[1:]),
    ),
    Mistake(
        "D instead of min(D, K)",
        ROTATION,
        "the noise is divided by √(K − 1); it is √(min(D, K) − 1)",
        lambda c: _rotated(c, 1 / math.sqrt(c["weight"].shape[0] - 1), *_angle(c)[1:]),
    ),
    Mistake(
        "one degree of freedom forgotten",
        ROTATION,
        "the noise is divided by √min(D, K); it is √(min(D, K) − 1)",
        lambda c: _rotated(c, 1 / math.sqrt(min(c["weight"].shape)), *_angle(c)[1:]),
    ),
    Mistake(
        "noise not scaled",
        ROTATION,
        "the noise is not divided by √(min(D, K) − 1)",
        lambda c: _rotated(c, 1.0, *_angle(c)[1:]),
    ),
    Mistake(
        "sine and cosine swapped",
        ROTATION,
        "z is multiplied by sin α and the noise by cos α",
        lambda c: _rotated(c, _angle(c)[0], _angle(c)[2], _angle(c)[1]),
    ),
    Mistake(
        "cosine forgotten",
        ROTATION,
        "z is not multiplied by cos α",
        lambda c: _rotated(c, _angle(c)[0], 1.0, _angle(c)[2]),
    ),
    Mistake(
        "root forgotten",
        ROTATION,
        "the noise is multiplied by R; it is √R",
        lambda c: _rotated(c, *_angle(c), deviation=lambda r: r),
    ),
    Mistake(
        "norms taken for constants",
        ROTATION,
        "|x|² and |w|² depend on x and w; their paths are missing from the gradient",
        gradient=_constant_norms,
    ),
    Mistake(
        "deviation taken for constant",
        ROTATION,
        "the root depends on x and w; its path is missing from the gradient",
        gradient=_constant_root,
    ),
    Mistake("not rescaled", ("dropout",), "what is kept is not divided by 1 − p", lambda c: c.y * _inverse_scale(c)),
    Mistake(
        "rescaled by p",
        ("dropout",),
        "what is kept is divided by p; it is 1 − p",
        lambda c: c.y * _inverse_scale(c) / c["p"] if c["p"] else None,
    ),
    Mistake(
        "rescaled the wrong way",
        ("dropout",),
        "what is kept is multiplied by 1 − p; it is divided by it",
        lambda c: c.y * _inverse_scale(c) ** 2,
    ),
    Mistake("mask inverted", ("dropout",), "what the mask keeps is dropped", lambda c: c(mask=~c["mask"])),
    Mistake(
        "not rescaled",
        ("dropout",),
        "the gradient is not divided by 1 − p",
        gradient=lambda c: {"x": c.pull()["x"] * _inverse_scale(c)},
    ),
    Mistake(
        "not masked",
        ("dropout",),
        "the gradient passes where the mask dropped x",
        gradient=lambda c: {"x": c.gy / _inverse_scale(c)},
    ),
]
