"""Run tutorials from top to bottom and keep them with their outputs: python -m tutorials.execute DIR [NN …].

Nobody moves sliders or answers exercises here (MINIDL_STATIC is set), and the network cannot be reached.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from minidl.files import written_whole
from tutorials.convert import HERE, notebook, sources


def digest(source: Path) -> str:
    """SHA-256 of a source: what `minidl.source` in an executed notebook's metadata is compared with."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def executed(source: Path, timeout: int = 120) -> nbformat.NotebookNode:
    """The notebook of a source after a run from top to bottom.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised that is not tagged `raises-exception`.
    """
    book = notebook(source)
    client = NotebookClient(
        book,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=[
            "--IPKernelApp.exec_lines=import _offline",
            "--HistoryManager.enabled=False",
        ],
    )
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))  # this minidl, here
    client.execute(env={**os.environ, "MINIDL_STATIC": "1", "PYTHONPATH": path})
    book.metadata["minidl"] = {"source": digest(source)}
    return book


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and write the executed notebooks."""
    parser = argparse.ArgumentParser(prog="python -m tutorials.execute", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the executed notebooks go")
    parser.add_argument("which", nargs="*", help="how the names start, such as 03; all if none is given")
    args = parser.parse_args(arguments)
    for source in sources(args.which):
        start = time.monotonic()
        with written_whole(args.folder / f"{source.stem}.ipynb") as beside:
            beside.write_text(nbformat.writes(executed(source)) + "\n", encoding="utf-8")
        print(f"{source.stem}: {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
