r"""Floating-point formats: how many bits they keep, and values as they would keep them.

A format of p significant bits holds x as the nearest  m 2^(e - p)  with |m| ≤ 2^p;  its unit roundoff is

    u = 2^-p                                                                                                  (1)

The range of exponents is left aside: the values that checks are made with lie far inside every format's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Format:
    """A floating-point format.

    Attributes:
        name: as frameworks call it; "tf32" is what tensor cores make of the factors of float32 products.
        bits: significant bits p, the leading one included.
    """

    name: str
    bits: int

    @property
    def unit(self) -> float:
        """u of (1)."""
        return 2.0**-self.bits

    @property
    def narrow(self) -> bool:
        """Whether worst-case bounds say nothing: k u nears 1 for sums of a hundred terms."""
        return self.bits < 24

    def __str__(self) -> str:
        return self.name


FORMATS = {f.name: f for f in (Format("float64", 53), Format("float32", 24), Format("float16", 11))}
FORMATS |= {f.name: f for f in (Format("tf32", 11), Format("bfloat16", 8))}
DTYPES = ("float64", "float32", "float16", "bfloat16")  # those that arrays can have


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """`x` rounded to `bits` significant bits, ties to even; infinities and NaN are kept.

    Example:
        >>> rounded(np.array([1 + 2.0**-9, 3.0]), 8)
        array([1., 3.])
    """
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


def representable(x: np.ndarray, bits: int) -> bool:
    """Whether every value of `x` has at most `bits` significant bits.

    Example:
        >>> representable(np.array([0.5, 1.25]), 8), representable(np.array([0.1]), 24)
        (True, False)
    """
    return np.array_equal(rounded(x, bits), np.asarray(x, np.float64), equal_nan=True)


def ulps(actual: np.ndarray, expected: np.ndarray, form: Format) -> np.ndarray:
    """|actual - expected| in units of the last place of `expected` in the format.

    Example:
        >>> ulps(np.array([1 + 2.0**-22]), np.array([1.0]), FORMATS["float32"])
        array([2.])
    """
    expected = np.asarray(expected, np.float64)
    _, exponent = np.frexp(np.where(np.isfinite(expected), expected, 1.0))
    with np.errstate(all="ignore"):
        error = np.where(actual == expected, 0.0, np.abs(np.asarray(actual, np.float64) - expected))
        return error / np.ldexp(1.0, exponent - form.bits)
