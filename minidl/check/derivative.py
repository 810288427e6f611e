r"""Derivatives without backward: what an analytic gradient is compared with.

For an array-valued f, one column J_j = ∂f/∂x_j of the Jacobian for every element j of x:

    complex step          J_j = Im f(x + i h e_j) / h,   h = 1e-20          exact to rounding, f analytic     (1)
    central difference    D(h) = [f(x + h e_j) - f(x - h e_j)] / 2h = J_j + O(h²)                             (2)
    Richardson            R(h) = [4 D(h/2) - D(h)] / 3              = J_j + O(h⁴)                             (3)
    its error             |R(h/2) - R(h)|  ≥  |R(h/2) - J_j|        while h is small enough for (3) to hold   (4)

(4) also finds kinks: at a step that reaches across one, R(h/2) and R(h) do not agree.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEP = 2.0**-14  # of (2): powers of two make x ± h exact for |x| < 2³⁸; the error of (3), h⁴ ≈ 1e-17, is rounding


def complex_step(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, h: float = 1e-20) -> np.ndarray:
    """Jacobian of an analytic `f` at `x` by (1): no subtraction, hence no cancellation and no step to choose.

    Args:
        f: maps a complex128 array shaped like `x` to an array or a number.
        x: float64 array.
        h: imaginary step.

    Returns:
        float64 array of shape `f(x).shape + x.shape`: for a scalar `f`, its gradient.

    Example:
        >>> complex_step(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
        array([ 3., 12.])
    """
    z = np.array(x, np.complex128)
    jacobian: np.ndarray | None = None
    for j in np.ndindex(x.shape):
        z[j] = complex(x[j], h)
        column = np.imag(f(z)) / h  # (1)
        if jacobian is None:
            jacobian = np.empty(np.shape(column) + x.shape)
        jacobian[(..., *j)] = column
        z[j] = x[j]
    return np.empty(np.shape(f(z)) + x.shape) if jacobian is None else jacobian


def richardson(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, h: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Jacobian of a smooth `f` at `x` by (3), at steps h, h/2 and h/4, and its error by (4).

    Args:
        f: maps a float64 array shaped like `x` to an array or a number.
        x: float64 array.
        h: largest step.

    Returns:
        R(h/2) and |R(h/2) - R(h)|, float64 arrays of shape `f(x).shape + x.shape`.

    Example:
        >>> jacobian, error = richardson(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
        >>> np.round(jacobian, 8), bool(error.max() < 1e-8)
        (array([ 3., 12.]), True)
    """
    shape = np.shape(f(x)) + x.shape
    jacobian, error = np.empty(shape), np.empty(shape)
    z = np.array(x)
    for j in np.ndindex(x.shape):
        d = []
        for step in (h, h / 2, h / 4):
            z[j] = x[j] + step
            up = np.array(f(z))  # a copy: f may return a view of z
            z[j] = x[j] - step
            d.append((up - f(z)) / (2 * step))  # (2)
        z[j] = x[j]
        coarse, fine = (4 * d[1] - d[0]) / 3, (4 * d[2] - d[1]) / 3  # (3)
        jacobian[(..., *j)], error[(..., *j)] = fine, np.abs(fine - coarse)  # (4)
    return jacobian, error
