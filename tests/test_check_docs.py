"""docs/check.md: its tables are the generated ones, and its session is what the code in it prints."""

from __future__ import annotations

import contextlib
import io
import re

from minidl.check import kinks
from minidl.check.command import catalogue
from minidl.check.peers import PEERS
from tests.test_architecture import ROOT

PAGE = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")


def test_the_session_prints_what_the_page_shows() -> None:
    found = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", PAGE, re.DOTALL)
    assert found
    code, shown = found.groups()
    assert len([line for line in code.splitlines() if line.strip()]) == 6
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/check.md", "exec"), {"__name__": "__main__"})
    said = printed.getvalue()
    assert said.splitlines()[:2] == shown.splitlines()[:2]  # below stand calls drawn, by any version of hypothesis
    assert "kernel flipped" in said


def test_the_mistakes_on_the_page_are_those_that_are_known() -> None:
    assert catalogue() in PAGE


def test_the_kinks_on_the_page_are_those_of_the_specification() -> None:
    """Columns of libraries that are not installed are left as they are."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    (start,) = (i for i, line in enumerate(lines) if line.startswith("| op | where | minidl |"))
    headings = [cell.strip() for cell in lines[start].strip("| ").split("|")]
    assert headings == ["op", "where", "minidl", *PEERS.values()]
    rows = kinks.table()
    for line, row in zip(lines[start + 2 :], rows, strict=False):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        shown = dict(zip(headings, cells, strict=True))
        assert {name: shown[name] for name in row} == row
    assert len(lines[start + 2 :]) >= len(rows)
