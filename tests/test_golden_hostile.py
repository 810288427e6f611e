"""Results and manifests that are damaged or mean harm: one line each, and nothing else happens."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl.check.golden.arrays import Found, Spec, read_group
from minidl.check.golden.vectors import export
from minidl.check.golden.verify import verify
from minidl.errors import UserError
from tests.golden_helpers import answer_all

Y = np.arange(6, dtype=np.float32).reshape(2, 3)
WANTED = {"output": Spec("float32", (2, 3))}


def found_in(tmp_path: Path) -> Found:
    return read_group(tmp_path, "case-0", WANTED)


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def archive(tmp_path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    path = tmp_path / "case-0.npz"
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


class Bomb:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.target, "w")


# One array in an archive


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(Y.astype(np.float64)), "is float64 2×3, not float32 2×3"),
        (npy(Y.astype(">f4")), "is >f4 2×3, not float32 2×3"),
        (npy(Y.astype(np.complex64)), "is complex64 2×3, not float32 2×3"),
        (npy(Y.T.copy()), "is float32 3×2, not float32 2×3"),
        (npy(np.float32(1).reshape(())), "is float32 scalar, not float32 2×3"),
        (npy(Y)[:-4], "is truncated"),
        (npy(Y) + b"more", "is longer than its shape says"),
        (b"", "is damaged (EOF: reading magic string, expected 8 bytes got 0)"),
        (b"\x93NUMPY\x07\x00", "is in version (7, 0) of NumPy's format, not 1.0 or 2.0"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "is damaged ("),
        (npy(np.array([{}, 1, 2], object), allow_pickle=True), "holds pickled objects, which are never read"),
        (npy(np.zeros((2, 3), [("a", "f4")])), "is [('a', '<f4')] 2×3, not float32 2×3"),
    ],
)
def test_arrays_that_are_not_what_was_asked_for(tmp_path: Path, data: bytes, message: str) -> None:
    archive(tmp_path, ("output.npy", data))
    found = found_in(tmp_path)
    assert not found.arrays
    assert found.refused["output"].startswith(message)
    assert "\n" not in found.refused["output"]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    objects = np.array([Bomb(str(mark))] * 6, object).reshape(2, 3)
    archive(tmp_path, ("output.npy", npy(objects, allow_pickle=True)))
    assert "pickled" in found_in(tmp_path).refused["output"]
    (tmp_path / "case-0.npz").write_bytes(pickle.dumps(Bomb(str(mark))))
    assert str(found_in(tmp_path).unreadable) == "is damaged or no npz (File is not a zip file)"
    assert not mark.exists()


def test_names_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    archive(tmp_path, ("output.npy", npy(Y)), ("../../escaped.npy", npy(Y)), ("\x1b[2J.npy", npy(Y)), ("a", b""))
    found = found_in(tmp_path)
    np.testing.assert_array_equal(found.arrays["output"], Y)
    assert found.extra == [
        "case-0.npz: ../../escaped.npy is not asked for",
        "case-0.npz: \\x1b[2J.npy is not asked for",
        "case-0.npz: a is not asked for",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["case-0.npz"]


def test_an_archive_that_unpacks_without_end_is_read_no_further_than_its_array(tmp_path: Path) -> None:
    endless = npy(Y) + bytes(50_000_000)
    path = archive(tmp_path, ("output.npy", endless), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert found_in(tmp_path).refused["output"] == "is longer than its shape says"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice(tmp_path: Path) -> None:
    archive(tmp_path, ("output.npy", npy(Y)), ("output.npy", npy(Y)))
    assert found_in(tmp_path).refused == {"output": "is there 2 times in case-0.npz"}


def test_damage_inside_an_archive(tmp_path: Path) -> None:
    path = archive(tmp_path, ("output.npy", npy(Y)))
    data = bytearray(path.read_bytes())
    data[data.index(Y.tobytes()[4:])] ^= 1
    path.write_bytes(data)
    assert "Bad CRC-32" in found_in(tmp_path).refused["output"]
    path.write_bytes(data[: len(data) // 2])
    assert "is damaged or no npz" in str(found_in(tmp_path).unreadable)


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_is_indifferent(tmp_path: Path, order: str) -> None:
    archive(tmp_path, ("output.npy", npy(np.array(Y, order=order))))  # type: ignore[call-overload]
    np.testing.assert_array_equal(found_in(tmp_path).arrays["output"], Y)


# Bare files


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "has 0 bytes, not the 24 of float32 2×3"),
        (23, "has 23 bytes, not the 24 of float32 2×3"),
        (48, "has 48 bytes, not the 24 of float32 2×3: is it float64?"),
    ],
)
def test_bare_files_of_another_size(tmp_path: Path, size: int, message: str) -> None:
    (tmp_path / "case-0").mkdir()
    (tmp_path / "case-0" / "output.bin").write_bytes(bytes(size))
    assert found_in(tmp_path).refused == {"output": message}


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_bytes(Y.tobytes())
    (folder := tmp_path / "case-0").mkdir()
    (folder / "output.bin").symlink_to(secret)
    assert found_in(tmp_path).refused == {"output": "is a symbolic link"}
    (folder / "output.bin").unlink()
    os.mkfifo(folder / "output.bin")
    assert found_in(tmp_path).refused == {"output": "is no ordinary file"}
    (folder / "output.bin").unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert found_in(tmp_path).unreadable == "is a symbolic link"
    folder.unlink()
    os.mkfifo(tmp_path / "case-0.npz")
    assert found_in(tmp_path).unreadable == "is no ordinary file"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is truncated or no safetensors file"),
        (b"\xff" * 8 + b"{}", "is truncated or no safetensors file"),
        (b"\x02" + bytes(7) + b"[]", "is truncated or no safetensors file"),
        (bytes(2_000_000), "has 2,000,000 bytes, more than the 1,048,600 that its arrays can fill"),
    ],
)
def test_damaged_safetensors(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "case-0.safetensors").write_bytes(data)
    assert str(found_in(tmp_path).unreadable).startswith(message)


def test_a_group_that_is_there_in_two_forms(tmp_path: Path) -> None:
    archive(tmp_path, ("output.npy", npy(Y)))
    (tmp_path / "case-0").mkdir()
    assert found_in(tmp_path).unreadable == "is there more than once: case-0.npz, case-0/"


# Whole folders


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    export(["exp"], tmp_path / "vectors", form="raw")
    answer_all(tmp_path / "vectors", tmp_path / "results", "raw")
    return tmp_path / "vectors", tmp_path / "results"


def test_a_missing_case_is_one_wrong_line(folders: tuple[Path, Path]) -> None:
    vectors, results = folders
    for path in (results / "exp-1").iterdir():
        path.unlink()
    (results / "exp-1").rmdir()
    lines = verify(vectors, results).text(only_wrong=True).splitlines()
    assert lines[0] == "WRONG  exp-1 is missing: no exp-1.npz or exp-1.safetensors or exp-1/"
    assert lines[1].startswith("2 of 3 cases are right")
    assert len(lines) == 2


def test_not_a_number_is_wrong(folders: tuple[Path, Path]) -> None:
    vectors, results = folders
    np.full((2, 5), np.nan, np.float32).tofile(results / "exp-0" / "output.bin")
    (wrong,) = [v for v in verify(vectors, results).verdicts if not v.passed]
    assert wrong.ratio == np.inf
    assert "nan, expected" in wrong.says


def test_files_that_nobody_asked_for_are_refused(folders: tuple[Path, Path]) -> None:
    vectors, results = folders
    (results / "exp-0" / "output.txt").write_text("")
    for i in range(30):
        (results / f"other-{i:02}\n.npz").write_text("")
    report = verify(vectors, results)
    assert not report.passed
    assert all(v.passed for v in report.verdicts)
    assert report.refused[0] == "other-00\\n.npz is not asked for"
    assert report.refused[20] == "… and 10 more files that are not asked for"
    assert report.refused[21] == "exp-0/output.txt is not asked for"
    assert len(str(report).splitlines()) == 6 + 22 + 1


def test_results_that_are_not_there(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such folder of results"):
        verify(folders[0], tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no manifest.json"):
        verify(folders[1], folders[1])


def change(path: tuple[Any, ...], value: Any) -> Callable[[Any], Any]:
    def changed(document: Any) -> Any:
        at = document
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        return document

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (change(("version",), 2), "must be minidl-golden 1, got minidl-golden 2"),
        (change(("groups", 0, "id"), "../exp-0"), "a name must be letters, digits and . _ -, got '../exp-0'"),
        (change(("groups", 0, "arrays", 0, "name"), "/etc/passwd"), "a name must be"),
        (change(("groups", 0, "arrays", 0, "name"), ".."), "a name must be"),
        (change(("groups", 0, "arrays", 0, "dtype"), "object"), "must be one of float32"),
        (change(("groups", 0, "arrays", 0, "shape"), [-1]), "a shape must be"),
        (change(("groups", 0, "arrays", 0, "shape"), [10**9, 10**9]), "is too large"),
        (change(("groups", 0, "arrays", 0, "shape"), 3), "TypeError"),
        (change(("groups", 1, "id"), "exp-0"), "two groups share an id"),
        (change(("groups",), None), "TypeError"),
        (change(("kind",), "other"), "must be one of operations, model"),
        (change(("model",), {}), "model must be there in a manifest of that kind, and only there"),
        (change(("groups", 0, "results", 0, "shape"), [2, 6]), "has no float64 expected.output shaped as its result"),
        (lambda document: [], "TypeError"),
    ],
)
def test_manifests_that_are_wrong(folders: tuple[Path, Path], changed: Callable[[Any], Any], message: str) -> None:
    vectors, results = folders
    path = vectors / "manifest.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()))))
    with pytest.raises(UserError) as caught:
        verify(vectors, results)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\ud800", "\x00"])
def test_manifests_that_are_no_json(folders: tuple[Path, Path], text: str) -> None:
    vectors, results = folders
    (vectors / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match="is damaged or no manifest") as caught:
        verify(vectors, results)
    assert "\n" not in str(caught.value)


def test_damaged_vectors_are_not_blamed_on_the_results(folders: tuple[Path, Path]) -> None:
    vectors, results = folders
    (vectors / "exp-0" / "bound.output.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"exp-0: bound\.output has 0 bytes, not the 80 of float64 2×5"):
        verify(vectors, results)
