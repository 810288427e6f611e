r"""Noise that is a function of a key and a position: the same bits from every form, on every device, in any order.

Philox-4x32-10 (Salmon et al. 2011) turns a counter of four 32-bit words, c, and a key of two, k, into four random ones.
Ten rounds, ⌊·⌋ and mod of 2³²:

    c ← (⌊M₁ c₂⌋ ⊕ c₁ ⊕ k₀,  M₁ c₂ mod 2³²,  ⌊M₀ c₀⌋ ⊕ c₃ ⊕ k₁,  M₀ c₀ mod 2³²),   k ← k + W mod 2³²       (1)

where ⌊M c⌋ is the upper half of the product.  Block b of the noise has the counter (b mod 2³², ⌊b / 2³²⌋, 0, 0).

Of the words w, a number in [0, 1):

    float32   ⌊w / 2⁸⌋ 2⁻²⁴                         one word                                                (2)
    float64   (⌊w / 2⁵⌋ 2²⁶ + ⌊w′ / 2⁶⌋) 2⁻⁵³        two words                                               (3)

and of two words a pair of normal ones (Box and Muller 1958), u = (w + 1) 2⁻³² and v = w′ 2⁻³²:

    √(−2 ln u) cos 2πv,   √(−2 ln u) sin 2πv                                                               (4)

A library's ln and cos differ in their last bit from one machine to the next.  Here they are sums, products, quotients
and roots in double precision, which IEEE 754 defines to the last bit:

    ln(m 2ᵉ) = e ln 2 + 2s (1 + s²/3 + s⁴/5 + … + s²²/23),   s = (m − 1)/(m + 1),  √½ ≤ m < √2               (5)
    cos φ = 1 − φ²/2! + … + φ¹⁶/16!,   sin φ = φ − φ³/3! + … + φ¹⁷/17!,   |φ| ≤ π/4                         (6)

2πv is turned by quarters of the circle into that range, exactly, since v is a multiple of 2⁻³².
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from minidl.device import Array, get_array_module

__all__ = ["normal_noise", "philox", "uniform_noise"]

M = (0xD2511F53, 0xCD9E8D57)
W = (0x9E3779B9, 0xBB67AE85)
LN_2 = math.log(2)
LOG_TERMS = tuple(1 / n for n in range(23, 0, -2))  # of (5), the highest power first
COS_TERMS = tuple((-1) ** n / math.factorial(2 * n) for n in range(8, -1, -1))
SIN_TERMS = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(8, -1, -1))


def philox(counter: Array, key: tuple[int, int]) -> Array:
    """Ten rounds of (1) on counters (…, 4), uint32.

    Example:
        >>> [hex(word) for word in philox(np.zeros(4, np.uint32), (0, 0)).tolist()]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    xp = get_array_module(counter)
    c, k = [counter[..., i].astype(np.uint64) for i in range(4)], list(key)
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p_0, p_1 = (c[2 * i] * np.uint64(M[i]) for i in range(2))
        c = [
            (p_1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
            p_1 & low,
            (p_0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
            p_0 & low,
        ]
        k = [(k[i] + W[i]) % 2**32 for i in range(2)]
    return xp.stack(c, axis=-1).astype(np.uint32)


def uniform_noise(key: int, shape: tuple[int, ...], dtype: Any = np.float32, *, xp: ModuleType = np) -> Array:
    """Numbers in [0, 1), (2) or (3).

    Args:
        key: 64 bits; another key is another, independent stream.
        shape, dtype: float32 or float64, of the result.
        xp: the module of the result, numpy or cupy.

    Example:
        >>> uniform_noise(0, (2,))
        array([0.39904642, 0.88052016], dtype=float32)
    """
    count = math.prod(shape)
    if np.dtype(dtype) == np.float32:
        u = (_words(xp, key, count) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)  # (2)
    else:
        w = _words(xp, key, 2 * count).reshape(-1, 2).astype(np.float64)
        u = (xp.floor(w[:, 0] / 2**5) * 2**26 + xp.floor(w[:, 1] / 2**6)) * 2**-53  # (3)
    return u.reshape(shape)


def normal_noise(key: int, shape: tuple[int, ...], dtype: Any = np.float32, *, xp: ModuleType = np) -> Array:
    """Standard normal numbers, (4), |n| < 6.7; arguments as for `uniform_noise`.

    Example:
        >>> normal_noise(0, (3,)).round(4)
        array([ 0.9911, -0.9247, -0.6176], dtype=float32)
    """
    count = math.prod(shape)
    w = _words(xp, key, count + count % 2).reshape(-1, 2)
    radius = xp.sqrt(-2 * _log(xp, w[:, 0].astype(np.float64) + 1, 32))
    cos, sin = _circle(xp, w[:, 1])
    pairs = xp.stack([radius * cos, radius * sin], axis=-1)  # (4)
    return pairs.reshape(-1)[:count].astype(dtype).reshape(shape)


def _words(xp: ModuleType, key: int, count: int) -> Array:
    """The first `count` words of the stream."""
    block = xp.arange(-(-count // 4), dtype=np.uint64)
    low, high = (part.astype(np.uint32) for part in (block & np.uint64(0xFFFFFFFF), block >> np.uint64(32)))
    zero = xp.zeros_like(low)
    words = philox(xp.stack([low, high, zero, zero], axis=-1), (key % 2**32, key // 2**32 % 2**32))
    return words.reshape(-1)[:count]


def _log(xp: ModuleType, x: Array, scale: int) -> Array:
    """ln(x 2^-scale) by (5)."""
    m, e = xp.frexp(x)
    small = m < math.sqrt(0.5)
    m, e = xp.where(small, 2 * m, m), xp.where(small, e - 1, e)
    s = (m - 1) / (m + 1)
    return (e - scale) * LN_2 + 2 * s * _polynomial(s * s, LOG_TERMS)


def _circle(xp: ModuleType, w: Array) -> tuple[Array, Array]:
    """cos and sin of 2π w / 2³² by (6): the nearest quarter, and the angle φ from there."""
    quarter = ((w >> np.uint32(29)) + np.uint32(1)) >> np.uint32(1)  # 0 … 4
    phi = (w.astype(np.float64) - quarter.astype(np.float64) * 2**30) * (2 * math.pi / 2**32)
    square = phi * phi
    cos, sin = _polynomial(square, COS_TERMS), phi * _polynomial(square, SIN_TERMS)
    odd, half = quarter % np.uint32(2) == 1, quarter % np.uint32(4) // np.uint32(2)
    c, s = xp.where(odd, -sin, cos), xp.where(odd, cos, sin)
    return xp.where(half == 1, -c, c), xp.where(half == 1, -s, s)


def _polynomial(x: Array, terms: tuple[float, ...]) -> Array:
    """Horner's rule, the highest power first."""
    value = terms[0]
    for term in terms[1:]:
        value = value * x + term
    return value
