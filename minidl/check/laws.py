r"""Laws of the random ops, exactly: distribution functions and moments, without drawing anything.

    Gaussian                    F(x) = Φ((x - μ)/σ)                                                            (1)
    half-Gaussian               F(x) = 2Φ(x/σ) - 1 for x ≥ 0;   mean σ m,  variance σ² (1 - m²),
                                fourth central moment σ⁴ (3 - 2 m² - 3 m⁴),   m = √(2/π)                       (2)
    inverse-softplus Gaussian   F(x) = Φ((ln(eˣ - 1) - μ)/σ) for x > 0;  moments by Gauss-Hermite quadrature   (3)
    two values                  0 with probability p, else a                                                  (4)

Φ(z) = erfc(-z/√2)/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Law", "gaussian", "half_gaussian", "inverse_softplus_gaussian", "log_normal", "two_values"]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(180)
_erfc = np.vectorize(math.erfc, otypes=[float])

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Law:
    """A distribution on the line.

    Attributes:
        name: in words.
        below: F(x) = P(X ≤ x).
        strictly_below: P(X < x), the same for a law without atoms.
        mean, variance, fourth: moments, the last two central.
        atoms: whether single values have a probability.
    """

    name: str
    below: Function
    strictly_below: Function
    mean: float
    variance: float
    fourth: float
    atoms: bool = False

    def scaled(self, a: float) -> Law:
        """The law of a X, a > 0.

        Example:
            >>> half_gaussian(1.0).scaled(2.0).variance == half_gaussian(2.0).variance
            True
        """
        return Law(
            f"{a:.4g} × {self.name}",
            lambda x: self.below(x / a),
            lambda x: self.strictly_below(x / a),
            a * self.mean,
            a**2 * self.variance,
            a**4 * self.fourth,
            self.atoms,
        )


def phi(z: np.ndarray) -> np.ndarray:
    """Φ, the standard normal distribution function.

    Example:
        >>> phi(np.array([0.0, 1.0])).round(4)
        array([0.5   , 0.8413])
    """
    return _erfc(-np.asarray(z, float) / math.sqrt(2)) / 2


def gaussian(mu: float, sigma: float) -> Law:
    """(1)."""

    def f(x: np.ndarray) -> np.ndarray:
        return phi((x - mu) / sigma)

    return Law(f"N({mu:.4g}, {sigma:.4g}²)", f, f, mu, sigma**2, 3 * sigma**4)


def half_gaussian(sigma: float) -> Law:
    """(2): of σ |e|.

    Example:
        >>> round(half_gaussian(2.0).mean, 4)
        1.5958
    """

    def f(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, 2 * phi(x / sigma) - 1, 0.0)

    m = math.sqrt(2 / math.pi)
    fourth = sigma**4 * (3 - 2 * m**2 - 3 * m**4)
    return Law(f"|N(0, {sigma:.4g}²)|", f, f, sigma * m, sigma**2 * (1 - m**2), fourth)


def inverse_softplus_gaussian(mu: float, sigma: float) -> Law:
    """(3): of ln(1 + exp(μ + σ e)).

    Example:
        >>> law = inverse_softplus_gaussian(0.0, 1.0)
        >>> round(float(law.below(np.array(math.log(2)))), 6), round(law.mean, 4)  # its median is ln 2
        (0.5, 0.8061)
    """

    def f(x: np.ndarray) -> np.ndarray:
        inside = np.where(x > 0, x, 1.0)
        before = inside + np.log(-np.expm1(-inside))  # ln(eˣ - 1)
        return np.where(x > 0, phi((before - mu) / sigma), 0.0)

    return _transformed(f"softplus of N({mu:.4g}, {sigma:.4g}²)", f, np.logaddexp(0, mu + sigma * _NODES))


def log_normal(mu: float, sigma: float) -> Law:
    """Of exp(μ + σ e), which a forgotten 1 makes of (3)."""

    def f(x: np.ndarray) -> np.ndarray:
        inside = np.where(x > 0, x, 1.0)
        return np.where(x > 0, phi((np.log(inside) - mu) / sigma), 0.0)

    return _transformed(f"exp of N({mu:.4g}, {sigma:.4g}²)", f, np.exp(mu + sigma * _NODES))


def _transformed(name: str, f: Function, values: np.ndarray) -> Law:
    """A law by its distribution function, and its values at the nodes of the quadrature."""
    weights = _WEIGHTS / _WEIGHTS.sum()
    mean = float(weights @ values)
    return Law(name, f, f, mean, float(weights @ (values - mean) ** 2), float(weights @ (values - mean) ** 4))


def two_values(p: float, a: float = 1.0) -> Law:
    """(4).

    Example:
        >>> two_values(0.25).below(np.array([-1.0, 0.0, 0.5, 1.0]))
        array([0.  , 0.25, 0.25, 1.  ])
    """
    q = 1 - p
    return Law(
        f"{a:.4g} with probability {q:.4g}, else 0",
        lambda x: np.where(x >= a, 1.0, np.where(x >= 0, p, 0.0)),
        lambda x: np.where(x > a, 1.0, np.where(x > 0, p, 0.0)),
        a * q,
        a * a * q * p,
        a**4 * q * p * (q**3 + p**3),
        atoms=True,
    )
