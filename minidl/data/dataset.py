"""What a data set is: images as uint8, labels, names, and the statistics that normalise them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["ArrayDataset", "Dataset", "Subset"]


class Dataset:
    """Base of all data sets.

    Attributes:
        labels: int64 (n,), read-only.
        class_names: one a class.
        mean, std: of the training images, per channel, in units of the range 0…1 of a pixel.
        default_augment: the names of the transforms that are customary in training; see `create_augment`.

    Example:
        >>> from minidl.data import draw
        >>> images, labels = draw(20, seed=0)
        >>> dataset = ArrayDataset(images, labels, class_names=[str(i) for i in range(10)])
        >>> x, y = dataset.batch(np.array([3, 1]))
        >>> x.shape, x.dtype, y.dtype
        ((2, 3, 32, 32), dtype('uint8'), dtype('int64'))
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    default_augment: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """How many classes there are, images or none."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        raise NotImplementedError(f"{type(self).__name__}: image_shape is not defined")

    def batch(self, indices: np.ndarray, *, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels at `indices`.

        Args:
            indices: integers (n,), 0 <= index < len(self), in any order, repeated or not.
            rng: for training, on sets that cut a random part out of a larger image; None gives the fixed view.
                Sets whose images have one size do not use it.

        Returns:
            images, uint8 (n, 3, H, W), and labels, int64 (n,); the caller's own.
        """
        raise NotImplementedError(f"{type(self).__name__}: batch is not defined")

    def close(self) -> None:
        """End whatever the set keeps running; it can still be used, and then starts anew."""


class ArrayDataset(Dataset):
    """A data set held in memory.

    Args:
        images: uint8 (n, 3, H, W).
        labels: integers (n,), 0 <= label < len(class_names).
        class_names: one a class.
        mean, std: per channel, of pixels divided by 255.

    Raises:
        ValueError: shapes, dtypes or labels do not fit.

    Example:
        >>> data = ArrayDataset(np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 1, 0], class_names=["cat", "dog"])
        >>> images, labels = data.batch([2, 0])
        >>> images.shape, labels
        ((2, 3, 8, 8), array([1, 0]))
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | Sequence[int],
        *,
        class_names: Sequence[str],
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
    ) -> None:
        labels = np.array(labels)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"ArrayDataset: images must be uint8 (n, 3, H, W), got {images.dtype}{images.shape}")
        if labels.shape != images.shape[:1] or (len(labels) and labels.dtype.kind not in "iu"):
            raise ValueError(
                f"ArrayDataset: labels must be integers ({len(images)},), got {labels.dtype}{labels.shape}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
            bad = labels.max() if labels.min() >= 0 else labels.min()
            raise ValueError(f"ArrayDataset: labels must be within 0 and {len(class_names) - 1}, got {bad}")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"ArrayDataset: mean and std must be three numbers, std > 0, got {mean} and {std}")
        self.images = images
        self.labels = labels.astype(np.int64)
        self.labels.flags.writeable = False
        self.class_names = tuple(class_names)
        self.mean, self.std = (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.images.shape[1:]

    def batch(self, indices: np.ndarray, *, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        indices = np.asarray(indices)
        return self.images[indices], self.labels[indices]


class Subset(Dataset):
    """The images of another set at `indices`, in that order; classes and statistics are the whole set's.

    Args:
        dataset: the whole set.
        indices: integers, 0 <= index < len(dataset).

    Raises:
        ValueError: an index is out of range.

    Example:
        >>> whole = ArrayDataset(np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 1, 0], class_names=["cat", "dog"])
        >>> Subset(whole, [3, 1]).labels
        array([0, 1])
    """

    def __init__(self, dataset: Dataset, indices: np.ndarray | Sequence[int]) -> None:
        self.dataset, self.indices = dataset, np.array(indices, np.int64)
        if self.indices.ndim != 1 or (
            len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < len(dataset)
        ):
            raise ValueError(f"Subset: indices must be a list of integers within 0 and {len(dataset) - 1}")
        self.labels = dataset.labels[self.indices]
        self.labels.flags.writeable = False
        self.class_names, self.mean, self.std = dataset.class_names, dataset.mean, dataset.std
        self.default_augment = dataset.default_augment

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.dataset.image_shape

    def batch(self, indices: np.ndarray, *, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset.batch(self.indices[np.asarray(indices)], rng=rng)

    def close(self) -> None:
        self.dataset.close()
