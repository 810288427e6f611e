"""Fetching an archive, in several attempts if need be, and unpacking it without trusting it."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from gzip import GzipFile
from pathlib import Path, PurePosixPath

from minidl.errors import DataError

__all__ = ["extract", "fetch"]

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
MAX_MEMBERS = 10_000
SLACK = 64 << 20  # headers and padding of an archive, beside its files


def fetch(url: str, target: Path, md5: str, size: int, *, progress: bool = True) -> Path:
    """Download `url` to `target`, going on where an earlier attempt stopped.

    What has arrived is kept as `target`.part; `target` itself appears once it is whole and its sum is right.

    Args:
        url: http or https.
        target: the file to make; if it is there with the right sum, nothing is fetched.
        md5: its sum, in hexadecimal.
        size: its length in bytes.
        progress: show a bar on the terminal.

    Returns:
        `target`.

    Raises:
        DataError: the server cannot be reached, stops early, or sends another file.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"download: URL must be http or https, got {url!r}")
    if target.is_file() and _md5(target) == md5:
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not part.is_file() or part.stat().st_size < size:
            _fetch_rest(url, part, size, progress)
        if (found := part.stat().st_size) < size:
            raise DataError(f"{url}: stopped after {found:,} of {size:,} bytes; start again to go on from there")
        if (sum_found := _md5(part)) != md5:
            part.unlink()
            raise DataError(f"{url}: MD5 must be {md5}, got {sum_found}; what was fetched is removed, start again")
        part.replace(target)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{url}: cannot be fetched: {reason}; what has arrived is kept, start again to go on"
        ) from error
    return target


def _fetch_rest(url: str, part: Path, size: int, progress: bool) -> None:
    """Append to `part` what it lacks of `size` bytes, or less if the connection ends."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not goes_on:
            have = 0  # the server sends the whole file
        with open(part, "ab" if goes_on else "wb") as file, _bar(part.stem, have, size, progress) as bar:
            while have < size and (chunk := response.read(min(CHUNK, size - have))):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
        if response.read(1):
            part.unlink()
            raise DataError(f"{url}: must have {size:,} bytes, the server sends more")


def _bar(name: str, have: int, size: int, progress: bool):
    from tqdm import tqdm

    return tqdm(desc=name, initial=have, total=size, unit="B", unit_scale=True, disable=not progress)


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def extract(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack a .tar.gz of plain files and folders into `folder`.

    It is unpacked beside `folder`'s contents first and moved there file by file once all of it is found harmless.

    Args:
        archive: the file.
        folder: where to; made if it is missing.
        max_bytes: what all files together may have.

    Raises:
        DataError: the archive is damaged, too large, or holds a link, a device, or a path that leads outside.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".extract-", dir=folder) as beside:
            with (
                _Bounded(archive, max_bytes + SLACK) as stream,
                tarfile.open(fileobj=stream, mode="r|") as tar,
            ):
                paths = _extract_members(archive, tar, Path(beside), max_bytes)
                while stream.read(CHUNK):  # to the end, where the .gz has its check sum
                    pass
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(beside) / path, folder / path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: damaged archive: {error}") from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked to {folder}: {error.strerror or error}") from error


def _extract_members(archive: Path, tar: tarfile.TarFile, folder: Path, max_bytes: int) -> list[Path]:
    """Write every file of `tar` under `folder`; the relative paths of the files."""
    paths: list[Path] = []
    total = 0
    for count, member in enumerate(tar):
        path = _inside(archive, member)
        total += member.size
        if total > max_bytes or count >= MAX_MEMBERS:
            raise DataError(f"{archive}: must unpack to at most {max_bytes:,} bytes in {MAX_MEMBERS:,} files")
        if member.isdir():
            continue
        content = tar.extractfile(member)
        if content is None:
            raise DataError(f"{archive}: {member.name!r} has no content")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / path, "xb") as file:  # x: no member may come twice
            shutil.copyfileobj(content, file, CHUNK)
        paths.append(path)
    return paths


def _inside(archive: Path, member: tarfile.TarInfo) -> Path:
    """The member's path, refused unless it is a plain file or folder that stays inside."""
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise DataError(f"{archive}: must hold plain files and folders, {member.name!r} is of type {member.type!r}")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or any(c in member.name for c in "\\:\0"):
        raise DataError(f"{archive}: paths must stay inside the folder, got {member.name!r}")
    return Path(*path.parts)


class _Bounded(GzipFile):
    """A .gz stream that refuses to give more than `limit` bytes: a small archive can unpack to any size."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path, "rb")
        self.path, self.left = path, limit

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"{self.path}: unpacks to more than its files may have")
        return data
