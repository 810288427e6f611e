"""The loader: order, resumption, threads and shutdown; and the changes of images it applies."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from minidl.data import (
    ArrayDataset,
    ColorJitter,
    Compose,
    Cutout,
    Dataset,
    Flip,
    Lighting,
    Loader,
    PadCrop,
    Subset,
    augment_names,
    create_augment,
    normalise,
)
from minidl.data.augment import AXES, EIGENVALUES
from minidl.errors import ConfigError, DataError


def numbered(n: int = 50, side: int = 8) -> ArrayDataset:
    """Image i is random, its label i."""
    images = np.random.default_rng(0).integers(0, 256, (n, 3, side, side)).astype(np.uint8)
    return ArrayDataset(
        images, np.arange(n), class_names=list(map(str, range(n))), mean=(0.4, 0.5, 0.6), std=(0.2,) * 3
    )


def loader(**options) -> Loader:
    given = {"seed": 3, "shuffle": True, "drop_last": False, "augment": Compose(PadCrop(2), Flip(), Cutout(3))}
    return Loader(numbered(), 8, **(given | options))


def same(a, b) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x, u) and np.array_equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def loader_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("minidl-loader")]


def test_an_epoch_shows_every_image_once() -> None:
    labels = np.concatenate([labels for _, labels in loader().epoch(0)])
    np.testing.assert_array_equal(np.sort(labels), np.arange(50))
    assert not np.array_equal(labels, np.arange(50))
    assert [len(labels) for _, labels in loader(drop_last=True).epoch(0)] == [8] * 6


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first = list(loader().epoch(0))
    assert same(first, list(loader().epoch(0)))
    assert not same(first, list(loader().epoch(1)))
    assert not same(first, list(loader(seed=4).epoch(0)))


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_a_start_in_the_middle_gives_the_same_bits_whatever_the_prefetching(prefetch: int) -> None:
    whole = list(loader(prefetch=0).epoch(2))
    assert same(whole[3:], list(loader(prefetch=prefetch).epoch(2, start=3)))
    assert list(loader(prefetch=prefetch).epoch(2, start=7)) == []


def test_without_shuffle_and_augment_batches_are_the_normalised_images_in_order() -> None:
    data = numbered()
    x, labels = next(loader(shuffle=False, augment=None).epoch(0))
    np.testing.assert_array_equal(labels, np.arange(8))
    expected = (data.images[:8] / 255 - np.reshape(data.mean, (3, 1, 1))) / 0.2
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, rtol=0, atol=4 * 5 * 2**-24)  # |x| <= 5: product and difference rounded


def test_batches_belong_to_the_caller() -> None:
    data = numbered()
    before = data.images.copy()
    for x, labels in Loader(data, 8, seed=0, shuffle=False, drop_last=False).epoch(0):
        x[:], labels[:] = 0, 0
    np.testing.assert_array_equal(data.images, before)
    np.testing.assert_array_equal(data.labels, np.arange(50))


class Failing(Dataset):
    labels = np.zeros(50, np.int64)
    class_names, mean, std = ("a",), (0.5,) * 3, (0.5,) * 3

    def batch(self, indices, *, rng=None):
        if 20 in indices:
            raise DataError("cat.jpg: not an image")
        return np.zeros((len(indices), 3, 4, 4), np.uint8), self.labels[indices]


def test_an_error_in_the_background_reaches_the_caller_and_ends_the_thread() -> None:
    seen = 0
    with pytest.raises(DataError, match=r"cat\.jpg"):
        for _ in Loader(Failing(), 8, seed=0, shuffle=False, drop_last=False).epoch(0):
            seen += 1
    assert seen == 2 and loader_threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_loop_ends_the_thread(error: type[BaseException]) -> None:
    def train() -> None:
        for b, _ in enumerate(loader().epoch(0)):
            if b == 1:
                assert len(loader_threads()) == 1
                raise error

    with pytest.raises(error):
        train()
    assert loader_threads() == []


def test_a_loop_left_early_ends_the_thread() -> None:
    for _ in loader().epoch(0):
        break
    assert loader_threads() == []


def test_an_epoch_made_and_never_begun_starts_nothing() -> None:
    batches = loader().epoch(0)
    assert loader_threads() == []
    del batches


def test_no_more_than_prefetch_batches_are_made_ahead() -> None:
    made = []

    class Counting(Failing):
        def batch(self, indices, *, rng=None):
            made.append(indices[0])
            return np.zeros((len(indices), 3, 4, 4), np.uint8), self.labels[indices]

    batches = Loader(Counting(), 1, seed=0, shuffle=False, drop_last=False, prefetch=3).epoch(0)
    for _ in range(5):
        next(batches)
    batches.close()
    assert 5 <= len(made) <= 5 + 3


def test_order_replaces_the_shuffle() -> None:
    batches = loader(order=lambda rng: np.repeat(rng.integers(0, 50), 16)).epoch(0)
    labels = np.concatenate([labels for _, labels in batches])
    assert len(labels) == 16 and len(set(labels)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"prefetch": True}, "prefetch must be an integer >= 0, got True"),
        ({"prefetch": 1.5}, "prefetch must be an integer >= 0, got 1.5"),
    ],
)
def test_impossible_arguments_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"Loader: {message}"):
        loader(**options)


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1, got 0"):
        Loader(numbered(), 0, seed=0, shuffle=False, drop_last=False)
    with pytest.raises(ValueError, match="batch_size must be <= 50 images, got 51"):
        Loader(numbered(), 51, seed=0, shuffle=False, drop_last=True)
    with pytest.raises(ValueError, match="dataset must not be empty"):
        Loader(Subset(numbered(), []), 8, seed=0, shuffle=False, drop_last=False)
    with pytest.raises(ValueError, match="start within 0 and 7, got 0, 8"):
        loader().epoch(0, start=8)


def test_array_dataset_refuses_what_does_not_fit() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    for args, message in [
        ((images.astype(np.float32), [0, 1]), r"images must be uint8 \(n, 3, H, W\), got float32"),
        ((images[:, :1], [0, 1]), r"got uint8\(2, 1, 4, 4\)"),
        ((images, [0]), r"labels must be integers \(2,\), got int64\(1,\)"),
        ((images, [0.0, 1.0]), "labels must be integers"),
        ((images, [0, 2]), "labels must be within 0 and 1, got 2"),
        ((images, [-1, 2]), "labels must be within 0 and 1, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            ArrayDataset(*args, class_names=["a", "b"])
    with pytest.raises(ValueError, match="std > 0"):
        ArrayDataset(images, [0, 1], class_names=["a", "b"], std=(1, 1, 0))
    with pytest.raises(ValueError, match=r"indices must be .* within 0 and 49"):
        Subset(numbered(), [50])


def test_subset_is_a_view_of_the_whole() -> None:
    whole = numbered()
    part = Subset(whole, [7, 3, 9])
    images, labels = part.batch(np.array([2, 0]))
    np.testing.assert_array_equal(images, whole.images[[9, 7]])
    np.testing.assert_array_equal(labels, [9, 7])
    assert part.num_classes == 50 and part.image_shape == (3, 8, 8) and len(part) == 3


# Changes of images.


def test_pad_crop_shifts_each_image_and_fills_with_the_border() -> None:
    images = numbered(200).images
    shifted = PadCrop(2, fill=9)(images, np.random.default_rng(0))
    seen = set()
    for image, moved in zip(np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=9), shifted, strict=True):
        places = [(y, x) for y in range(5) for x in range(5) if np.array_equal(image[:, y : y + 8, x : x + 8], moved)]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 25


def test_flip_mirrors_about_its_share_left_to_right() -> None:
    images = numbered(400).images
    flipped = Flip(0.25)(images, np.random.default_rng(0))
    mirrored = [np.array_equal(a[:, :, ::-1], b) for a, b in zip(images, flipped, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(images, flipped, strict=True)]
    assert np.logical_xor(mirrored, kept).all()
    assert abs(sum(mirrored) - 100) < 5 * (400 * 0.25 * 0.75) ** 0.5  # five standard deviations


def test_cutout_blanks_one_square_over_all_channels() -> None:
    images = np.full((300, 3, 8, 8), 200, np.uint8)
    blank = Cutout(3, fill=7)(images, np.random.default_rng(0)) == 7
    assert (blank[:, 0] == blank[:, 1]).all() and (blank[:, 0] == blank[:, 2]).all()
    rows, columns = blank[:, 0].any(2).sum(1), blank[:, 0].any(1).sum(1)
    assert set(rows) == set(columns) == {2, 3}  # whole, or cut by the border
    np.testing.assert_array_equal(blank[:, 0].sum((1, 2)), rows * columns)


def test_color_jitter_is_its_formula() -> None:
    images = numbered(64).images
    x = images.astype(np.float64)
    grey = (x * np.reshape([0.299, 0.587, 0.114], (3, 1, 1))).sum(1, keepdims=True)
    fixed = {"brightness": 0 * grey, "contrast": grey.mean((1, 2, 3), keepdims=True), "saturation": grey}
    for name, anchor in fixed.items():
        strengths = dict.fromkeys(fixed, 0.0) | {name: 0.3}
        changed = ColorJitter(**strengths)(images, np.random.default_rng(0)).astype(np.float64)
        inner = (changed > 0) & (changed < 255) & (abs(x - anchor) > 40)  # rounding moves a factor by 0.5/40 at most
        factor = np.where(inner, (changed - anchor) / np.where(inner, x - anchor, 1), np.nan)
        per_image = np.nanmedian(factor, axis=(1, 2, 3))
        assert np.nanmax(abs(factor - per_image.reshape(-1, 1, 1, 1))) < 2 * 0.5 / 40 + 1e-6, name
        assert per_image.min() < 0.8 and per_image.max() > 1.2 and (abs(per_image - 1) < 0.3 + 0.02).all(), name


def test_lighting_shifts_each_image_along_the_axes() -> None:
    images = np.full((4000, 3, 2, 2), 128, np.uint8)
    shift = Lighting(0.1)(images, np.random.default_rng(0))[:, :, 0, 0] - 128.0
    np.testing.assert_allclose(AXES.T @ AXES, np.eye(3), atol=2e-4)  # published to four digits
    expected = AXES @ np.diag((0.1 * 255 * EIGENVALUES) ** 2) @ AXES.T + np.eye(3) / 12  # rounding adds 1/12
    np.testing.assert_allclose(np.cov(shift.T), expected, rtol=0, atol=5 * (2 / 4000) ** 0.5 * expected.max())


@pytest.mark.parametrize("name", augment_names())
def test_named_changes_keep_shape_dtype_and_their_input(name: str) -> None:
    images = numbered(5, side=32).images
    images.flags.writeable = False
    change = create_augment([name], 32)
    changed = change(images, np.random.default_rng(1))
    assert changed.shape == images.shape and changed.dtype == np.uint8
    assert not np.array_equal(changed, images)
    np.testing.assert_array_equal(changed, change(images, np.random.default_rng(1)))


def test_unknown_and_impossible_changes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment: must be of crop, .* got 'blur'"):
        create_augment(["blur"], 32)
    for make, message in [
        (lambda: PadCrop(-1), "PadCrop: padding must be >= 0, got -1"),
        (lambda: PadCrop(1, fill=256), "PadCrop: fill must be within 0 and 255, got 256"),
        (lambda: Flip(1.5), "Flip: probability must be within 0 and 1, got 1.5"),
        (lambda: Cutout(0), "Cutout: size must be >= 1, got 0"),
        (lambda: ColorJitter(contrast=2), "ColorJitter: contrast must be within 0 and 1, got 2"),
        (lambda: Lighting(-1), "Lighting: strength must be >= 0, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_normalise_spans_the_bytes() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    x = normalise(images, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
    np.testing.assert_allclose(x[0, :, 0, 0], [-1, -1.6, -1.5], rtol=1e-6)
    np.testing.assert_allclose(x[0, :, -1, -1], [1, 2.4, 3.5], rtol=1e-6)
