"""The embedded set: the same bits everywhere, and hard for a linear model."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from minidl.data import MultiScale, create_dataset, draw
from minidl.data.multiscale import MOTIFS, _derivatives
from minidl.errors import DataError


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


def test_the_drawing_is_fixed_bit_for_bit() -> None:
    assert digest(*draw(500, seed=0)) == "1f15b2c02b4b93cca93cb5666f92ca13591525cb7be2ce354d5d84e90fd47025"
    assert digest(*draw(250, seed=3, scale=2.0)) == "72cab2096fa9008087614238e08de7aa4c124f793848b8bac52f3938b96ff04c"


def test_an_image_depends_on_its_place_and_the_seed_alone() -> None:
    many, few = draw(300, seed=5), draw(7, seed=5)
    np.testing.assert_array_equal(many[0][:7], few[0])
    np.testing.assert_array_equal(many[1][:7], few[1])
    assert not np.array_equal(few[0], draw(7, seed=6)[0])


@pytest.mark.parametrize("scale", [None, 0.5, 1.7, 6.0])
def test_classes_are_balanced_and_in_range(scale: float | None) -> None:
    images, labels = draw(250, seed=1, scale=scale)
    assert images.shape == (250, 3, 32, 32) and images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(labels), [25] * 10)
    assert 0.05 < images.std() / 255 < 0.3


def test_derivatives_are_those_of_a_gaussian() -> None:
    centre, sigma = np.float32([[15.3]]), np.float32([[2.5]])
    u = (np.arange(32) - 15.3) / 2.5
    g = np.exp(-(u**2) / 2)
    for ours, expected in zip(_derivatives(centre, sigma), (g, u * g, (u**2 - 1) * g), strict=True):
        # (1 − t/ν)^ν = exp(−t − t²/2ν − …), t = u²/2, ν = 1024: off by at most max t² exp(−t) max(1, 2t)/2ν < 2e-3
        np.testing.assert_allclose(ours[0, 0], expected, atol=2e-3)


@pytest.mark.parametrize("motif", MOTIFS, ids=lambda m: m.name)
def test_motifs_have_the_stated_energy(motif) -> None:
    u = np.linspace(-8, 8, 401)
    g = np.exp(-(u**2) / 2)
    d = (g, u * g, (u**2 - 1) * g)
    jet = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]  # orders along (y, x)
    plane = sum(c * np.outer(d[y], d[x]) for c, (y, x) in zip(motif.jet, jet, strict=True))
    assert (plane**2).sum() * 0.04**2 == pytest.approx(np.pi * motif.energy, rel=1e-9)


def test_mean_and_std_are_those_of_the_images() -> None:
    data = MultiScale("train", size=1000)
    np.testing.assert_allclose(data.images.mean((0, 2, 3)) / 255, data.mean, atol=0.01)
    np.testing.assert_allclose(data.images.std((0, 2, 3)) / 255, data.std, atol=0.01)


def test_a_linear_model_on_pixels_stays_under_60_percent() -> None:
    """Ridge regression on one-hot labels, its strength chosen on the test images: the kindest choice."""
    (x, labels), (x_test, labels_test) = draw(2000, seed=0), draw(1000, seed=1)
    x, x_test = ((a.reshape(len(a), -1) / 255 - 0.5).astype(np.float32) for a in (x, x_test))
    gram, cross = x @ x.T, x_test @ x.T
    accuracies = []
    for strength in (1e0, 1e1, 1e2, 1e3):
        dual = np.linalg.solve(gram + strength * np.eye(len(x), dtype=np.float32), np.eye(10, dtype=np.float32)[labels])
        accuracies.append(((cross @ dual).argmax(1) == labels_test).mean())
    assert max(accuracies) < 0.60


def test_a_matched_scale_shows_the_classes_best() -> None:
    """Smoothing with the data's own σ, then second differences: the class's energy stands out most near σ."""
    images, labels = draw(1000, seed=0, scale=2.0, noise=0.3)
    upright, level = (next(i for i, m in enumerate(MOTIFS) if m.name == f"{way} bar") for way in ("upright", "level"))
    x = images.astype(np.float64) / 255

    def separation(sigma: float) -> float:
        taps = np.exp(-(np.arange(-12, 13) ** 2) / (2 * sigma**2))
        smooth = x
        for axis in (2, 3):
            smooth = np.apply_along_axis(np.convolve, axis, smooth, taps / taps.sum(), mode="valid")
        across, down = (np.diff(smooth, 2, axis).__pow__(2).mean((1, 2, 3)) for axis in (3, 2))
        index = np.log(across / down)
        a, b = index[labels == upright], index[labels == level]
        return (a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2)

    found = {sigma: separation(sigma) for sigma in (0.3, 1.0, 2.0, 4.0)}
    assert max(found, key=found.__getitem__) == 2.0, found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("multiscale:0.1", r"multiscale: scale must be within 0.5 and 6.0 pixels, got 0.1"),
        ("multiscale:nan", r"multiscale: scale must be within .* got nan"),
        ("multiscale:wide", r"multiscale: the scale after the colon must be a number, got 'wide'"),
    ],
)
def test_impossible_scales_are_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        create_dataset(name)


def test_catalogue_gives_both_splits_and_refuses_others() -> None:
    test = create_dataset("multiscale:2.5", split="test")
    assert len(test) == 2000 and test.scale == 2.5 and test.class_names[0] == "blob"
    for options, message in [
        ({"split": "val"}, "split must be train or test, got 'val'"),
        ({"image_size": 64}, "multiscale: image_size must be 32, the size of its images, got 64"),
    ]:
        with pytest.raises(DataError, match=message):
            create_dataset("multiscale", **options)
