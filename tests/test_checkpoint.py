"""Checkpoints: what goes in comes out, atomically, and damaged or hostile files are refused in one line."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from minidl import checkpoint, nn
from minidl.errors import CheckpointError, UserError

ARRAYS = {
    "model.w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(2.5),
    "steps": np.array([1, 2], np.int64),
    "empty": np.zeros((0, 3), np.float32),
}
META = {"epoch": 3, "σ": [0.1, 1e300], "state": {"big": 2**127}, "none": None, "best": float("inf")}


def write(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.safetensors"
    checkpoint.save(path, ARRAYS, META)
    arrays, meta = checkpoint.load(path)
    assert meta == META
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    w = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[:, :, ::2]
    checkpoint.save(tmp_path / "a", {"w": w}, {})
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "a")[0]["w"], w)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a", ARRAYS, META)
    checkpoint.save(tmp_path / "b", dict(reversed(ARRAYS.items())), dict(reversed(META.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_save_leaves_the_file_before_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, ARRAYS, META)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoint.save(path, ARRAYS, {"bad": object()})
    with pytest.raises(Exception, match="object"):
        checkpoint.save(path, {"bad": np.array([object()])}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*a.safetensors"):
        checkpoint.save(tmp_path / "file" / "a.safetensors", ARRAYS, META)


def good(tmp_path: Path) -> bytes:
    checkpoint.save(tmp_path / "good", ARRAYS, META)
    return (tmp_path / "good").read_bytes()


@pytest.mark.parametrize("keep", [0, 7, 8, 40, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(good(tmp_path)[:keep])
    with pytest.raises(CheckpointError, match="truncated or no safetensors file"):
        checkpoint.load(path)


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        (b"\x80\x04\x95pickle", b"", None, "truncated or no safetensors file"),
        (b"PK\x03\x04", b"", None, "truncated or no safetensors file"),
        (b"{}", b"", 1 << 62, "truncated or no safetensors file"),
        (b"{}", b"", 99_000_000, "truncated or no safetensors file"),
        ({"a": {**TENSOR, "shape": [3]}}, b"\0" * 8, None, "truncated or no safetensors file"),
        ({"a": {**TENSOR, "shape": [1 << 40, 1 << 40]}}, b"\0" * 8, None, "truncated or no safetensors file"),
        ({"a": {**TENSOR, "data_offsets": [0, 800]}}, b"\0" * 8, None, "truncated or no safetensors file"),
        ({"a": TENSOR, "b": TENSOR}, b"\0" * 8, None, "truncated or no safetensors file"),
        ({"a": {**TENSOR, "dtype": "BF16", "shape": [4]}}, b"\0" * 8, None, "dtype that NumPy has not .*bfloat16"),
        ({"a": TENSOR}, b"\0" * 8, None, "is no minidl checkpoint"),
        ({"a": TENSOR, "__metadata__": {"minidl": "{"}}, b"\0" * 8, None, "its dictionary is not JSON"),
        ({"a": TENSOR, "__metadata__": {"minidl": "[" * 99_999}}, b"\0" * 8, None, "its dictionary is not JSON"),
        ({"a": TENSOR, "__metadata__": {"minidl": "[1]"}}, b"\0" * 8, None, "its dictionary is a list"),
    ],
)
def test_hostile(tmp_path: Path, header, data: bytes, length: int | None, message: str) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = write(tmp_path / "a", text, data, length)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match="there is no such file"):
            checkpoint.load(path)


def test_another_models_checkpoint_says_the_first_difference() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = nn.Sequential(fc=nn.Linear(3, 2, rng=rng)), nn.Sequential(fc=nn.Linear(4, 2, rng=rng))
    with pytest.raises(
        CheckpointError,
        match=r"^run/best.safetensors: belongs to another model.*: fc.weight must have shape \(2, 3\), got \(2, 4\)$",
    ):
        checkpoint.load_module(ours, theirs.state_dict(), "run/best.safetensors")
    with pytest.raises(
        CheckpointError, match=r"weight is missing \(and 1 more like it\); fc.weight is not in the model"
    ):
        checkpoint.load_module(ours[0], theirs.state_dict(), "run/best.safetensors")
    checkpoint.load_module(ours, ours.state_dict(), "run/best.safetensors")
