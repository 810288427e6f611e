"""Counter-based noise: the published generator, its distribution, and that nothing but key and position counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minidl.kernels.array.noise import _circle, _log, normal_noise, philox, uniform_noise


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known answers of Random123, the authors' own library
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_words(counter: str, key: str, words: str) -> None:
    c, k, w = ([int(word, 16) for word in text.split()] for text in (counter, key, words))
    assert philox(np.array(c, np.uint32), (k[0], k[1])).tolist() == w


@pytest.mark.parametrize("noise", [uniform_noise, normal_noise])
def test_a_longer_draw_begins_like_a_shorter_one_and_keys_differ(noise) -> None:
    for dtype in (np.float32, np.float64):
        long = noise(7, (11, 3), dtype)
        assert long.dtype == dtype and (noise(7, (5,), dtype) == long.ravel()[:5]).all()
        assert not (noise(8, (11, 3), dtype) == long).any()
        assert not (noise(7 + 2**32, (11, 3), dtype) == long).any()
        assert noise(7, (), dtype).shape == () and noise(7, (0, 3), dtype).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_numbers_are_distributed_as_they_say(dtype) -> None:
    u, n = uniform_noise(1, (100_000,), dtype), normal_noise(2, (100_000,), dtype)
    assert u.min() >= 0 and u.max() < 1
    assert stats.kstest(u.astype(float), "uniform").pvalue > 1e-4
    assert stats.kstest(n.astype(float), "norm").pvalue > 1e-4
    for x in (u, n):
        assert abs(np.corrcoef(x[::2], x[1::2])[0, 1]) < 4 / 50_000**0.5
    assert (normal_noise(2, (100_000,), np.float64).astype(np.float32) == normal_noise(2, (100_000,))).all()


def test_logarithm_and_circle_are_right_to_a_few_roundings() -> None:
    words = np.concatenate([np.arange(5), 2 ** np.arange(32) - 1, np.arange(0, 2**32, 2**32 // 4099)]).astype(np.uint32)
    words = np.append(words, [2**32 - 1, 2**29 - 1, 2**29]).astype(np.uint32)
    x = words.astype(float) + 1
    log = np.array([math.log(v / 2**32) for v in x])
    assert (abs(_log(np, x, 32) - log) <= 4e-16 * (1 + abs(log))).all()
    cos, sin = _circle(np, words)
    angle = 2 * np.pi * words.astype(np.longdouble) / 2**32
    assert abs(cos - np.cos(angle)).max() < 4e-16 and abs(sin - np.sin(angle)).max() < 4e-16
