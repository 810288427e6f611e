r"""Derivatives without backward: what an analytic gradient is compared with.

For L(x) = ⟨gy, f(x)⟩ with a random cotangent gy, and every element j of every input,

    complex step          ∂L/∂x_j = Im L(x + i h e_j) / h,   h = 1e-20      exact to rounding, f analytic     (1)
    central difference    ∂L/∂x_j ≈ D(h) = [L(x + h e_j) - L(x - h e_j)] / 2h                                (2)
    Richardson            ∂L/∂x_j ≈ [4 D(h/2) - D(h)] / 3,                  error O(h⁴)                       (3)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Loss = Callable[[np.ndarray], complex]


def complex_step(loss: Loss, x: np.ndarray, h: float = 1e-20) -> np.ndarray:
    """Gradient of an analytic `loss` at `x` by (1): no subtraction, hence no cancellation and no step to choose."""
    g = np.zeros(x.shape)
    for j in np.ndindex(x.shape):
        z = x.astype(np.complex128)
        z[j] += 1j * h
        g[j] = np.imag(loss(z)) / h  # (1)
    return g


def central_difference(loss: Loss, x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """Gradient of `loss` at `x` by (2) at two steps, combined by (3)."""

    def difference(j: tuple[int, ...], step: float) -> float:
        up, down = x.copy(), x.copy()
        up[j] += step
        down[j] -= step
        return float(np.real(loss(up) - loss(down)) / (2 * step))  # (2)

    g = np.zeros(x.shape)
    for j in np.ndindex(x.shape):
        g[j] = (4 * difference(j, h / 2) - difference(j, h)) / 3  # (3)
    return g
