"""CIFAR's two layouts, made small; damaged files, hostile files; and the real set where it is at hand."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from minidl.data import CIFAR, CIFAR10, CIFAR100, create_dataset
from minidl.data.cifar import PIXELS, Files
from minidl.data.unpickle import read_pickle
from minidl.errors import DataError


class Python2Pickler:
    """Writes what Python 2 (protocol 2) and its NumPy wrote: every container and string is put in the memo."""

    def __init__(self) -> None:
        self.stored = 0

    def put(self) -> bytes:
        self.stored += 1
        return b"q" + bytes([self.stored]) if self.stored < 256 else b"r" + struct.pack("<I", self.stored)

    def write(self, value) -> bytes:
        if value is None:
            return b"N"
        if isinstance(value, int):
            for opcode, form, limit in ((b"K", "<B", 2**8), (b"M", "<H", 2**16)):
                if 0 <= value < limit:
                    return opcode + struct.pack(form, value)
            return b"J" + struct.pack("<i", value)
        if isinstance(value, bytes):
            short = len(value) < 256
            return (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value + self.put()
        if isinstance(value, list):
            return b"]" + self.put() + b"(" + b"".join(map(self.write, value)) + b"e"
        if isinstance(value, dict):
            items = b"".join(self.write(key) + self.write(item) for key, item in value.items())
            return b"}" + self.put() + b"(" + items + b"u"
        return self.array(value)

    def array(self, value: np.ndarray) -> bytes:
        made = b"cnumpy.core.multiarray\n_reconstruct\n" + self.put() + b"cnumpy\nndarray\n" + self.put()
        made += b"K\x00\x85" + self.write(b"b") + b"\x87R" + self.put()
        shape = b"".join(map(self.write, value.shape)) + b"\x86"
        dtype = b"cnumpy\ndtype\n" + self.put() + self.write(b"u1") + b"K\x00K\x01\x87R" + self.put()
        dtype += b"(K\x03" + self.write(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        return made + b"(K\x01" + shape + dtype + b"\x89" + self.write(value.tobytes()) + b"tb"


def python2_pickle(value) -> bytes:
    return b"\x80\x02" + Python2Pickler().write(value) + b"."


def sample(n: int, num_classes: int, seed: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, PIXELS)).astype(np.uint8), rng.integers(0, num_classes, n).tolist()


def names(files: Files) -> list[str]:
    return [f"class{i}" for i in range(files.num_classes)]


def write_python(files: Files, folder: Path, n: int = 4) -> None:
    folder.mkdir(parents=True)
    for seed, part in enumerate(files.parts["train"] + files.parts["test"]):
        pixels, labels = sample(n, files.num_classes, seed)
        batch = {b"batch_label": b"a batch", files.labels_key: labels, b"data": pixels, b"filenames": [b"a.png"] * n}
        (folder / part).write_bytes(python2_pickle(batch))
    meta = {b"num_vis": PIXELS, files.names_key: [name.encode() for name in names(files)]}
    (folder / files.names_file).write_bytes(python2_pickle(meta))


def write_binary(files: Files, folder: Path, n: int = 4) -> None:
    folder.mkdir(parents=True)
    for seed, part in enumerate(files.binary_parts["train"] + files.binary_parts["test"]):
        pixels, labels = sample(n, files.num_classes, seed)
        before = np.full((n, files.label_bytes), 7, np.uint8)  # CIFAR-100's coarse label comes first
        before[:, -1] = labels
        (folder / part).write_bytes(np.hstack([before, pixels]).tobytes())
    (folder / files.binary_names_file).write_text("\n".join(names(files)) + "\n")


BOTH = pytest.mark.parametrize("files", [CIFAR10, CIFAR100], ids=lambda f: f.title)


@BOTH
@pytest.mark.parametrize("layout", ["python", "binary"])
def test_both_layouts_give_the_same_images(files: Files, layout: str, tmp_path: Path) -> None:
    write = write_python if layout == "python" else write_binary
    folder = tmp_path / (files.folder if layout == "python" else files.binary_folder)
    write(files, folder)
    for split in ("train", "test"):
        data = create_dataset(files.title, split=split, data_dir=tmp_path, verify=False)
        seeds = range(len(files.parts["train"]))
        parts = [sample(4, files.num_classes, s) for s in (seeds if split == "train" else [len(seeds)])]
        np.testing.assert_array_equal(data.images.reshape(-1, PIXELS), np.concatenate([p for p, _ in parts]))
        np.testing.assert_array_equal(data.labels, np.concatenate([labels for _, labels in parts]))
        assert data.class_names == tuple(names(files)) and data.image_shape == (3, 32, 32)
    assert len(create_dataset(folder, verify=False)) == len(data) * len(seeds)  # named by its folder


def test_the_folder_of_the_set_is_found_by_the_environment(tmp_path: Path, monkeypatch) -> None:
    write_python(CIFAR10, tmp_path / CIFAR10.folder)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    assert len(create_dataset("cifar10", split="test", verify=False)) == 4


def test_sums_are_checked_unless_lifted(tmp_path: Path) -> None:
    folder = tmp_path / CIFAR10.folder
    write_python(CIFAR10, folder)
    with pytest.raises(DataError, match=r"data_batch_1: MD5 must be the published c99c.*found .*--no-verify"):
        CIFAR(CIFAR10, "train", tmp_path)
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in CIFAR10.md5}
    assert len(CIFAR(dataclasses.replace(CIFAR10, md5=sums), "train", tmp_path)) == 20


def test_binary_files_of_another_size_are_refused_unless_lifted(tmp_path: Path) -> None:
    folder = tmp_path / CIFAR10.binary_folder
    write_binary(CIFAR10, folder)
    with pytest.raises(DataError, match=r"data_batch_1.bin: expected 30,730,000 bytes, found 12,292; --no-verify"):
        CIFAR(CIFAR10, "train", tmp_path)
    with open(folder / "test_batch.bin", "rb+") as file:
        file.truncate(5000)
    with pytest.raises(DataError, match=r"test_batch.bin: expected a multiple of 3,073 bytes .* found 5,000"):
        CIFAR(CIFAR10, "test", tmp_path, verify=False)


@BOTH
def test_missing_sets_and_files_are_named(files: Files, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{files.title}: neither .* --data-dir, or --download to fetch 16. MB"):
        create_dataset(files.title, data_dir=tmp_path)
    write_python(files, tmp_path / files.folder)
    (tmp_path / files.folder / files.parts["train"][-1]).unlink()
    with pytest.raises(DataError, match=f"{files.parts['train'][-1]}: cannot be read: No such file"):
        create_dataset(files.title, data_dir=tmp_path, verify=False)
    with pytest.raises(DataError, match="image_size must be 32"):
        create_dataset(files.title, data_dir=tmp_path, image_size=64)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999999])
def test_a_file_cut_short_is_named_with_both_sizes(share: float, tmp_path: Path) -> None:
    write_python(CIFAR10, tmp_path / CIFAR10.folder)
    path = tmp_path / CIFAR10.folder / "test_batch"
    size = int(path.stat().st_size * share)
    os.truncate(path, size)
    with pytest.raises(DataError, match=rf"test_batch: cut short: expected at least .* bytes, found {size:,}$"):
        CIFAR(CIFAR10, "test", tmp_path, verify=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"labels": [0, 1, 2, 10]}, "test_batch: labels must be within 0 and 9, found 10"),
        ({b"labels": [0, 1, 2, -1]}, "test_batch: labels must be within 0 and 9, found -1"),
        ({b"labels": [0, 1, 2]}, "test_batch: must have a label for each image, .* found 3 for 4"),
        ({b"labels": [0, 1, 2, b"3"]}, "test_batch: labels must be a list of integers"),
        ({b"labels": b"0123"}, "test_batch: labels must be a list of integers"),
        ({b"data": [1, 2]}, r"test_batch: data must be an array \(n, 3072\)"),
        ({b"data": np.zeros((4, 3071), np.uint8)}, r"test_batch: data must be an array \(n, 3072\)"),
        ({b"data": np.zeros((0, PIXELS), np.uint8), b"labels": []}, "test_batch: must have a label .* and an image"),
    ],
)
def test_contents_that_do_not_fit_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    write_python(CIFAR10, tmp_path / CIFAR10.folder)
    pixels, labels = sample(4, 10, 0)
    batch = {b"labels": labels, b"data": pixels} | change
    (tmp_path / CIFAR10.folder / "test_batch").write_bytes(python2_pickle(batch))
    with pytest.raises(DataError, match=message):
        CIFAR(CIFAR10, "test", tmp_path, verify=False)


def test_class_names_are_checked(tmp_path: Path) -> None:
    write_python(CIFAR10, tmp_path / CIFAR10.folder)
    path = tmp_path / CIFAR10.folder / "batches.meta"
    for value, message in [
        ({b"label_names": [b"cat"] * 9}, "batches.meta: must name 10 classes, found 9"),
        ({b"label_names": [b"cat\x1b[2J"] * 10}, "batches.meta: must name 10 classes"),
        ({b"label_names": [1] * 10}, "batches.meta: label_names must be a list of strings"),
        ({}, "batches.meta: label_names must be a list of strings"),
    ]:
        path.write_bytes(python2_pickle(value))
        with pytest.raises(DataError, match=message):
            CIFAR(CIFAR10, "test", tmp_path, verify=False)


# Hostile files.

ran: list[str] = []


def exploit(*arguments) -> None:
    ran.append("exploited")


class Reduces:
    """An object that pickles as the call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
