"""Every source file as a page with numbered lines; links to files and folders of the repository lead to them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_NAMED = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[\w/]+\.py)#(\w+)\)")
ALWAYS = ("minidl",)
SUFFIXES = (".py", ".cpp", ".cu", ".toml", ".json")


def page_name(path: str) -> str:
    """The page of a file or folder of the repository, without its suffix.

    Example:
        >>> page_name("minidl/ops/conv.py")
        'source/minidl/ops/conv.py'
    """
    return f"source/{path.rstrip('/')}"


def repository_path(docname: str, target: str) -> str:
    """What a relative link means, from the root of the repository.

    Example:
        >>> repository_path("docs/check", "../minidl/check/bounds.py")
        'minidl/check/bounds.py'
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(docname), target))


def is_shown(root: Path, path: str) -> bool:
    """Whether a path of the repository has a page of its own among the sources."""
    there = root / path
    return not path.startswith("..") and (there.is_dir() or (there.is_file() and there.suffix in SUFFIXES))


def link_to_pages(app: Sphinx, doctree: nodes.document) -> None:
    """A link to a file, which MyST would offer for download, or to a folder becomes one to its page."""
    docname = app.env.docname
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        if isinstance(node, addnodes.pending_xref) and node.get("reftype") != "myst":
            continue
        path = repository_path(docname, node["reftarget"])
        if is_shown(Path(app.srcdir), path):
            _remember(app, path)
            link = nodes.reference("", "", internal=True, refuri=_address(docname, path))
            link += [child.deepcopy() for child in node.children]
            node.replace_self(link)


def names_to_lines(app: Sphinx, docname: str, source: list[str]) -> None:
    """A link to a name in a file, `[text](../tests/test_x.py#test_y)`, leads to the line where it is defined."""

    def anchor(found: re.Match[str]) -> str:
        text, target, name = found.groups()
        path = repository_path(docname, target)
        _remember(app, path)
        line = line_of(Path(app.srcdir) / path, name)
        return f'<a class="reference internal" href="{_address(docname, path)}#L-{line}">{escape(text)}</a>'

    source[0] = _NAMED.sub(anchor, source[0])


def line_of(file: Path, name: str) -> int:
    """The line where a function or class begins.

    Raises:
        ExtensionError: the file defines no such name.
    """
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if re.match(rf"\s*(?:def|class) {re.escape(name)}\b", line):
            return number
    raise ExtensionError(f"{file.name} defines no {name}")


def _remember(app: Sphinx, path: str) -> None:
    if not hasattr(app.env, "minidl_sources"):
        app.env.minidl_sources = set()  # type: ignore[attr-defined]
    app.env.minidl_sources.add(path)


def _address(docname: str, path: str) -> str:
    return "../" * docname.count("/") + page_name(path) + ".html"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for every file of the package, and for every other one that a page links to."""
    root = Path(app.srcdir)
    wanted = set(getattr(app.env, "minidl_sources", set()))
    for top in ALWAYS:
        wanted |= {p.relative_to(root).as_posix() for p in (root / top).rglob("*.py")}
    for path in list(wanted):
        wanted |= {parent for parent in map(str, Path(path).parents) if parent != "."}
    for path in sorted(wanted):
        there = root / path
        body = _folder(there, path, wanted) if there.is_dir() else _file(there)
        context = {
            "title": path,
            "body": f'<h1>{_crumbs(path)}</h1>\n<div class="source">{body}</div>',
            "furo_hide_toc": True,
        }
        yield page_name(path), context, "page.html"


def _crumbs(path: str) -> str:
    """The path, each folder a link to its page."""
    *folders, name = path.split("/")
    up = len(folders)
    links = [f'<a href="{"../" * (up - i)}{escape(name)}.html">{escape(name)}</a>' for i, name in enumerate(folders)]
    return "/".join([*links, escape(name)])


def _folder(there: Path, path: str, wanted: set[str]) -> str:
    inside = sorted(p for p in wanted if Path(p).parent == Path(path))
    rows = "\n".join(
        f'<li><a href="{escape(Path(path).name)}/{escape(Path(p).name)}.html">{escape(Path(p).name)}</a></li>'
        for p in inside
    )
    return f"<ul>\n{rows}\n</ul>"


def _file(there: Path) -> str:
    text = there.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(there.name)
    except ClassNotFound:  # a language that Pygments does not know
        return f'<div class="highlight"><pre>{escape(text)}</pre></div>'
    form = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True, wrapcode=False)
    return highlight(text, lexer, form)


def without_tree(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Source pages have the path to them for navigation; the site's tree on each would take half of the build."""
    if pagename.startswith("source/"):
        context["toctree"] = lambda **options: ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", names_to_lines)
    app.connect("doctree-read", link_to_pages, priority=100)  # before downloads are collected
    app.connect("html-collect-pages", pages)
    app.connect("html-page-context", without_tree, priority=100)  # before the theme makes the tree
    return {"parallel_read_safe": False, "parallel_write_safe": True}
