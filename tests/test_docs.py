"""What README and docs say: their links lead somewhere, their Python runs, their commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from minidl.train.cli import parser
from tests.test_architecture import ROOT, ids

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[Path, str]]:
    return [(p, code) for p in PAGES for kind, code in FENCE.findall(p.read_text(encoding="utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize(
    ("page", "code"), [pytest.param(p, c, id=f"{ids(p)}-{i}") for i, (p, c) in enumerate(blocks("python"))]
)
def test_python_in_the_pages_runs(page: Path, code: str) -> None:
    exec(compile(code, ids(page), "exec"), {"__name__": "__main__"})


def test_flags_in_the_pages_are_flags_of_the_command() -> None:
    known = set(parser()._option_string_actions)
    used = {
        word.partition("=")[0]
        for _, code in blocks("bash")
        for line in code.replace("\\\n", " ").splitlines()
        if line.startswith("python -m minidl.train")
        for word in shlex.split(line, comments=True)
        if word.startswith("--")
    }
    assert used <= known
    assert used


def test_ci_runs_the_readmes_test_command() -> None:
    commands = [line for _, code in blocks("bash") for line in code.splitlines() if "pytest" in line]
    assert commands
    assert commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
