r"""Derivatives of a scalar function along one element, with their own error, and kinks told from noise.

With L a function of one element's displacement t, known to ε (rounding):

    D(h) = [L(h) - L(-h)] / 2h,    R(h) = [4 D(h/2) - D(h)] / 3,    e(h) = |R(h/2) - R(h)|                    (1)
    noise(h) = 6 ε / h                                                                                        (2)

Where L is smooth e shrinks as h⁴ until noise is all that is left.  If e stays above the noise a kink lies within h of
the place, or at it; then the step is divided by 2⁴ until it lies outside.  If it never does, the kink is at the place
itself, and the one-sided derivatives are

    D₊(h) = [4 L(h/2) - L(h) - 3 L(0)] / h,    D₋(h) = [L(-h) - 4 L(-h/2) + 3 L(0)] / h                       (3)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

STEP = 2.0**-13
SMALLEST = 2.0**-29


@dataclass(frozen=True)
class Slope:
    """A derivative measured.

    Attributes:
        value: R(h/2) of (1); between the one-sided ones at a kink.
        error: what it may be off by.
        step: the h at which it was measured.
        near: whether a kink lies within the first step, so that a smaller one was taken.
        sides: the one-sided derivatives where the kink is at the place itself, else None.
    """

    value: float
    error: float
    step: float
    near: bool = False
    sides: tuple[float, float] | None = None

    def allows(self, g: float, rounding: float) -> bool:
        """Whether a gradient of that value is right: the derivative, or at a kink one between the one-sided ones."""
        if self.sides is None:
            return abs(g - self.value) <= self.error + rounding
        slack = self.error + rounding
        return min(self.sides) - slack <= g <= max(self.sides) + slack


def slope(f: Callable[[float], float], scale: float, epsilon: float) -> Slope:
    """dL/dt at t = 0 by (1), kinks looked for.

    Args:
        f: L(t).
        scale: size of the element, to which steps are relative.
        epsilon: what rounding does to L.

    Example:
        >>> round(slope(lambda t: (1 + t) ** 3, 1.0, 1e-16).value, 9)
        3.0
        >>> slope(abs, 1.0, 1e-16).sides
        (-1.0, 1.0)
    """
    h, near = STEP * scale, False
    while h >= SMALLEST * scale:
        d = [(f(t) - f(-t)) / (2 * t) for t in (h, h / 2, h / 4)]
        coarse, fine = (4 * d[1] - d[0]) / 3, (4 * d[2] - d[1]) / 3
        noise = 6 * epsilon / h
        # A kink at 0 itself is odd in t or even; what is even cancels in D, so the sides are compared too.
        right, left = _sides(f, h)
        finer_right, finer_left = _sides(f, h / 2)
        bend, finer_bend = abs(right - left), abs(finer_right - finer_left)
        smooth = bend <= 16 * noise or finer_bend <= 0.6 * bend
        if abs(fine - coarse) <= 16 * noise + 1e-7 * abs(fine) and smooth:
            return Slope(fine, abs(fine - coarse) + 4 * noise, h, near)
        h, near = h / 16, True
    h = 16 * h
    right, left = _sides(f, h)
    return Slope((right + left) / 2, 24 * epsilon / h, h, True, (left, right))


def _sides(f: Callable[[float], float], h: float) -> tuple[float, float]:
    """D₊ and D₋ of (3)."""
    here = f(0.0)
    right = (4 * f(h / 2) - f(h) - 3 * here) / h
    left = (f(-h) - 4 * f(-h / 2) + 3 * here) / h
    return right, left
