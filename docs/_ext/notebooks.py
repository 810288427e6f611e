"""Tutorials as `tutorials.execute` runs them: each once, wherever that was, and its results put where MyST-NB looks.

An executed notebook says in its metadata of which source it was made, so a stale one is never shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient.exceptions import CellExecutionError
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

from minidl.files import written_whole

LOGGER = logging.getLogger(__name__)


def results(source: Path, folders: Iterable[Path], digest: str) -> nbformat.NotebookNode | None:
    """The executed notebook of a source, from the first of some folders that has it; None if none has this version."""
    for folder in folders:
        file = folder / f"{source.stem}.ipynb"
        if file.is_file():
            book = nbformat.read(file, as_version=4)
            if book.metadata.get("minidl", {}).get("source") == digest:
                return book
    return None


def with_outputs(source: Path, book: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The notebook that MyST-NB reads from a source, with the outputs of an executed one; None if its code differs."""
    mine = read_myst_markdown_notebook(source.read_text(encoding="utf-8"))
    cells, executed = ([c for c in b.cells if c.cell_type == "code" and c.source.strip()] for b in (mine, book))
    if [c.source.strip() for c in cells] != [c.source.strip() for c in executed]:
        return None
    for cell, done in zip(cells, executed, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return mine


def prepare(app: Sphinx) -> None:
    """Have every tutorial's results ready before pages are read."""
    if app.config.nb_execution_mode == "off":
        return
    from tutorials.convert import sources
    from tutorials.execute import digest, executed

    kept = Path(app.srcdir) / "docs" / "_build" / "executed"
    given = os.environ.get("MINIDL_DOCS_NOTEBOOKS")
    folders = [*([Path(given)] if given else []), kept]
    cache = get_cache(app.config.nb_execution_cache_path)
    for source in sources():
        book = results(source, folders, digest(source))
        filled = None if book is None else with_outputs(source, book)
        if filled is None:
            LOGGER.info("executing %s...", source.stem)
            try:
                book = executed(source)
            except CellExecutionError as error:
                raise ExtensionError(f"tutorials/{source.name}: {error}") from None
            with written_whole(kept / f"{source.stem}.ipynb") as beside:
                beside.write_text(nbformat.writes(book) + "\n", encoding="utf-8")
            filled = with_outputs(source, book)
        if filled is None:
            raise ExtensionError(f"tutorials/{source.name} was changed while it was executed; build again")
        cache.cache_notebook_bundle(CacheBundleIn(filled, str(source)), check_validity=False, overwrite=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
