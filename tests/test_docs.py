"""What README and pages say: their links lead somewhere, their Python prints what they show, their commands exist."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidl.check.__main__ import COMMANDS
from minidl.check.__main__ import main as check
from tests.test_architecture import ROOT, ids

PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts),
    *sorted((ROOT / "tutorials").glob("README.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(python -m [^`\n]+)`")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(language: str) -> list[tuple[Path, str]]:
    return [(p, code) for p in PAGES for kind, code in FENCE.findall(text_of(p)) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page))) if "://" not in link]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


# Python


@pytest.mark.parametrize("page", [p for p in PAGES if "```python\n" in text_of(p)], ids=ids)
def test_python_in_a_page_runs_in_order_and_prints_what_stands_below_it(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    found = list(FENCE.finditer(text_of(page)))
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block[1] != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block[2], ids(page), "exec"), names)
        if (
            after is not None
            and after[1] == "text"
            and not page.read_text("utf-8")[block.end() : after.start()].strip()
        ):
            assert differences(after[2], printed.getvalue()) == []


def differences(shown: str, printed: str) -> list[str]:
    """Lines that were shown and not printed: the first two, as drawn calls stand below; … is the rest of a line."""
    lines = printed.splitlines()
    wrong = []
    for i, line in enumerate(shown.splitlines()[:2]):
        start, dots, _ = line.partition("…")
        actual = lines[i] if i < len(lines) else ""
        if not (actual.startswith(start) if dots else actual == line):
            wrong.append(f"{line!r} is shown, {actual!r} was printed")
    return wrong


def test_a_difference_is_seen() -> None:
    assert differences("a\nb…\n", "a\nbc\n") == []
    assert len(differences("a\nb\n", "a\nc\n")) == 1
    assert len(differences("a\nb\n", "a\n")) == 1


# Commands


def commands(language: str | None = None) -> Iterator[tuple[Path, str]]:
    """Every command in the fenced blocks of the pages, without its prompt and comment."""
    for page in PAGES:
        for kind, code in FENCE.findall(text_of(page)):
            if language in (None, kind):
                for line in code.replace("\\\n", " ").splitlines():
                    line = line.removeprefix("$ ").strip()
                    if kind in ("bash", "") and re.match(r"(?:\w+=\S+ )?(python3?|pip|jupyter) ", line):
                        yield page, re.split(r"\s+#|\s{3,}|\s+&&", line)[0]


def parsed(module: str, argv: list[str]) -> None:
    """Parse arguments as the command does.

    Raises:
        Exception: it would refuse them.
    """
    if module == "minidl.check":
        name = argv.pop(0) if argv and argv[0] in COMMANDS else "check"
        made = argparse.ArgumentParser(prog=name, exit_on_error=False)
        getattr(importlib.import_module(COMMANDS[name].module), COMMANDS[name].configure)(made)
        made.parse_args(argv)
    elif module in ("minidl.train", "minidl.explain", "minidl.bench"):
        argv = [re.sub(r"=\w+/bin/python$", f"={sys.executable}", word) for word in argv]
        importlib.import_module(f"{module}.cli").parse(argv)
    elif module == "docs.build":
        importlib.import_module(module).parser().parse_args(argv)
    elif module == "pytest":
        assert [word for word in argv if word.startswith("tests/") and not (ROOT / word).exists()] == []
    elif module != "venv":
        assert importlib.util.find_spec(module) is not None, module


FENCED = sorted({(ids(page), command) for page, command in commands()})


@pytest.mark.parametrize(("page", "command"), FENCED)
def test_a_printed_command_is_one_that_is_understood(page: str, command: str) -> None:
    words = [word for word in shlex.split(command) if not re.fullmatch(r"MINIDL_\w+=\S+", word)]
    if words[:2] == ["pip", "install"]:
        known = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
        assert set(re.findall(r"[\w-]+", ",".join(re.findall(r"\[(.*?)\]", command)))) <= set(known)
    elif words[0] == "jupyter":
        assert (ROOT / words[-1]).is_file()
    else:
        assert words[1] == "-m"
        parsed(words[2], words[3:])


def test_there_are_commands_of_every_kind() -> None:
    modules = {shlex.split(command)[2] for _, command in FENCED if command.startswith("python -m")}
    assert {"minidl.train", "minidl.check", "minidl.explain", "minidl.bench", "docs.build", "pytest"} <= modules


def test_a_wrong_flag_is_refused() -> None:
    with pytest.raises(Exception, match="no-such-flag"):
        parsed("minidl.train", ["--no-such-flag"])
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        parsed("minidl.check", ["relu.py:relu", "--claims", "relu"])


def test_flags_in_running_text_are_flags_of_the_command() -> None:
    pytest.importorskip("sphinx")
    from docs._ext.reference import parsers

    for page in PAGES:
        for found in INLINE.findall(FENCE.sub("", text_of(page))):
            words = found.split()
            room = words[2].removeprefix("minidl.")
            if room not in ("train", "check", "explain", "bench"):
                assert importlib.util.find_spec(words[2]) is not None, found
                continue
            known = {option for _, _, made in parsers(room) for a in made._actions for option in a.option_strings}
            assert {w.partition("=")[0] for w in words[3:] if w.startswith("--") and "…" not in w} <= known, found


def test_the_quick_commands_of_the_page_on_checking_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's functions in mine.py, as it says; then its commands as they are printed."""
    page = ROOT / "docs" / "check_your_code.md"
    code = [
        c.split("\n\n\nverdict")[0].split("\n\n\nreport")[0] for k, c in FENCE.findall(text_of(page)) if k == "python"
    ]
    (tmp_path / "mine.py").write_text("\n".join(code), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    status = {}
    for where, command in commands("bash"):
        words = shlex.split(command)
        if where == page and words[3] not in ("trace", "statistics", "verify") and "--model" not in words:
            status[words[3]] = check(words[3:])
    assert status == {"mine.py:my_softmax": 1, "ops": 0, "mistakes": 0, "grad": 0, "export": 0}
    assert "diagonal of the Jacobian alone" in capsys.readouterr().out
    assert (tmp_path / "vectors" / "manifest.json").is_file()


def test_ci_runs_the_readmes_test_command() -> None:
    tests = [line for _, code in blocks("bash") for line in code.splitlines() if "pytest" in line]
    assert tests
    assert tests[0] in text_of(ROOT / ".ci" / "run")
