"""Batches in a seeded order, augmented and normalised, made ahead in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from minidl.data.dataset import Dataset

__all__ = ["Loader", "normalise"]

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Order = Callable[[np.random.Generator], np.ndarray]
Batch = tuple[np.ndarray, np.ndarray]

DATA_STREAM = 0xDA7A  # keeps these random numbers apart from a model's that is seeded alike


class Loader:
    """Batches of a data set, for training or evaluation.

    Batch b of epoch e depends on the seed, e and b alone: not on the batches before it, on threads or on timing.
    A run that starts again in the middle of an epoch sees the very bits it would have seen.

    Args:
        dataset: where images come from.
        batch_size: images a batch, >= 1; the last batch is smaller where they do not divide.
        seed: >= 0.
        shuffle: a new order every epoch; else the set's own.
        drop_last: leave a smaller last batch out.
        augment: `(images uint8, rng) -> images uint8`, such as those of `minidl.data.augment`.  With one, sets
            that hold larger images than they give cut random parts out of them; None gives the fixed view.
        order: indices of one epoch from a generator, in place of `shuffle`; as many every epoch.
        prefetch: batches made ahead in a background thread; 0 makes each when it is asked for.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> from minidl.data import MultiScale
        >>> loader = Loader(MultiScale("test", size=100), 32, seed=0, shuffle=True, drop_last=False)
        >>> [(x.shape, x.dtype.name, len(labels)) for x, labels in loader.epoch(0, start=2)]
        [((32, 3, 32, 32), 'float32', 32), ((4, 3, 32, 32), 'float32', 4)]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        augment: Augment | None = None,
        order: Order | None = None,
        prefetch: int = 2,
    ) -> None:
        for name, value, minimum in (("batch_size", batch_size, 1), ("seed", seed, 0), ("prefetch", prefetch, 0)):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
                raise ValueError(f"Loader: {name} must be an integer >= {minimum}, got {value!r}")
        if len(dataset) == 0:
            raise ValueError("Loader: dataset must not be empty, got 0 images")
        self.dataset, self.batch_size, self.seed = dataset, int(batch_size), int(seed)
        self.shuffle, self.drop_last, self.augment, self.prefetch = shuffle, drop_last, augment, int(prefetch)
        self.order = order
        self.images_an_epoch = len(dataset) if order is None else len(self.epoch_indices(0))
        if len(self) == 0:
            raise ValueError(
                f"Loader: drop_last leaves no batch, batch_size must be <= {len(dataset)} images, got {batch_size}"
            )

    def __len__(self) -> int:
        """Batches an epoch."""
        n = self.images_an_epoch
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def epoch_indices(self, epoch: int) -> np.ndarray:
        """Indices into the data set in the order of one epoch."""
        rng = self._generator(0, epoch)
        if self.order is not None:
            return self.order(rng)
        return rng.permutation(len(self.dataset)) if self.shuffle else np.arange(len(self.dataset))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Iterate over one epoch.

        Args:
            epoch: >= 0; which order and which augmentation.
            start: the first batch to give, 0 to len(self); those before it are not made.

        Yields:
            x, float32 (n, 3, H, W), normalised by the set's mean and std; and labels, int64 (n,).

        Raises:
            ValueError: `epoch` or `start` is out of range.
            DataError: an image cannot be read.
        """
        if epoch < 0 or not 0 <= start <= len(self):
            raise ValueError(
                f"Loader.epoch: epoch must be >= 0 and start within 0 and {len(self)}, got {epoch}, {start}"
            )
        return self._iterate(epoch, start)

    def batch(self, epoch: int, b: int, indices: np.ndarray | None = None) -> Batch:
        """One batch, made at once in the calling thread.

        Args:
            epoch, b: which, >= 0 and within 0 and len(self) − 1.
            indices: that epoch's order, where it is at hand.

        Returns:
            As `epoch` yields them.
        """
        if indices is None:
            indices = self.epoch_indices(epoch)
        chosen = indices[b * self.batch_size : (b + 1) * self.batch_size]
        if self.augment is None:
            images, labels = self.dataset.batch(chosen)
        else:
            rng = self._generator(1, epoch, b)
            images, labels = self.dataset.batch(chosen, rng=rng)
            images = self.augment(images, rng)
        return normalise(images, self.dataset.mean, self.dataset.std), labels

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(DATA_STREAM, *key)))

    def _iterate(self, epoch: int, start: int) -> Iterator[Batch]:
        indices = self.epoch_indices(epoch)
        numbers = range(start, len(self))
        if self.prefetch == 0:
            for b in numbers:
                yield self.batch(epoch, b, indices)
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="minidl-loader")
        ahead: deque[Future[Batch]] = deque()
        try:
            for b in numbers:
                ahead.append(pool.submit(self.batch, epoch, b, indices))
                if len(ahead) > self.prefetch:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:  # after an error, Ctrl-C or a `break` in the caller's loop as well
            pool.shutdown(wait=True, cancel_futures=True)


def normalise(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(pixel/255 − mean)/std per channel.

    Args:
        images: uint8 (n, 3, H, W).
        mean, std: three numbers each, of pixels divided by 255.

    Returns:
        float32 (n, 3, H, W).

    Example:
        >>> normalise(np.full((1, 3, 1, 1), 255, np.uint8), (0.5, 0.5, 0.0), (0.5, 0.25, 1.0)).ravel()
        array([1., 2., 1.], dtype=float32)
    """
    factor = (1 / (255 * np.array(std))).astype(np.float32).reshape(1, -1, 1, 1)
    offset = (np.array(mean) / np.array(std)).astype(np.float32).reshape(1, -1, 1, 1)
    x = images * factor  # uint8 × float32: one pass, float32
    x -= offset
    return x
