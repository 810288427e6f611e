"""Make each tutorial's .ipynb, without outputs, from its .md: python -m tutorials.convert [--format] [NN …]."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat

from minidl.files import written_whole

HERE = Path(__file__).resolve().parent
WIDTH = 88  # characters of code in a line: what a page shows
_CELL = re.compile(r"(^```\{code-cell\}[^\n]*\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)


def sources(prefixes: Sequence[str] = ()) -> list[Path]:
    """The tutorials' .md files in order; those whose name starts with a prefix, if some are given."""
    found = sorted(HERE.glob("[0-9][0-9]_*.md"))
    return [path for path in found if not prefixes or path.stem.startswith(tuple(prefixes))]


def notebook(source: Path) -> nbformat.NotebookNode:
    """The notebook that a source describes, without outputs."""
    book = jupytext.read(source, fmt="md:myst")
    book.metadata.pop("jupytext", None)
    book.metadata["language_info"] = {"name": "python"}
    for i, cell in enumerate(book.cells):
        cell["id"] = f"{source.stem[:2]}-{i:03d}"  # jupytext's are random
        if cell.cell_type == "markdown":
            cell.source = _for_jupyter(cell.source)
    book.cells = [cell for cell in book.cells if cell.source]
    book.nbformat, book.nbformat_minor = 4, 5
    nbformat.validate(book)
    return book


def _for_jupyter(text: str) -> str:
    """Without MyST's comments, and with links to the other notebooks."""
    text = re.sub(r"^% .*\n?", "", text, flags=re.MULTILINE)
    return re.sub(r"\]\((\d\d_\w+)\.md([#)])", r"](\1.ipynb\2", text).strip("\n")


def text(source: Path) -> str:
    """The .ipynb file of a source."""
    return nbformat.writes(notebook(source)) + "\n"


def formatted(source: Path) -> str:
    """The text of a source with its code cells as ruff lays them out on a page's width."""
    return _CELL.sub(lambda cell: cell[1] + _laid_out(cell[2]) + cell[3], source.read_text(encoding="utf-8"))


def _laid_out(code: str) -> str:
    head = re.match(r"(?:---\n.*?\n---\n|(?::[^\n]*\n)+\n?)?", code, re.DOTALL)  # the cell's options
    options = head[0] if head else ""
    command = [sys.executable, "-m", "ruff", "format", "--line-length", str(WIDTH), "--stdin-filename", "cell.py", "-"]
    run = subprocess.run(command, input=code[len(options) :], capture_output=True, text=True, check=True)
    return options + run.stdout


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the .ipynb files."""
    parser = argparse.ArgumentParser(prog="python -m tutorials.convert", description=__doc__)
    parser.add_argument("which", nargs="*", help="how the names start, such as 03; all if none is given")
    parser.add_argument("--format", action="store_true", help=f"lay out the code first, {WIDTH} characters wide")
    args = parser.parse_args(arguments)
    for source in sources(args.which):
        if args.format:
            laid_out = formatted(source)
            with written_whole(source) as beside:
                beside.write_text(laid_out, encoding="utf-8")
        with written_whole(source.with_suffix(".ipynb")) as beside:
            beside.write_text(text(source), encoding="utf-8")


if __name__ == "__main__":
    main()