DTYPE = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
# A tuple of lists, each of ten times the one before: 10^50 elements, if somebody counts them.
BOMB = b"(]q\x00" + b"".join(b"](" + b"h\x00" * 10 + b"eq\x00" for _ in range(50)) + b"t"
PICKLE2, KEY = b"\x80\x02", b"}U\x04data"

ATTACKS = {
    "os.system": PICKLE2 + b"cos\nsystem\nU\x04true\x85R.",
    "os.system, as Python 3 writes it": pickle.dumps(Reduces(os.system, "true"), 2),
    "a function of this file": pickle.dumps({b"data": Reduces(exploit)}, 2),
    "protocol 4": pickle.dumps({b"data": Reduces(exploit)}, 4),
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "builtins eval": PICKLE2 + b"cbuiltins\neval\nU\x011\x85R.",
    "INST": PICKLE2 + b"(U\x04trueios\nsystem\n.",
    "OBJ": PICKLE2 + b"(cnumpy\nndarray\nK\x01o.",
    "NEWOBJ": PICKLE2 + b"cnumpy\nndarray\nK\x01\x85\x81.",
    "STACK_GLOBAL": PICKLE2 + b"U\x02osU\x06system\x93.",
    "EXT1": PICKLE2 + b"\x82\x01.",
    "persistent id": PICKLE2 + b"U\x01aQ.",
    "a numpy ufunc's reduce": PICKLE2 + b"cnumpy\nufunc\ncnumpy\nadd\nU\x06reduce\x86R.",
    "numpy.load": PICKLE2 + b"cnumpy\nload\nU\x05a.npy\x85R.",
    "ndarray called": PICKLE2 + b"cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft\x85R.",
    "reconstruct with a huge shape": PICKLE2
    + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01b\x87R.",
    "dtype of objects": PICKLE2 + b"cnumpy\ndtype\nU\x01OK\x00K\x01\x87R.",
    "array larger than its bytes": PICKLE2
    + KEY + ARRAY + b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86" + DTYPE + b"\x89U\x01atbs.",
    "array of negative lengths": PICKLE2
    + KEY + ARRAY + b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + DTYPE + b"\x89U\x01atbs.",
    "array state that is a list": PICKLE2 + KEY + ARRAY + b"]bs.",
    "a dictionary's state": PICKLE2 + b"}}b.",
    "string longer than the file": PICKLE2 + b"T\xff\xff\xff\x7fabc.",
    "string of negative length": PICKLE2 + b"T\xff\xff\xff\xffabc.",
    "memo that was never stored": PICKLE2 + b"j\xff\xff\xff\x7f.",
    "memo bomb as a key": PICKLE2 + b"}" + BOMB + b"K\x01s.",
    "memo bomb as a call": PICKLE2 + b"cnumpy\ndtype\n" + BOMB + b"R.",
    "list that holds itself": PICKLE2 + b"]q\x00h\x00a.",
    "two objects": PICKLE2 + b"}}.",
    "nothing": PICKLE2 + b".",
    "pop from nothing": PICKLE2 + b"a.",
    "pop through a mark": PICKLE2 + b"}(s.",
    "append to an integer": PICKLE2 + b"K\x01K\x01a.",
    "no mark": PICKLE2 + b"}u.",
    "a name without end": PICKLE2 + b"c" + b"a" * 10_000,
    "a million opcodes": PICKLE2 + b"]" * 1_000_001,
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_files_are_refused_and_run_nothing(attack: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "system", exploit)
    path = tmp_path / "test_batch"
    path.write_bytes(ATTACKS[attack])
    with pytest.raises(DataError, match=r"test_batch: (not one of CIFAR's pickle files: |cut short: )") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert ran == []


def test_a_memo_bomb_where_data_should_be_is_refused_quickly(tmp_path: Path) -> None:
    write_python(CIFAR10, tmp_path / CIFAR10.folder)
    path = tmp_path / CIFAR10.folder / "test_batch"
    path.write_bytes(PICKLE2 + b"}U\x06labels" + BOMB + b"s" + KEY[1:] + b"h\x00s.")
    with pytest.raises(DataError, match=r"data must be an array"):
        CIFAR(CIFAR10, "test", tmp_path, verify=False)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "test_batch"
    with open(path, "wb") as file:
        file.truncate(1 << 30)  # a hole: takes no room on the disk
    with pytest.raises(DataError, match="must have at most 268,435,456 bytes, found 1,073,741,824"):
        read_pickle(path)


def test_our_reader_agrees_with_pickle_on_what_it_accepts(tmp_path: Path) -> None:
    pixels, labels = sample(30, 10, 0)
    batch = {b"labels": labels, b"data": pixels, b"filenames": [b"x" * 300, b"", b"y"], b"n": [None, 70_000, -5]}
    path = tmp_path / "batch"
    path.write_bytes(python2_pickle(batch))
    ours = read_pickle(path)
    np.testing.assert_array_equal(ours.pop(b"data"), batch.pop(b"data"))
    assert ours == batch


@pytest.mark.data
def test_the_real_cifar10() -> None:
    if not os.environ.get("MINIDL_DATA"):
        pytest.skip("MINIDL_DATA is not set")
    try:
        data = create_dataset("cifar10", split="test", verify=False)
    except DataError as error:
        pytest.skip(str(error))
    np.testing.assert_array_equal(np.bincount(data.labels), [1000] * 10)
    assert data.class_names[3] == "cat"
    np.testing.assert_allclose(data.images.mean((0, 2, 3)) / 255, data.mean, atol=0.01)
    np.testing.assert_allclose(data.images.std((0, 2, 3)) / 255, data.std, atol=0.01)
