"""Image folders: ROOT/train/CLASS/*.jpg for training, ROOT/val or ROOT/test for testing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from minidl.data import decode
from minidl.data.dataset import Dataset
from minidl.data.workers import Decoders, Recipe, default_workers
from minidl.errors import DataError

__all__ = ["ImageFolder"]

FOLDERS = {"train": ("train",), "test": ("test", "val")}
IMAGE_SIZE = 224
OVERSAMPLING = 2  # kept images have a shorter side of this many times the view's


class ImageFolder(Dataset):
    """Photographs in a folder a class, cut to squares of one size.

    An image is decoded, made upright RGB, and reduced until its shorter side has 2 · image_size pixels (smaller
    ones stay as they are).  The fixed view is the middle 7/8 of it; in training (`batch` with an `rng`) a random
    part of random area and shape, resized to a square.  Statistics are ImageNet's.

    Reduced images (of the test split: fixed views) stay in memory, up to about `cache_bytes`; others are decoded
    anew.  Neither the cache nor the number of workers changes a pixel.

    Args:
        root: the folder.
        split: "train", or "test" for ROOT/test or else ROOT/val.
        image_size: side of the squares in pixels, >= 1.
        min_area: the smallest random part, as a share of the image's area, 0 < min_area <= 1.
        workers: processes that decode; 0 decodes in the calling thread, None takes the cores, at most 4.
        cache_bytes: memory for decoded images; 0 keeps none.

    Raises:
        DataError: the folders are not laid out so; from `batch`, a file gives no image (and is named).
        ValueError: an argument is out of range.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / "train" / name).mkdir(parents=True)
        ...     Image.new("RGB", (40, 30)).save(root / "train" / name / "1.png")
        >>> data = ImageFolder(root, "train", image_size=16, workers=0)
        >>> data.class_names, data.batch(np.array([1, 0]))[0].shape
        (('cat', 'dog'), (2, 3, 16, 16))
    """

    default_augment = ("flip",)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        image_size: int = IMAGE_SIZE,
        min_area: float = 0.08,
        workers: int | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        workers = default_workers() if workers is None else workers
        for name, value, minimum in (("image_size", image_size, 1), ("workers", workers, 0)):
            if not isinstance(value, int) or value < minimum:
                raise ValueError(f"ImageFolder: {name} must be an integer >= {minimum}, got {value!r}")
        if not 0 < min_area <= 1:
            raise ValueError(f"ImageFolder: min_area must be > 0 and <= 1, got {min_area}")
        self.class_names, self.paths, labels = _scan(root, split)
        self.labels = np.array(labels, np.int64)
        self.labels.flags.writeable = False
        self.image_size = image_size
        view = Recipe(OVERSAMPLING * image_size, image_size, min_area)
        self._view, self._kept = view, view if split == "test" else replace(view, size=0)
        self._decoders = Decoders(workers)
        self._cache: dict[int, np.ndarray] = {}
        self._cache_left = cache_bytes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 3, self.image_size, self.image_size

    def batch(self, indices: np.ndarray, *, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        indices = np.asarray(indices)
        draws: list[list[float] | None] = [None] * len(indices)
        if rng is not None and self._kept is not self._view:
            draws = [*rng.random((len(indices), decode.DRAWS)).tolist()]  # a row an image, before any is decoded
        views = np.stack(self._views(indices.tolist(), draws))  # (n, S, S, 3)
        return np.ascontiguousarray(views.transpose(0, 3, 1, 2)), self.labels[indices]

    def check(self) -> None:
        """Look at the first bytes of every file; thousands of files a second where they are at hand.

        Raises:
            DataError: files are no images; the message names the first and says how many there are.
        """
        wrong = [(path, reason) for path in self.paths if (reason := decode.refused(path)) is not None]
        if wrong:
            path, reason = wrong[0]
            more = f" (and {len(wrong) - 1} more of {len(self.paths)} files)" if len(wrong) > 1 else ""
            raise DataError(f"{path}: {reason}{more}; remove or replace it")

    def close(self) -> None:
        self._decoders.close()

    def _views(self, indices: list[int], draws: list[list[float] | None]) -> list[np.ndarray]:
        made: dict[int, np.ndarray] = {}  # views that come from the decoders, by their place in the batch
        if self._cache_left > 0:
            self._fill_cache(indices)
        else:
            missing = [k for k, i in enumerate(indices) if i not in self._cache]
            tasks = [(self.paths[indices[k]], draws[k]) for k in missing]
            made = dict(zip(missing, self._decoders.images(tasks, self._view), strict=True))
        return [made[k] if k in made else self._cut(self._cache[i], draws[k]) for k, i in enumerate(indices)]

    def _cut(self, kept: np.ndarray, draws: list[float] | None) -> np.ndarray:
        if self._kept is self._view:
            return kept
        return decode.view(kept, self.image_size, draws, self._view.min_area)

    def _fill_cache(self, indices: list[int]) -> None:
        missing = sorted({i for i in indices if i not in self._cache})
        images = self._decoders.images([(self.paths[i], None) for i in missing], self._kept)
        for i, image in zip(missing, images, strict=True):
            self._cache[i] = image
            self._cache_left -= image.nbytes
        if len(self._cache) == len(self):
            self._decoders.close()  # nothing is left to decode


def _scan(root: Path, split: str) -> tuple[tuple[str, ...], list[str], list[int]]:
    """Class names, and every image's path and label."""
    train = root / "train"
    if not train.is_dir():
        raise DataError(f"{root}: must hold train/CLASS/*.jpg and val/CLASS/*.jpg, there is no folder train")
    folder = next((root / name for name in FOLDERS[split] if (root / name).is_dir()), None)
    if folder is None:
        raise DataError(f"{root}: must hold test/CLASS/*.jpg or val/CLASS/*.jpg, there is neither")
    class_names = tuple(sorted(entry.name for entry in train.iterdir() if _is_class(entry)))
    if not class_names:
        raise DataError(f"{train}: must hold a folder a class, there is none")
    label_of = {name: label for label, name in enumerate(class_names)}
    paths: list[str] = []
    labels: list[int] = []
    for entry in sorted(entry for entry in folder.iterdir() if _is_class(entry)):
        if entry.name not in label_of:
            raise DataError(f"{entry}: must be one of the classes in {train}, of which there are {len(class_names)}")
        found = sorted(str(file) for file in entry.iterdir() if file.suffix.lower() in decode.SUFFIXES)
        if not found:
            raise DataError(f"{entry}: must hold images ({' '.join(decode.SUFFIXES)}), there is none")
        paths += found
        labels += [label_of[entry.name]] * len(found)
    if not paths:
        raise DataError(f"{folder}: must hold a folder a class, there is none")
    return class_names, paths, labels


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")
