r"""Second moments of a random gradient on its way from one pixel of a map back to the image.

Let g (channels, positions) be the gradient at some map.  Over random weights, independent and of mean 0, pairs of its
values at a lag δ have the density

    R(m, δ) = E Σ_c g_c(m − δ/2) g_c(m + δ/2)          m the middle of the pair                (1)

along each axis, and the field is R at lag 0.  With A⁰(δ) = Σ_m R, A¹(δ) = Σ_m m R, A²(δ) = Σ_m m² R, on the way
back through a layer, with stride s, taps at places c of mean c̄ and variance v,

    stride              δ → s δ,   A¹ → s A¹,   A² → s² A²                                     (2)
    random taps         A² → A² + 2 c̄ A¹ + (v + c̄²) A⁰,   A¹ → A¹ + c̄ A⁰                      (3)
    given taps k        A⁰ → K⁰ ⁎ A⁰,   A¹ → K⁰ ⁎ A¹ + K¹ ⁎ A⁰,
                        A² → K⁰ ⁎ A² + 2 K¹ ⁎ A¹ + K² ⁎ A⁰,
                        Kⁿ(t) = Σ_{b − a = t} k_a k_b ((a + b)/2)ⁿ                             (4)
    gates of relu       A(0) → A(0)/2,   A(δ) → A(δ)/3 elsewhere                               (5)

(3): E w_u w_u′ = 0 unless u = u′, so that a pair moves as a whole.  (4): each of the pair moves by itself, towards and
away from the other; so a blur makes values at neighbouring places alike, and the next blur finds them so.  A theory
without lags, which adds Σ k² for every blur, underrates what comes through two of them.

(5): a gate is open half of the time, both of a pair for 1/4 + arcsin(ρ)/2π of it, ρ being the correlation of what they
look at, which are normal.  ρ is not known here; 1/3 is that of ρ = 1/2.  This one is an approximation.

Channels with kernels of their own: the mean over c of K_c ⊗ K_c (vertical, horizontal) is a sum of a few products, by
its singular value decomposition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Moments"]

LAGS = 64  # pairs further apart are dropped: no blur brings them together again
VERTICAL, HORIZONTAL = 0, 1


@dataclass(frozen=True)
class Moments:
    """A⁰, A¹ and A² of both axes, by the vertical and horizontal lag.

    Attributes:
        values: shape (5, 2 Lh + 1, 2 Lw + 1): A⁰, A¹ vertical, A¹ horizontal, A² vertical, A² horizontal.
    """

    values: np.ndarray

    @classmethod
    def of_a_pixel(cls) -> Moments:
        """Of a unit gradient at position 0."""
        return cls(np.array([1.0, 0, 0, 0, 0]).reshape(5, 1, 1))

    @property
    def mass(self) -> float:
        """Of the field: A⁰ at lag 0."""
        return float(self._field[0])

    @property
    def mean(self) -> np.ndarray:
        """Mean position, vertical and horizontal."""
        return self._field[1:3] / self._field[0]

    @property
    def variance(self) -> np.ndarray:
        """Its variance."""
        return np.maximum(self._field[3:] / self._field[0] - self.mean**2, 0)

    @property
    def _field(self) -> np.ndarray:
        return self.values[:, self.values.shape[1] // 2, self.values.shape[2] // 2]

    def __add__(self, other: Moments) -> Moments:
        """Of a sum of gradients that have no weights in common."""
        shape = [max(a, b) for a, b in zip(self.values.shape, other.values.shape, strict=True)]
        return Moments(_centred(self.values, shape) + _centred(other.values, shape))

    def times(self, factor: float) -> Moments:
        """Of a gradient whose square is multiplied by `factor`."""
        return Moments(self.values * factor)

    def strided(self, stride: tuple[int, int]) -> Moments:
        """Before a layer of this stride; (2)."""
        (sv, sh), (_, h, w) = stride, self.values.shape
        wide = np.zeros((5, sv * (h - 1) + 1, sh * (w - 1) + 1))
        wide[:, ::sv, ::sh] = self.values * np.array([1, sv, sh, sv**2, sh**2]).reshape(5, 1, 1)  # (2)
        return Moments(_cut(wide))

    def scattered(self, mean: np.ndarray, variance: np.ndarray) -> Moments:
        """Before random taps whose places have this mean and variance along each axis; (3)."""
        a0, first, second = self.values[0], self.values[1:3], self.values[3:]
        c, v = mean.reshape(2, 1, 1), variance.reshape(2, 1, 1)
        return Moments(np.concatenate([a0[None], first + c * a0, second + 2 * c * first + (v + c * c) * a0]))  # (3)

    def filtered(self, vertical: np.ndarray, horizontal: np.ndarray, start: np.ndarray) -> Moments:
        """Before given taps, those of each channel a row, that lie at start, start + 1, … along each axis; (4)."""
        k_v, k_h = (_pairs(taps, first) for taps, first in zip((vertical, horizontal), start, strict=True))
        u, s, vt = np.linalg.svd(np.einsum("ca,cb->ab", k_v, k_h) / len(k_v))
        total: Moments | None = None
        for i in np.flatnonzero(s > 1e-14 * s[0]):
            product = self._along(VERTICAL, s[i] * u[:, i].reshape(3, -1))._along(HORIZONTAL, vt[i].reshape(3, -1))
            total = product if total is None else total + product
        assert total is not None
        return total

    def gated(self) -> Moments:
        """Before a relu; (5)."""
        _, h, w = self.values.shape
        share = np.full((h, w), 1 / 3)
        share[h // 2, w // 2] = 1 / 2
        return Moments(self.values * share)  # (5)

    def _along(self, axis: int, k: np.ndarray) -> Moments:
        """(4) along one axis, k its K⁰, K¹, K²."""
        a = self.values
        others = [_convolved(a[0], k[0], axis)] + [_convolved(a[i], k[0], axis) for i in range(1, 5)]
        others[1 + axis] = others[1 + axis] + _convolved(a[0], k[1], axis)
        second = 2 * _convolved(a[1 + axis], k[1], axis) + _convolved(a[0], k[2], axis)
        others[3 + axis] = others[3 + axis] + second
        return Moments(_cut(np.stack(others)))


def _pairs(taps: np.ndarray, first: float) -> np.ndarray:
    """K⁰, K¹, K² of (4) for each row of taps at first, first + 1, …: shape (rows, 3 (2n − 1))."""
    n = taps.shape[1]
    a = np.arange(n)
    lag, middle = a - a[:, None] + n - 1, (a + a[:, None]) / 2 + first
    weights = taps[:, :, None] * taps[:, None, :]
    found = [[np.bincount(lag.ravel(), (w * middle**p).ravel(), 2 * n - 1) for p in range(3)] for w in weights]
    return np.array(found).reshape(len(taps), -1)


def _convolved(a: np.ndarray, k: np.ndarray, axis: int) -> np.ndarray:
    """a ⁎ k along `axis`, of full length."""
    moved = np.moveaxis(a, axis, 0)
    wide = np.zeros((len(moved) + len(k) - 1, moved.shape[1]))
    for t, weight in enumerate(k):
        wide[t : t + len(moved)] += weight * moved
    return np.moveaxis(wide, 0, axis)


def _cut(values: np.ndarray) -> np.ndarray:
    """Lags up to LAGS."""
    h, w = (max(n // 2 - LAGS, 0) for n in values.shape[1:])
    return values[:, h : values.shape[1] - h, w : values.shape[2] - w]


def _centred(values: np.ndarray, shape: list[int]) -> np.ndarray:
    """`values` amid zeros, to `shape`."""
    margins = [((n - m) // 2, (n - m) // 2) for n, m in zip(shape, values.shape, strict=True)]
    return np.pad(values, margins)
