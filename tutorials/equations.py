r"""Which equations a file numbers, which it cites, and which a tutorial derives.

A module numbers an equation in its docstring, at the end of a line: "gx = gy y    (7)".  It cites "(7)", "(1)-(4)"
or "(2), (3)" in comments and docstrings.  A tutorial derives it below "% equations: path/of/the/file.py" as \tag{7}.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NUMBERED = re.compile(r"\s{2,}\((\d+)\)\s*$", re.MULTILINE)
_CITED = re.compile(r"(?<![\w\]⟩)])\((\d+)\)(?:(?:-|–| to )\((\d+)\))?")
_SECTION = re.compile(r"^% equations: (\S+)\s*$", re.MULTILINE)
_TAG = re.compile(r"\\tag\{(\d+)\}")


def numbered(path: Path) -> list[int]:
    """The numbers of the equations in a module's docstring, as they stand there.

    Example:
        >>> numbered(ROOT / "minidl" / "ops" / "products.py")
        [1, 2, 3, 4, 5, 6, 7]
    """
    docstring = ast.get_docstring(_parsed(path), clean=False) or ""
    return [int(n) for n in _NUMBERED.findall(docstring)]


def cited(path: Path) -> set[int]:
    """The numbers that a module's comments and docstrings cite.

    Example:
        >>> sorted(cited(ROOT / "minidl" / "ops" / "products.py"))
        [1, 2, 3, 4, 5, 6, 7]
    """
    source = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = [token.string for token in tokens if token.type == tokenize.COMMENT]
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in ast.walk(_parsed(path)):
        if isinstance(node, kinds):
            text = ast.get_docstring(node) or ""
            texts.append("\n".join(line for line in text.splitlines() if ">>>" not in line))
    return {n for text in texts for n in _numbers(text)}


def derived(tutorial: Path) -> dict[str, list[int]]:
    """File by file, the numbers that a tutorial derives, as they stand there."""
    text = tutorial.read_text(encoding="utf-8")
    parts = _SECTION.split(text)
    found: dict[str, list[int]] = {"none": [int(n) for n in _TAG.findall(parts[0])]}
    for path, section in zip(parts[1::2], parts[2::2], strict=True):
        found.setdefault(path, []).extend(int(n) for n in _TAG.findall(section))
    return found


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _numbers(text: str) -> set[int]:
    return {n for match in _CITED.finditer(text) for n in range(int(match[1]), int(match[2] or match[1]) + 1)}
