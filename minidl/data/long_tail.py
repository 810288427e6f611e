"""Long-tailed training: few classes with many images, many with few.

Of C classes in order, class i keeps

    n_i = ⌊n_max · ρ^(−i/(C−1))⌋ images, at least one                     (1)

so that the first has n_max and the last n_max/ρ: ρ is the imbalance (Cui et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from minidl.data.dataset import Dataset, Subset

__all__ = ["accuracy_by_shots", "class_aware", "class_counts", "long_tailed", "shot_groups"]


def class_counts(dataset: Dataset) -> np.ndarray:
    """How many images each class has, int64 (num_classes,).

    Args:
        dataset: any.

    Returns:
        int64 (num_classes,).

    Example:
        >>> from minidl.data import ArrayDataset
        >>> class_counts(ArrayDataset(np.zeros((3, 3, 8, 8), np.uint8), [0, 1, 1], class_names=["cat", "dog"]))
        array([1, 2])
    """
    return np.bincount(dataset.labels, minlength=dataset.num_classes)


def long_tailed(dataset: Dataset, imbalance: float, *, rng: np.random.Generator) -> Subset:
    """A part of `dataset` whose class sizes fall exponentially; (1).

    Args:
        dataset: the whole set; n_max is the size of its smallest class, so that every class has enough.
        imbalance: ρ, >= 1; 100 is customary, 1 makes all classes equal.
        rng: chooses which images stay.

    Returns:
        A Subset, its images in the order of `dataset`.

    Raises:
        ValueError: `imbalance` < 1, or a class has no image.

    Example:
        >>> from minidl.data import MultiScale
        >>> tail = long_tailed(MultiScale("train", size=1000), 100, rng=np.random.default_rng(0))
        >>> class_counts(tail)
        array([100,  59,  35,  21,  12,   7,   4,   2,   1,   1])
    """
    if not imbalance >= 1:
        raise ValueError(f"long_tailed: imbalance must be >= 1, got {imbalance}")
    counts = class_counts(dataset)
    if counts.min() < 1:
        raise ValueError(f"long_tailed: every class must have an image, class {counts.argmin()} has none")
    sizes = long_tailed_sizes(int(counts.min()), dataset.num_classes, imbalance)
    kept = [
        rng.choice(np.flatnonzero(dataset.labels == label), size, replace=False) for label, size in enumerate(sizes)
    ]
    return Subset(dataset, np.sort(np.concatenate(kept)))


def long_tailed_sizes(n_max: int, num_classes: int, imbalance: float) -> list[int]:
    """n_i of (1); the ends are exact, whatever a power is rounded to."""
    steps = max(num_classes - 1, 1)
    return [max(1, int(n_max * imbalance ** (-i / steps) * (1 + 1e-12))) for i in range(num_classes)]


def class_aware(labels: np.ndarray, samples_per_class: int = 4) -> Callable[[np.random.Generator], np.ndarray]:
    """An order for `Loader` in which all classes are equally frequent (Shen et al. 2016).

    Classes are drawn in rounds, each once a round in a new order; each time, `samples_per_class` images of it
    are.  A class's images come in a random order, and in another when they are used up.  An epoch has as many
    images as the set.

    Args:
        labels: integers (n,), those of the data set; classes without images are left out.
        samples_per_class: images each time a class is drawn, >= 1.

    Returns:
        A function of a generator that gives the indices of one epoch, int64 (n,).

    Raises:
        ValueError: `samples_per_class` < 1, or there are no labels.

    Example:
        >>> labels = np.array([0] * 90 + [1] * 10)
        >>> order = class_aware(labels)(np.random.default_rng(0))
        >>> np.bincount(labels[order]).tolist()
        [52, 48]
    """
    if samples_per_class < 1:
        raise ValueError(f"class_aware: samples_per_class must be >= 1, got {samples_per_class}")
    labels = np.array(labels)
    if labels.size == 0:
        raise ValueError("class_aware: labels must not be empty")
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rounds = -(-len(labels) // (samples_per_class * len(members)))

    def order(rng: np.random.Generator) -> np.ndarray:
        classes = np.concatenate([rng.permutation(len(members)) for _ in range(rounds)])  # class of each draw
        indices = np.empty((len(classes), samples_per_class), np.int64)
        for k, images in enumerate(members):
            needed = rounds * samples_per_class
            passes = [rng.permutation(images) for _ in range(-(-needed // len(images)))]
            indices[classes == k] = np.concatenate(passes)[:needed].reshape(rounds, samples_per_class)
        return indices.reshape(-1)[: len(labels)]

    return order


def shot_groups(counts: np.ndarray, *, many: int = 100, few: int = 20) -> dict[str, np.ndarray]:
    """Classes by how many training images they have (Liu et al. 2019).

    Args:
        counts: training images of each class, integers (C,).
        many: classes with more are "many".
        few: classes with fewer are "few"; those between, both limits included, are "medium".

    Returns:
        {"many": class numbers, "medium": …, "few": …}; a group may be empty.

    Raises:
        ValueError: `few` > `many` + 1: the groups would overlap.

    Example:
        >>> shot_groups(np.array([500, 100, 20, 19]))
        {'many': array([0]), 'medium': array([1, 2]), 'few': array([3])}
    """
    if few > many + 1:
        raise ValueError(f"shot_groups: few must be <= many + 1, got few={few}, many={many}")
    counts = np.asarray(counts)
    groups = {"many": counts > many, "medium": (counts >= few) & (counts <= many), "few": counts < few}
    return {name: np.flatnonzero(chosen) for name, chosen in groups.items()}


def accuracy_by_shots(predicted: np.ndarray, labels: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The share of test images classified rightly in each group of classes.

    Args:
        predicted, labels: integers (n,), of the test images.
        groups: as from `shot_groups`.

    Returns:
        One number a group, NaN for a group without test images.

    Raises:
        ValueError: the two have different shapes.

    Example:
        >>> groups = {"many": np.array([0]), "few": np.array([1, 2])}
        >>> accuracy_by_shots(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]), groups)
        {'many': 1.0, 'few': 0.5}
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.shape != labels.shape:
        raise ValueError(f"accuracy_by_shots: predicted must have shape {labels.shape}, got {predicted.shape}")
    right = predicted == labels
    chosen = {name: right[np.isin(labels, classes)] for name, classes in groups.items()}
    return {name: float(part.mean()) if len(part) else float("nan") for name, part in chosen.items()}
