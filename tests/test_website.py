"""The site: it builds without a warning, its links and anchors lead somewhere, and it can be read without a network.

Tutorials are executed by their own tests.  Where MINIDL_EXECUTED names the folder in which those leave them, their
pages show the results (this file comes after test_tutorials.py for that); else they are built without.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("furo")
pytest.importorskip("myst_nb")

from docs._ext import docstrings, operations, pages, public, reference, sources
from minidl import ops
from minidl.check.spec import CASES
from tests.test_architecture import ROOT

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What is asked of a page: its language, ids, links, pictures, and scripts."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.lang = ""
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.pictures: list[tuple[str, str | None]] = []
        self.headings: list[int] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "html":
            self.lang = found.get("lang") or ""
        if found.get("id"):
            self.ids[found["id"] or ""] += 1
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        if tag in ("script", "img") and found.get("src"):
            self.resources.append(found["src"] or "")
        if tag == "link" and found.get("rel") in ("stylesheet", "icon"):
            self.resources.append(found.get("href") or "")
        if tag == "img":
            self.pictures.append((found.get("src") or "", found.get("alt")))
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as the README says; or the one in MINIDL_SITE, built already."""
    if built := os.environ.get("MINIDL_SITE"):
        return Path(built)
    out = tmp_path_factory.mktemp("site") / "html"
    executed = os.environ.get("MINIDL_EXECUTED")
    results = ["--notebooks", executed] if executed else ["--fast"]
    command = [sys.executable, "-m", "docs.build", *results, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def read(site: Path) -> dict[str, Page]:
    return {file.relative_to(site).as_posix(): Page(file) for file in sorted(site.rglob("*.html"))}


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    wanted = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "tutorials").glob("[0-9]*.md")]
    names = [f.relative_to(ROOT).with_suffix(".html") for f in wanted if "_build" not in f.parts]
    assert len(names) > 20
    assert [str(name) for name in names if not (site / name).is_file()] == []


def test_links_and_anchors_lead_somewhere(site: Path, read: dict[str, Page]) -> None:
    broken = []
    for name, page in read.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = resolved(name, parts.path) if parts.path else name
            there = read[target].ids if target in read else {}
            if not (site / target).is_file() or (parts.fragment and unquote(parts.fragment) not in there):
                broken.append(f"{name}: {link}")
    assert broken == []


def resolved(page: str, path: str) -> str:
    """A relative path in a page, from the root of the site."""
    parts = page.split("/")[:-1]
    for step in unquote(path).split("/"):
        if step == "..":
            parts.pop()
        elif step not in (".", ""):
            parts.append(step)
    return "/".join(parts)


def test_addresses_elsewhere_are_well_formed(read: dict[str, Page]) -> None:
    """They are not followed: there is no network here."""
    outside = {link for page in read.values() for link in page.links if urlsplit(link).scheme}
    assert [link for link in outside if not re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(/[^\s<>\"]*)?", link)] == []


def test_nothing_is_fetched_from_elsewhere(site: Path, read: dict[str, Page]) -> None:
    for name, page in read.items():
        for resource in page.resources:
            assert not urlsplit(resource).netloc, (name, resource)
            path = resolved(name, urlsplit(resource).path)
            assert (site / path).is_file(), (name, resource)
    for style in (site / "_static").rglob("*.css"):
        addresses = re.findall(r"url\(\s*['\"]?([^)'\"]*)", style.read_text(encoding="utf-8"))
        assert [a for a in addresses if not a.startswith("data:") and "//" in a] == [], style


def test_pages_with_formulas_have_mathjax_beside_them(site: Path) -> None:
    with_formulas = [f for f in site.rglob("*.html") if 'class="math ' in f.read_text(encoding="utf-8")]
    assert with_formulas
    assert all("_static/mathjax/es5/tex-svg.js" in f.read_text(encoding="utf-8") for f in with_formulas)
    assert (site / "_static" / "mathjax" / "LICENSE").is_file()


def test_equations_have_the_numbers_of_the_code_and_no_others(site: Path) -> None:
    for file in (site / "tutorials").glob("*.html"):
        assert 'class="eqno"' not in file.read_text(encoding="utf-8"), file


def test_ids_are_unique_and_pictures_are_described(read: dict[str, Page]) -> None:
    for name, page in read.items():
        assert [i for i, n in page.ids.items() if n > 1] == [], name
        assert [src for src, alt in page.pictures if not alt] == [], name


def test_a_page_has_one_title_and_no_level_is_left_out(read: dict[str, Page]) -> None:
    for name, page in read.items():
        if name.startswith(("docs/", "tutorials/")):
            assert page.headings.count(1) == 1, name
            assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False)), name


