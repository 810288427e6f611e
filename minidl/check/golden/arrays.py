"""Named arrays on disk, in three forms, read without trust.

A group of arrays called `conv2d-0` lies in its folder as one of

    conv2d-0.npz            NumPy's archive
    conv2d-0.safetensors    8 bytes, a JSON header, the data: readers exist in most languages
    conv2d-0/               raw: a file NAME.bin per array, little-endian, C order, nothing else in it

The raw form needs no library at all; shapes and dtypes stand in the manifest.  What others hand in is read by what the
manifest asks for: nothing is unpickled, no link is followed, and nothing is read that is longer than it must be.
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from minidl import checkpoint
from minidl.errors import CheckpointError, UserError

__all__ = ["FORMATS", "NAME", "Found", "Spec", "place", "printable", "read_group", "read_own", "write_group"]

FORMATS = ("npz", "safetensors", "raw")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of groups and arrays: no separator, not hidden, no ".."
DTYPES = ("float32", "float64", "int64", "bool")
_HEADROOM = 1 << 20  # bytes of a container beside its arrays


@dataclass(frozen=True)
class Spec:
    """Kind of one array.

    Example:
        >>> Spec("float32", (2, 3)).nbytes, str(Spec("float32", (2, 3))), str(Spec("int64", ()))
        (24, 'float32 2×3', 'int64 scalar')
    """

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> Spec:
        """The kind of `array`."""
        return cls(array.dtype.name, array.shape)

    @property
    def nbytes(self) -> int:
        size = 1
        for n in self.shape:
            size *= n
        return size * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {'×'.join(map(str, self.shape)) or 'scalar'}"


@dataclass
class Found:
    """What a group held.

    Attributes:
        arrays: by name, of the dtypes and shapes asked for.
        missing: name of an array asked for that is not there → what was looked for.
        refused: name of one that is there → why it cannot be taken.
        extra: a line for each thing there that nobody asked for.
        unreadable: why nothing could be read at all; None if something could.
        absent: whether there is nothing by the group's name.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    unreadable: str | None = None
    absent: bool = False


def place(group: str, form: str) -> str:
    """Where a group lies in its folder.

    Example:
        >>> place("conv2d-0", "npz"), place("conv2d-0", "raw")
        ('conv2d-0.npz', 'conv2d-0/')
    """
    return f"{group}/" if form == "raw" else f"{group}.{form}"


def printable(name: str) -> str:
    """A file's name as it can be shown: no control characters, not endless.

    Example:
        >>> print(printable("a\\x1b[2J.npz"))
        a\\x1b[2J.npz
    """
    shown = name.encode("unicode_escape", "backslashreplace").decode("ascii")
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def write_group(folder: Path, group: str, arrays: Mapping[str, np.ndarray], form: str) -> None:
    """Write `arrays` as a group of form "npz", "safetensors" or "raw"; the same arrays give the same bytes."""
    path = folder / place(group, form)
    if form == "npz":
        np.savez(path, allow_pickle=False, **arrays)
    elif form == "safetensors":
        checkpoint.save(path, arrays, {"group": group})
    else:
        path.mkdir()
        for name, array in arrays.items():
            (path / f"{name}.bin").write_bytes(_little_endian(array))


