"""Docstrings of this project as reStructuredText.

They are plain text: paragraphs, lists, indented equations, `code`, and sections in Google's style.  Nothing in them is
markup but backticks, so every other character that reStructuredText would read as markup is escaped.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sphinx.application import Sphinx

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "Examples", "Source", "Note")
NAMED = ("Args", "Attributes", "Raises")  # sections whose entries have names
_CODE = re.compile(r"(`[^`\n]+`)")
_BULLET = re.compile(r"(?:[-•*]|\d+\.) +")


@dataclass
class Docstring:
    """A docstring in parts.

    Attributes:
        text: the paragraphs before the first section.
        sections: the lines of each section, dedented.
    """

    text: list[str]
    sections: dict[str, list[str]] = field(default_factory=dict)

    def entries(self, section: str) -> list[tuple[str, list[str]]]:
        """The entries of a section whose entries have names, each with the lines that describe it.

        Example:
            >>> parse("Say it.\\n\\nArgs:\\n    a, b: numbers,\\n        both.\\n").entries("Args")
            [('a, b', ['numbers,', 'both.'])]
        """
        found: list[tuple[str, list[str]]] = []
        for line in self.sections.get(section, []):
            name, colon, rest = line.partition(": ") if ": " in line else (line.rstrip(":"), line[-1:], "")
            if line and not line.startswith(" ") and colon.strip() == ":":
                found.append((name, [rest] if rest else []))
            elif found:
                found[-1][1].append(line.removeprefix("    "))
        return found


def parse(docstring: str) -> Docstring:
    """The parts of a docstring.

    Example:
        >>> sorted(parse("Do it.\\n\\nReturns:\\n    Tensor.\\n").sections)
        ['Returns']
    """
    lines = textwrap.dedent(_first_line_indented(docstring)).splitlines()
    parts = Docstring(text=[])
    current = parts.text
    for line in lines:
        name = line[:-1] if line.endswith(":") else ""
        if name in SECTIONS:
            current = parts.sections.setdefault(name, [])
        elif current is not parts.text and line and not line.startswith(" "):
            current = parts.text  # text that goes on behind a section
            current += ["", line]
        else:
            current.append(line)
    parts.sections = {
        name: _trimmed(textwrap.dedent("\n".join(ls)).splitlines()) for name, ls in parts.sections.items()
    }
    parts.text = _trimmed(parts.text)
    return parts


def _first_line_indented(docstring: str) -> str:
    """The first line indented as those below it are, so that `dedent` sees one block."""
    first, *rest = docstring.expandtabs().splitlines() or [""]
    body = textwrap.dedent("\n".join(rest))
    return "\n".join([first.strip(), body])


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[0].strip():
        lines = lines[1:]
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def prose(text: str, role: Callable[[str], str] | None = None) -> str:
    """A line of plain text in reStructuredText; `role` says how code in backticks is written.

    Example:
        >>> prose("x_ is |a| of `f(x)`")
        'x\\\\_ is \\\\|a\\\\| of ``f(x)``'
    """
    parts = []
    for part in _CODE.split(text):
        if _CODE.fullmatch(part):
            parts.append(role(part[1:-1]) if role else f"``{part[1:-1]}``")
        else:
            parts.append(re.sub(r"([\\*`|_])", r"\\\1", part))
    return "".join(parts)


def blocks(lines: list[str], role: Callable[[str], str] | None = None) -> list[str]:
    """Paragraphs, lists, equations and examples as reStructuredText."""
    out: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        if not line.strip():
            out.append("")
            i += 1
        elif line.lstrip().startswith(">>>"):
            i = _example(lines, i, out)
        elif line.startswith("  "):
            i = _literal(lines, i, out)
        elif bullet := _BULLET.match(line):
            i = _item(lines, i, len(bullet.group()), out, role)
        else:
            while i < len(lines) and lines[i].strip() and not lines[i].startswith("  "):
                if _BULLET.match(lines[i]) and out and out[-1] == "":
                    break
                out.append(prose(lines[i], role))
                i += 1
    return out


def _example(lines: list[str], i: int, out: list[str]) -> int:
    out += ["", ".. code-block:: pycon", ""]
    while i < len(lines) and lines[i].strip():
        out.append("    " + lines[i].strip("\n"))
        i += 1
    out.append("")
    return i


def _literal(lines: list[str], i: int, out: list[str]) -> int:
    """Equations: what is indented, with the blank lines inside."""
    block = []
    while i < len(lines) and (not lines[i].strip() or lines[i].startswith("  ")):
        block.append(lines[i])
        i += 1
    text = textwrap.dedent("\n".join(block)).strip("\n").splitlines()
    out += ["", ".. code-block:: none", "    :class: equations", "", *(f"    {t}" if t else "" for t in text), ""]
    return i


def _item(lines: list[str], i: int, width: int, out: list[str], role: Callable[[str], str] | None) -> int:
    """An item of a list and what is indented below it."""
    if out and out[-1] != "" and not out[-1].lstrip().startswith(("- ", "#. ")):
        out.append("")
    mark = "- " if lines[i][0] in "-•*" else "#. "
    item = [lines[i][width:]]
    i += 1
    while i < len(lines) and (lines[i].startswith("  ") or (not lines[i].strip() and _goes_on(lines, i))):
        item.append(lines[i][width:] if lines[i][:width].strip() == "" else lines[i].lstrip())
        i += 1
    inner = blocks(item, role)
    out += [mark + inner[0], *(" " * len(mark) + t if t else "" for t in inner[1:])]
    return i


def _goes_on(lines: list[str], i: int) -> bool:
    return i + 1 < len(lines) and lines[i + 1].startswith("  ")


def to_rst(docstring: str, role: Callable[[str], str] | None = None) -> list[str]:
    """A whole docstring as reStructuredText."""
    parts = parse(docstring)
    out = blocks(parts.text, role)
    for name, lines in parts.sections.items():
        out.append("")
        if name.startswith("Example"):
            out += [".. rubric:: Example", "", *blocks(lines, role)]
        elif name in NAMED and parts.entries(name):
            out.append(f":{name}:")
            for names, text in parts.entries(name):
                out += ["    " + ", ".join(f"``{n.strip().strip('`')}``" for n in _split_names(names)), ""]
                out[-2:] = [out[-2]]
                out += ["        " + t if t else "" for t in blocks(text, role)] or ["        \\ "]
        else:
            out += [f":{name}:", *("    " + t if t else "" for t in blocks(lines, role))]
    return [*out, ""]


def _split_names(names: str) -> list[str]:
    return names.split(",")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    from docs._ext.reference import role

    lines[:] = to_rst("\n".join(lines), role)
