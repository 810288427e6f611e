"""Folders that are whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minidl.errors import UserError

__all__ = ["folder_written_whole"]


@contextmanager
def folder_written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder to write into; on success it becomes `path` in one step, on any error it is removed.

    Args:
        path: where the folder shall be: a new place, or an empty folder.

    Raises:
        UserError: something is there already, the disk is full, or the place cannot be written.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "vectors"
        >>> with folder_written_whole(target) as beside:
        ...     _ = (beside / "a.txt").write_text("whole")
        >>> [file.name for file in target.iterdir()]
        ['a.txt']
    """
    target = Path(path)
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UserError(f"{target}: is there already; give a new folder, or remove it")
    home: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        beside = home / target.name  # not the folder that mkdtemp makes, which nobody else may read
        beside.mkdir()
        yield beside
        beside.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)