def _little_endian(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def read_group(folder: Path, group: str, wanted: Mapping[str, Spec]) -> Found:
    """The arrays `wanted` of a group, in whichever form it lies there; never raises for what a file holds.

    Args:
        folder: holds the group.
        group: its name.
        wanted: dtype and shape of every array by name.
    """
    there = [form for form in FORMATS if _exists(folder / place(group, form))]
    found = Found()
    if not there:
        found.absent = True
        found.unreadable = f"is missing: no {' or '.join(place(group, form) for form in FORMATS)}"
    elif len(there) > 1:
        found.unreadable = f"is there more than once: {', '.join(place(group, form) for form in there)}"
    elif (path := folder / place(group, there[0])).is_symlink():
        found.unreadable = "is a symbolic link"
    elif not (path.is_dir() if there[0] == "raw" else _regular(path)):
        found.unreadable = "is no folder" if there[0] == "raw" else "is no ordinary file"
    else:
        try:
            READERS[there[0]](path, wanted, found)
        except Exception as error:  # whatever a damaged or hostile file provokes in its parser
            found = Found(unreadable=f"is damaged or no {there[0]} ({_one_line(error)})")
    return found


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _one_line(error: BaseException) -> str:
    return printable(checkpoint.one_line(error))


def _read_raw(path: Path, wanted: Mapping[str, Spec], found: Found) -> None:
    files = {f"{name}.bin": name for name in wanted}
    for entry in sorted(path.iterdir()):
        if entry.name not in files:
            found.extra.append(f"{path.name}/{printable(entry.name)} is not asked for")
    for file, name in files.items():
        entry, spec = path / file, wanted[name]
        if not _exists(entry):
            found.missing[name] = f"is missing: no {path.name}/{file}"
        elif not _regular(entry):
            found.refused[name] = "is a symbolic link" if entry.is_symlink() else "is no ordinary file"
        elif (size := entry.stat().st_size) != spec.nbytes:
            found.refused[name] = f"has {size:,} bytes, not the {spec.nbytes:,} of {spec}{_hint(size, spec)}"
        else:
            found.arrays[name] = _from_bytes(entry.read_bytes(), spec)


def _hint(size: int, spec: Spec) -> str:
    other = {"float32": "float64", "float64": "float32"}.get(spec.dtype)
    return f": is it {other}?" if other and size and size == Spec(other, spec.shape).nbytes else ""


def _from_bytes(data: bytes, spec: Spec, order: str = "C") -> np.ndarray:
    """An array of its own from its bytes, little-endian."""
    flat = np.frombuffer(data, np.dtype(spec.dtype).newbyteorder("<")).astype(spec.dtype)
    return flat.reshape(spec.shape, order=order)  # type: ignore[call-overload]


def _read_npz(path: Path, wanted: Mapping[str, Spec], found: Found) -> None:
    with zipfile.ZipFile(path) as archive:
        members: dict[str, list[zipfile.ZipInfo]] = {}
        for member in archive.infolist():
            members.setdefault(member.filename, []).append(member)
        for file in members:
            if file.removesuffix(".npy") not in wanted or not file.endswith(".npy"):
                found.extra.append(f"{path.name}: {printable(file)} is not asked for")
        for name, spec in wanted.items():
            here = members.get(f"{name}.npy", [])
            if not here:
                found.missing[name] = f"is missing in {path.name}"
                continue
            if len(here) > 1:
                found.refused[name] = f"is there {len(here)} times in {path.name}"
                continue
            try:
                with archive.open(here[0]) as data:
                    found.arrays[name] = _read_npy(data, spec)
            except _Unlike as error:
                found.refused[name] = str(error)
            except Exception as error:  # see read_group
                found.refused[name] = f"is damaged ({_one_line(error)})"


class _Unlike(Exception):
    """An array is not what was asked for."""


def _read_npy(file: IO[bytes], spec: Spec) -> np.ndarray:
    """An array in NumPy's format, its header compared before its data are read."""
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Callable[..., Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise _Unlike(f"is in version {version} of NumPy's format, not 1.0 or 2.0")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise _Unlike("holds pickled objects, which are never read")
    if dtype.str.lstrip("<|=") != np.dtype(spec.dtype).str.lstrip("<|=") or shape != spec.shape:
        given = "×".join(map(str, shape)) or "scalar"
        raise _Unlike(f"is {printable(str(dtype))} {given:.80}, not {spec}")
    data = file.read(spec.nbytes + 1)
    if len(data) != spec.nbytes:
        raise _Unlike(f"is {'truncated' if len(data) < spec.nbytes else 'longer than its shape says'}")
    return _from_bytes(data, spec, "F" if fortran else "C")


def _read_safetensors(path: Path, wanted: Mapping[str, Spec], found: Found) -> None:
    limit = sum(spec.nbytes for spec in wanted.values()) + _HEADROOM
    if (size := path.stat().st_size) > limit:
        found.unreadable = f"has {size:,} bytes, more than the {limit:,} that its arrays can fill"
        return
    try:
        arrays = checkpoint.read_safetensors(path)[0]
    except CheckpointError as error:
        found.unreadable = printable(str(error).partition(": ")[2])
        return
    for name, array in arrays.items():
        if name not in wanted:
            found.extra.append(f"{path.name}: {printable(name)} is not asked for")
        elif Spec.of(array) != wanted[name]:
            found.refused[name] = f"is {Spec.of(array)}, not {wanted[name]}"
        else:
            found.arrays[name] = array
    found.missing |= {name: f"is missing in {path.name}" for name in wanted if name not in arrays}


READERS: dict[str, Callable[[Path, Mapping[str, Spec], Found], None]] = {
    "npz": _read_npz,
    "safetensors": _read_safetensors,
    "raw": _read_raw,
}


def read_own(folder: Path, group: str, wanted: Mapping[str, Spec]) -> dict[str, np.ndarray]:
    """The arrays of a group of an export, all of them.

    Raises:
        UserError: one is missing or damaged.
    """
    found = read_group(folder, group, wanted)
    if found.unreadable:
        raise UserError(f"{folder}: {group} {found.unreadable}")
    for name, why in (found.missing | found.refused).items():
        raise UserError(f"{folder}: {group}: {name} {why}")
    return found.arrays