def test_languages(read: dict[str, Page]) -> None:
    assert {name: page.lang for name, page in read.items() if page.lang != "en"} == {
        "docs/ja/index.html": "ja",
        "docs/ja/start.html": "ja",
    }


@pytest.mark.parametrize("name", ["index", "start"])
def test_the_opening_pages_lead_to_each_other_in_both_languages(read: dict[str, Page], name: str) -> None:
    assert f"ja/{name}.html" in read[f"docs/{name}.html"].links
    assert f"../{name}.html" in read[f"docs/ja/{name}.html"].links


@pytest.mark.parametrize("name", ["index", "start"])
def test_both_languages_show_the_same_code(name: str) -> None:
    def code(page: str) -> list[str]:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        return [re.sub(r"  # .*", "", block) for block in re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)]

    english = [block for block in code(f"{name}.md") if not block.startswith("```{toctree}")]
    assert english == code(f"ja/{name}.md")


def test_every_op_is_in_the_table_and_in_the_reference(read: dict[str, Page], site: Path) -> None:
    table = (site / "docs" / "operations.html").read_text(encoding="utf-8")
    for case in CASES:
        assert read["docs/reference/ops.html"].ids[f"minidl.ops.{case.name}"] == 1
        assert table.count(f'href="reference/ops.html#minidl.ops.{case.name}"') >= 2, case.name  # formula and bound


def test_every_public_name_is_in_the_reference(read: dict[str, Page]) -> None:
    ids = {i for name, page in read.items() if name.startswith("docs/reference/") for i in page.ids}
    names = {public.public_name(path, name) for path, name, _ in public.public()}
    assert len(names) > 150
    assert names - ids == set()


def test_what_packages_export_is_public() -> None:
    import minidl
    from minidl import check, data, explain, models, nn, priors

    named = {id(obj) for _, _, obj in public.public()}
    for package in (minidl, check, data, explain, models, nn, priors):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")):
                assert id(value) in named, f"{package.__name__}.{name}"


def test_every_flag_of_the_commands_is_in_the_reference(site: Path) -> None:
    pages = [(site / "docs" / "reference" / f"{p}.html").read_text(encoding="utf-8") for p in ("train", "commands")]
    for command in ("train", "check", "explain", "bench", "docs.build"):
        for _, _, parser in reference.parsers(command):
            for action in parser._actions:
                for option in action.option_strings:
                    if option not in ("-h", "--help"):
                        assert any(option in page for page in pages), (parser.prog, option)


def test_the_report_names_tests_that_exist_and_fail_if_it_is_not_so() -> None:
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\(\.\./(tests/[\w/]+\.py)#(\w+)\)", text)
    assert len(named) >= 25
    for file, name in named:
        assert sources.line_of(ROOT / file, name) > 0
    rows = [line for line in text.splitlines() if re.match(r"\| (report|abstract|reviews|code|ours) \|", line)]
    assert len(rows) == len(named)  # no statement and no formula without its test


def test_measured_columns_come_from_the_page_that_a_test_holds() -> None:
    table = operations.subgradients()
    assert "| x = 0: a | 0.25 | 0.25 | 1 |" in table
    assert sum("minidl.ops." in line for line in table.splitlines()) == sum(len(case.kinks) for case in CASES)


def test_bounds_hold_for_our_own_float32() -> None:
    shares = [float(line.rstrip(" |").rpartition("| ")[2]) for line in operations.bounds().splitlines()[2:]]
    assert len(shares) == len(CASES) == len([n for n in vars(ops) if n in {c.name for c in CASES}])
    assert max(shares) <= 1


@pytest.mark.parametrize(
    ("text", "rst"),
    [
        ("x_ and *y* and |z|", r"x\_ and \*y\* and \|z\|"),
        ("`a_b` is code", "``a_b`` is code"),
    ],
)
def test_docstrings_are_plain_text(text: str, rst: str) -> None:
    assert docstrings.prose(text) == rst


def test_equations_in_docstrings_are_kept_to_the_letter() -> None:
    lines = docstrings.blocks(["With x:", "", "    y  = x_1 *x_2   (1)", "", "and on."])
    assert "    y  = x_1 *x_2   (1)" in lines
    assert lines[-1] == "and on."


@pytest.mark.parametrize("module", [docstrings, operations, pages, public, reference, sources])
def test_examples_of_the_extensions_run(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed


def test_mending_is_done_once() -> None:
    page = '<html class="no-js" lang="ja"><p class="language"><pre>x</pre><dl>\n<dd>a</dd>\n</dl>\n'
    once = pages.mended(page)
    assert pages.mended(once) == once
    assert '<p class="language" lang="en">' in once
