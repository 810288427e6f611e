"""Long-tailed subsets, class-aware orders, and accuracy by shots."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.data import (
    ArrayDataset,
    Loader,
    Subset,
    accuracy_by_shots,
    class_aware,
    class_counts,
    long_tailed,
    shot_groups,
)
from minidl.data.long_tail import long_tailed_sizes


def balanced(num_classes: int, each: int) -> ArrayDataset:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(num_classes), each))
    images = np.zeros((len(labels), 3, 2, 2), np.uint8)
    images[:, 0, 0, 0] = labels
    return ArrayDataset(images, labels, class_names=[str(i) for i in range(num_classes)])


def test_class_sizes_fall_exponentially_to_the_stated_imbalance() -> None:
    tail = long_tailed(balanced(10, 500), 100, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(class_counts(tail), [500, 299, 179, 107, 64, 38, 23, 13, 8, 5])
    images, labels = tail.batch(np.arange(len(tail)))
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
    assert (np.diff(tail.indices) > 0).all()


def test_class_sizes_are_the_published_ones_of_cifar10_lt() -> None:
    published = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tailed_sizes(5000, 10, 100) == published


@pytest.mark.parametrize(("num_classes", "imbalance"), [(2, 1), (3, 10), (100, 50), (1, 7)])
def test_the_ends_are_exact(num_classes: int, imbalance: float) -> None:
    counts = class_counts(long_tailed(balanced(num_classes, 50), imbalance, rng=np.random.default_rng(0)))
    assert counts[0] == 50 and (num_classes == 1 or counts[-1] == 50 // imbalance)
    assert (np.diff(counts) <= 0).all()


def test_which_images_stay_is_the_generators_choice() -> None:
    data = balanced(5, 40)
    first, again, other = (long_tailed(data, 10, rng=np.random.default_rng(s)).indices for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_impossible_subsets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"long_tailed: imbalance must be >= 1, got 0\.5"):
        long_tailed(balanced(3, 4), 0.5, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="long_tailed: every class must have an image, class 1 has none"):
        data = balanced(2, 3)
        long_tailed(Subset(data, np.flatnonzero(data.labels == 0)), 2, rng=np.random.default_rng(0))


def test_class_aware_epochs_are_balanced_and_use_images_evenly() -> None:
    labels = np.repeat([0, 1, 2, 5], [300, 60, 30, 6])
    order = class_aware(labels, samples_per_class=4)(np.random.default_rng(0))
    assert len(order) == len(labels)
    drawn = labels[order].reshape(-1, 4)
    assert (drawn == drawn[:, :1]).all()  # four images of one class each time
    np.testing.assert_array_equal(np.sort(drawn[: len(drawn) // 4 * 4, 0].reshape(-1, 4)), [[0, 1, 2, 5]] * 24)
    for label in (0, 1, 2, 5):
        uses = np.bincount(order, minlength=len(labels))[labels == label]
        assert uses.max() - uses.min() <= 1  # used up before used again


def test_class_aware_orders_feed_the_loader_and_resume() -> None:
    tail = long_tailed(balanced(4, 30), 10, rng=np.random.default_rng(0))
    loader = Loader(tail, 8, seed=1, shuffle=False, drop_last=True, order=class_aware(tail.labels))
    whole = [labels for _, labels in loader.epoch(3)]
    assert len(whole) == len(loader) == len(tail) // 8
    np.testing.assert_array_equal(whole[2:], [labels for _, labels in loader.epoch(3, start=2)])
    assert not np.array_equal(whole, [labels for _, labels in loader.epoch(4)])


def test_class_aware_refuses_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="class_aware: samples_per_class must be >= 1, got 0"):
        class_aware(np.array([0, 1]), 0)
    with pytest.raises(ValueError, match="class_aware: labels must not be empty"):
        class_aware(np.array([], np.int64))


def test_shot_groups_partition_the_classes_at_the_stated_limits() -> None:
    counts = np.array([101, 100, 99, 21, 20, 19, 0])
    groups = shot_groups(counts)
    assert {name: g.tolist() for name, g in groups.items()} == {"many": [0], "medium": [1, 2, 3, 4], "few": [5, 6]}
    groups = shot_groups(counts, many=50, few=51)
    assert {name: g.tolist() for name, g in groups.items()} == {"many": [0, 1, 2], "medium": [], "few": [3, 4, 5, 6]}
    with pytest.raises(ValueError, match="few must be <= many \\+ 1, got few=52, many=50"):
        shot_groups(counts, many=50, few=52)


def test_accuracy_by_shots_counts_test_images_of_each_group() -> None:
    groups = {"many": np.array([0, 1]), "medium": np.array([], np.int64), "few": np.array([2])}
    accuracy = accuracy_by_shots(np.array([0, 0, 2, 2, 0]), np.array([0, 1, 1, 2, 2]), groups)
    assert accuracy["many"] == pytest.approx(1 / 3) and accuracy["few"] == 0.5 and np.isnan(accuracy["medium"])
    with pytest.raises(ValueError, match=r"predicted must have shape \(3,\), got \(2,\)"):
        accuracy_by_shots(np.zeros(2), np.zeros(3), groups)
