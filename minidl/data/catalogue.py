"""Data sets by name."""

from __future__ import annotations

import os
from pathlib import Path

from minidl.data.cifar import CIFAR, CIFAR10, CIFAR100, find
from minidl.data.dataset import Dataset
from minidl.data.folder import IMAGE_SIZE, ImageFolder
from minidl.data.multiscale import SIZE, MultiScale
from minidl.errors import DataError

__all__ = ["create_dataset", "dataset_names"]

SPLITS = ("train", "test")
CIFARS = {files.title: files for files in (CIFAR10, CIFAR100)}


def dataset_names() -> list[str]:
    """The names that `create_dataset` knows; it takes a folder as well.

    Example:
        >>> dataset_names()
        ['multiscale', 'multiscale:SIGMA', 'cifar10', 'cifar100']
    """
    return ["multiscale", "multiscale:SIGMA", *CIFARS]


def create_dataset(
    name_or_dir: str | os.PathLike[str],
    *,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    verify: bool = True,
    download: bool = False,
    image_size: int | None = None,
    workers: int | None = None,
    min_area: float = 0.08,
) -> Dataset:
    """A data set by name.

    Args:
        name_or_dir: "multiscale", the embedded set; "multiscale:2.5" the same with all classes at σ = 2.5 pixels;
            "cifar10" or "cifar100"; or a folder: one that holds the files of either, or an `ImageFolder`,
            FOLDER/train/CLASS/*.jpg and FOLDER/val (or test) likewise.
        split: "train" or "test".
        data_dir: the folder that holds the sets' own folders; None for the environment variable MINIDL_DATA,
            or else minidl in the user's cache folder.
        verify: compare files with the sums their makers published, and see that every file of a folder begins as an
            image does; `--no-verify` on the command line lifts it.
        download: fetch what is missing into `data_dir`.
        image_size: side of the images in pixels; None for the set's own, or 224 for a folder of images.
        workers: processes that decode a folder's images; None for as many as there are cores, at most 4.
        min_area: the smallest random part of a folder's image in training, as a share of its area.

    Returns:
        The split.  A folder of images decodes in processes of its own, which `close` ends.

    Raises:
        DataError: the set is unknown, missing, damaged, or cannot give that split or size.

    Example:
        >>> create_dataset("multiscale", split="test").labels.shape
        (2000,)
    """
    if split not in SPLITS:
        raise DataError(f"data: split must be train or test, got {split!r}")
    name = os.fspath(name_or_dir)
    if name.split(":")[0] == "multiscale":
        _only_size("multiscale", image_size, SIZE)
        return MultiScale(split, scale=_scale(name))
    folder = Path(name).expanduser()
    files = CIFARS.get(name) or next((f for f in CIFARS.values() if find(f, folder)), None)
    if files is not None:
        _only_size(files.title, image_size, SIZE)
        where = (Path(data_dir) if data_dir else default_data_dir()) if name in CIFARS else folder
        return CIFAR(files, split, where.expanduser(), verify=verify, download=download)
    if folder.is_dir():
        size = IMAGE_SIZE if image_size is None else image_size
        images = ImageFolder(folder, split, image_size=size, workers=workers, min_area=min_area)
        if verify:
            images.check()
        return images
    raise DataError(f"data: must be one of {', '.join(dataset_names())}, or a folder, got {name!r}")


def default_data_dir() -> Path:
    """MINIDL_DATA, or else minidl in the user's cache folder."""
    if folder := os.environ.get("MINIDL_DATA"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "minidl"


def _scale(name: str) -> float | None:
    """The σ of "multiscale:σ"."""
    _, colon, text = name.partition(":")
    try:
        return float(text) if colon else None
    except ValueError:
        raise DataError(f"multiscale: the scale after the colon must be a number, got {text!r}") from None


def _only_size(name: str, image_size: int | None, size: int) -> None:
    if image_size not in (None, size):
        raise DataError(f"{name}: image_size must be {size}, the size of its images, got {image_size}")
