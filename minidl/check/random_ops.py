"""The random ops: how a function that draws its own noise is called, and the law of what it returns.

Each function takes what the op takes but the noise, in the same order:

    half_gaussian(sigma0)                     η = σ₀ |e|
    inverse_softplus_gaussian(mu0, sigma0)    η = ln(1 + exp(μ₀ + σ₀ e))
    gaussian_pool2d(x, mu0, sigma0)           Y = mean + η deviation of each whole map (N, C, H, W) → (N, C, 1, 1),
                                              η inverse-softplus Gaussian, one e a channel of an image
    dropout(x, p)                             y = x m / (1 - p), P(m = 0) = p
    stat_rot_linear(x, weight, angle)         z̃ = z cos α + e √(|x|²|w|² - z²) sin α / √(D′ - 1), D′ = min(D, K)

Arrays have the shape of the result but for x and weight.  What it returns is turned into draws from one law: η, the
kept share of x, e.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.check import laws
from minidl.check.laws import Law

__all__ = ["RANDOM_OPS", "RandomOp"]

Setting = Mapping[str, float]


@dataclass(frozen=True)
class RandomOp:
    """One random op.

    Attributes:
        name: in `minidl.ops`.
        settings: values of its numbers, at which it is tested.
        arguments: (setting, numbers a call, rng) → its arguments in order, by name.
        draws: (what it returned, arguments, setting) → independent draws from `law(setting)`.
        law: of the draws.
        mistakes: laws of known mistakes, by what was done.
    """

    name: str
    settings: tuple[Setting, ...]
    arguments: Callable[[Setting, int, np.random.Generator], dict[str, Any]]
    draws: Callable[[np.ndarray, dict[str, Any], Setting], np.ndarray]
    law: Callable[[Setting], Law]
    mistakes: Callable[[Setting], dict[str, Law]]


def _grid(size: int) -> tuple[int, int]:
    """About `size` numbers as (N, C)."""
    channels = max(2, math.isqrt(size))
    return max(2, size // channels), channels


def _as_it_is(y: np.ndarray, arguments: dict[str, Any], setting: Setting) -> np.ndarray:
    return y


def _filled(setting: Setting, size: int, rng: np.random.Generator) -> dict[str, Any]:
    return {name: np.full((*_grid(size), 1, 1), value) for name, value in setting.items()}


def _half_gaussian_mistakes(s: Setting) -> dict[str, Law]:
    sigma = s["sigma0"]
    return {
        "no absolute value": laws.gaussian(0, sigma),
        "σ₀² in place of σ₀": laws.half_gaussian(sigma**2),
        "σ₀ taken for a variance": laws.half_gaussian(math.sqrt(sigma)),
        "no σ₀": laws.half_gaussian(1.0),
    }


def _softplus_mistakes(s: Setting) -> dict[str, Law]:
    mu, sigma = s["mu0"], s["sigma0"]
    return {
        "no softplus": laws.gaussian(mu, sigma),
        "exp in place of softplus": laws.log_normal(mu, sigma),
        "σ₀² in place of σ₀": laws.inverse_softplus_gaussian(mu, sigma**2),
        "σ₀ taken for a variance": laws.inverse_softplus_gaussian(mu, math.sqrt(sigma)),
        "no σ₀": laws.inverse_softplus_gaussian(mu, 1.0),
        "no μ₀": laws.inverse_softplus_gaussian(0.0, sigma),
        "the half-Gaussian prior": laws.half_gaussian(sigma),
    }


SIDE = 3  # of a map that is pooled whole


def _maps(setting: Setting, size: int, rng: np.random.Generator) -> dict[str, Any]:
    n, c = _grid(size)
    return {"x": rng.normal(1.0, 2.0, (n, c, SIDE, SIDE)), **_filled(setting, size, rng)}


def _eta(y: np.ndarray, arguments: dict[str, Any], setting: Setting) -> np.ndarray:
    x = arguments["x"]
    return (y - x.mean(axis=(2, 3), keepdims=True)) / x.std(axis=(2, 3), keepdims=True)


def _pool_mistakes(s: Setting) -> dict[str, Law]:
    law = laws.inverse_softplus_gaussian(s["mu0"], s["sigma0"])
    samples = SIDE * SIDE
    wide = math.sqrt(samples / (samples - 1))
    return {"the deviation divided by n − 1, not n": law.scaled(wide), **_softplus_mistakes(s)}


def _images(setting: Setting, size: int, rng: np.random.Generator) -> dict[str, Any]:
    x = rng.uniform(0.5, 2.0, _grid(size)) * rng.choice([-1.0, 1.0], _grid(size))
    return {"x": x, "p": setting["p"]}


def _kept(y: np.ndarray, arguments: dict[str, Any], setting: Setting) -> np.ndarray:
    return np.round(y * (1 - setting["p"]) / arguments["x"], 5)  # float32's rounding is no other value


def _dropout_mistakes(s: Setting) -> dict[str, Law]:
    p = s["p"]
    return {
        "kept with probability p": laws.two_values(1 - p),
        "kept with probability p, scaled by 1/p": laws.two_values(1 - p, round((1 - p) / p, 5)),
        "not scaled by 1/(1 − p)": laws.two_values(p, round(1 - p, 5)),
        "nothing is dropped": laws.two_values(0.0),
    }


FEATURES, CLASSES = 12, 7


def _features(setting: Setting, size: int, rng: np.random.Generator) -> dict[str, Any]:
    x, weight = rng.normal(size=(max(2, size // CLASSES), FEATURES)), rng.normal(size=(CLASSES, FEATURES))
    return {"x": x, "weight": weight, "angle": setting["angle"]}


def _noise(y: np.ndarray, arguments: dict[str, Any], setting: Setting) -> np.ndarray:
    x, weight, angle = arguments["x"], arguments["weight"], setting["angle"]
    z = x @ weight.T
    across = np.sqrt(np.square(x).sum(1)[:, None] * np.square(weight).sum(1) - z * z)  # |x| |w⊥|
    return (y - z * math.cos(angle)) * math.sqrt(min(weight.shape) - 1) / (across * math.sin(angle))


def _rotation_mistakes(s: Setting) -> dict[str, Law]:
    root = math.sqrt(CLASSES - 1)
    return {
        "√D′ in place of √(D′ − 1)": laws.gaussian(0, root / math.sqrt(CLASSES)),
        "D in place of min(D, K)": laws.gaussian(0, root / math.sqrt(FEATURES - 1)),
        "not divided by √(D′ − 1)": laws.gaussian(0, root),
        "divided by D′ − 1, without the root": laws.gaussian(0, 1 / root),
        "sin² α in place of sin α": laws.gaussian(0, abs(math.sin(s["angle"]))),
        "no sin α": laws.gaussian(0, 1 / abs(math.sin(s["angle"]))),
    }


_PRIORS: tuple[Setting, ...] = ({"mu0": 0.0, "sigma0": 0.7}, {"mu0": -2.0, "sigma0": 1.6}, {"mu0": 3.0, "sigma0": 0.2})

RANDOM_OPS = {
    op.name: op
    for op in (
        RandomOp(
            "half_gaussian",
            ({"sigma0": 0.4}, {"sigma0": 2.5}),
            _filled,
            _as_it_is,
            lambda s: laws.half_gaussian(s["sigma0"]),
            _half_gaussian_mistakes,
        ),
        RandomOp(
            "inverse_softplus_gaussian",
            _PRIORS,
            _filled,
            _as_it_is,
            lambda s: laws.inverse_softplus_gaussian(s["mu0"], s["sigma0"]),
            _softplus_mistakes,
        ),
        RandomOp(
            "gaussian_pool2d",
            _PRIORS,
            _maps,
            _eta,
            lambda s: laws.inverse_softplus_gaussian(s["mu0"], s["sigma0"]),
            _pool_mistakes,
        ),
        RandomOp(
            "dropout",
            ({"p": 0.3}, {"p": 0.9}),
            _images,
            _kept,
            lambda s: laws.two_values(s["p"]),
            _dropout_mistakes,
        ),
        RandomOp(
            "stat_rot_linear",
            ({"angle": math.pi / 4}, {"angle": 1.0}),
            _features,
            _noise,
            lambda s: laws.gaussian(0.0, 1.0),
            _rotation_mistakes,
        ),
    )
}
