"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official files, in their "python" or their "binary" layout."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minidl.data.dataset import ArrayDataset
from minidl.data.download import extract, fetch
from minidl.data.unpickle import read_pickle
from minidl.errors import DataError

__all__ = ["CIFAR", "CIFAR10", "CIFAR100", "Files"]

PIXELS = 3 * 32 * 32  # an image's bytes: planes R, G, B, each row by row
URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Files:
    """Where one of the two sets has what.

    Attributes:
        title: as in messages.
        folder, binary_folder: what the archives unpack to.
        archive, archive_md5, archive_bytes: of the python version.
        md5: of the files of the python version, as published; the binary files have no published sums.
        parts, binary_parts: the files of each split.
        names_file, names_key, binary_names_file: where the class names are.
        labels_key: of the label that counts (CIFAR-100 has a coarse one as well).
        label_bytes: before each image of the binary version; the last of them is the label that counts.
        binary_images: in each binary file of each split.
        num_classes, mean, std: of the set.
    """

    title: str
    folder: str
    binary_folder: str
    archive: str
    archive_md5: str
    archive_bytes: int
    md5: dict[str, str]
    parts: dict[str, tuple[str, ...]]
    binary_parts: dict[str, tuple[str, ...]]
    names_file: str
    names_key: bytes
    binary_names_file: str
    labels_key: bytes
    label_bytes: int
    binary_images: dict[str, int]
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CIFAR10 = Files(
    title="cifar10",
    folder="cifar-10-batches-py",
    binary_folder="cifar-10-batches-bin",
    archive="cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    archive_bytes=170_498_071,
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    parts={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    binary_parts={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    names_file="batches.meta",
    names_key=b"label_names",
    binary_names_file="batches.meta.txt",
    labels_key=b"labels",
    label_bytes=1,
    binary_images={"train": 10_000, "test": 10_000},
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
CIFAR100 = Files(
    title="cifar100",
    folder="cifar-100-python",
    binary_folder="cifar-100-binary",
    archive="cifar-100-python.tar.gz",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    archive_bytes=169_001_437,
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    parts={"train": ("train",), "test": ("test",)},
    binary_parts={"train": ("train.bin",), "test": ("test.bin",)},
    names_file="meta",
    names_key=b"fine_label_names",
    binary_names_file="fine_label_names.txt",
    labels_key=b"fine_labels",
    label_bytes=2,
    binary_images={"train": 50_000, "test": 10_000},
    num_classes=100,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


class CIFAR(ArrayDataset):
    """One split of CIFAR-10 or CIFAR-100, in memory (154 MB for 50,000 images).

    Args:
        files: `CIFAR10` or `CIFAR100`.
        split: "train" or "test".
        data_dir: the folder that holds the set's own folder, or that folder itself.
        verify: compare each file with the published MD5 sum (python version) or size (binary version).
        download: fetch the archive into `data_dir` if the set is in neither.

    Raises:
        DataError: a file is missing, cut short, not the published one, or not in either layout.

    Example:
        >>> import tempfile
        >>> CIFAR(CIFAR10, "train", data_dir=Path(tempfile.mkdtemp()))
        Traceback (most recent call last):
        minidl.errors.DataError: ...
    """

    default_augment = ("crop", "flip")

    def __init__(
        self, files: Files, split: str, data_dir: Path, *, verify: bool = True, download: bool = False
    ) -> None:
        folder = find(files, data_dir)
        if download and (folder is None or not is_complete(files, folder)):
            archive = fetch(URL + files.archive, data_dir / files.archive, files.archive_md5, files.archive_bytes)
            extract(archive, data_dir, max_bytes=2 * files.archive_bytes)
            archive.unlink()
            folder = data_dir / files.folder
        if folder is None:
            raise DataError(
                f"{files.title}: neither {files.folder} nor {files.binary_folder} is in {data_dir}; give their folder "
                f"with --data-dir, or --download to fetch {files.archive_bytes >> 20} MB"
            )
        read = _read_python if is_python_layout(files, folder) else _read_binary
        images, labels, names = read(files, folder, split, verify)
        super().__init__(images, labels, class_names=names, mean=files.mean, std=files.std)


def find(files: Files, data_dir: Path) -> Path | None:
    """The folder of the set in `data_dir`, or `data_dir` itself, if it is there."""
    for folder in (data_dir / files.folder, data_dir / files.binary_folder, data_dir):
        if is_python_layout(files, folder) or (folder / files.binary_names_file).is_file():
            return folder
    return None


def is_python_layout(files: Files, folder: Path) -> bool:
    """Whether `folder` holds the set as pickles, rather than in the binary layout."""
    return (folder / files.names_file).is_file()


def is_complete(files: Files, folder: Path) -> bool:
    """Whether every file of the set is in `folder`, in the layout that it has."""
    names = files.md5 if is_python_layout(files, folder) else sum(files.binary_parts.values(), ())
    return all((folder / name).is_file() for name in names)


def _read_python(files: Files, folder: Path, split: str, verify: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
    names_path = folder / files.names_file
    if verify:
        for name in (*files.parts[split], files.names_file):
            _check_md5(folder / name, files.md5[name])
    names = read_pickle(names_path).get(files.names_key)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise DataError(f"{names_path}: {files.names_key.decode()} must be a list of strings")
    images, labels = [], []
    for path in (folder / name for name in files.parts[split]):
        batch = read_pickle(path)
        pixels, numbers = batch.get(b"data"), batch.get(files.labels_key)
        if not isinstance(pixels, np.ndarray) or pixels.shape[1] != PIXELS:
            raise DataError(f"{path}: data must be an array (n, {PIXELS})")
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            raise DataError(f"{path}: {files.labels_key.decode()} must be a list of integers")
        images.append(pixels)
        labels.append(_checked_labels(path, np.array(numbers, np.int64), len(pixels), files))
    names = _checked_names(names_path, [name.decode("latin-1") for name in names], files)
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels), names


def _read_binary(files: Files, folder: Path, split: str, verify: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
    record = files.label_bytes + PIXELS
    images, labels = [], []
    for path in (folder / name for name in files.binary_parts[split]):
        data = np.frombuffer(_bytes(path), np.uint8)
        expected = files.binary_images[split] * record
        if verify and len(data) != expected:
            raise DataError(f"{path}: expected {expected:,} bytes, found {len(data):,}; --no-verify takes other sizes")
        if len(data) % record:
            raise DataError(f"{path}: expected a multiple of {record:,} bytes (a record), found {len(data):,}")
        records = data.reshape(-1, record)
        images.append(records[:, files.label_bytes :])
        labels.append(_checked_labels(path, records[:, files.label_bytes - 1].astype(np.int64), len(records), files))
    names_path = folder / files.binary_names_file
    names = _checked_names(names_path, _bytes(names_path).decode("latin-1").split(), files)
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels), names


def _checked_labels(path: Path, labels: np.ndarray, n: int, files: Files) -> np.ndarray:
    if len(labels) != n or n == 0:
        raise DataError(f"{path}: must have a label for each image, and an image, found {len(labels)} for {n}")
    wrong = labels[(labels < 0) | (labels >= files.num_classes)]
    if len(wrong):
        raise DataError(f"{path}: labels must be within 0 and {files.num_classes - 1}, found {wrong[0]}")
    return labels


def _checked_names(path: Path, names: Sequence[str], files: Files) -> list[str]:
    if len(names) != files.num_classes or not all(name.isprintable() and 0 < len(name) < 50 for name in names):
        raise DataError(f"{path}: must name {files.num_classes} classes, found {len(names)}")
    return list(names)


def _check_md5(path: Path, expected: str) -> None:
    if (found := hashlib.md5(_bytes(path), usedforsecurity=False).hexdigest()) != expected:
        raise DataError(
            f"{path}: MD5 must be the published {expected}, found {found} ({path.stat().st_size:,} bytes); "
            "--no-verify (verify=False) takes the file as it is"
        )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
