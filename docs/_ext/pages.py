"""What the theme leaves to be done: the language of a page, and places that a keyboard must reach."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_SCROLLED = re.compile(r'<pre>|<div class="(?:table-wrapper|(?:amsmath )?math notranslate)[^"]*"(?: id="[^"]*")?>')
_PICTURE = re.compile(r'^(<img [^>]*src="[^"]*_images/[0-9a-f]{64}\.png"[^>]*>)$', re.MULTILINE)
_HEADING = '<p class="caption" role="heading">'
_PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*?</dd>\n)+)</dl>\n", re.DOTALL)


def language(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """`lang: ja` at the head of a page is the language of its text; what surrounds it stays English."""
    meta = context.get("meta") or {}
    if "lang" in meta:
        context["language"] = meta["lang"]


def mended(html: str) -> str:
    """A page whose scrolling parts can be reached by keyboard, and whose roles are complete.

    Example:
        >>> mended("<pre>x</pre>")
        '<pre tabindex="0">x</pre>'
        >>> mended(mended("<pre>x</pre>")) == mended("<pre>x</pre>")
        True
    """

    def focusable(found: re.Match[str]) -> str:
        return f'{found[0][:-1]} tabindex="0">'

    def spans(found: re.Match[str]) -> str:  # a list of parameters is no list of definitions
        inner = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
        return f'<span class="sig-lines">{inner}</span>'

    html = _SCROLLED.sub(focusable, html)
    html = html.replace(_HEADING, f'{_HEADING[:-1]} aria-level="2">')
    html = html.replace('<summary aria-label="Toggle hidden content">', "<summary>")  # it says more than its label
    html = _PICTURE.sub(r'<div class="picture" tabindex="0">\1</div>', html)  # a notebook's, which has small print
    html = _PARAMETERS.sub(spans, html)
    other = "en" if '<html class="no-js" lang="ja"' in html else "ja"
    html = html.replace('<p class="language">', f'<p class="language" lang="{other}">')
    if other == "en":
        html = html.replace('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" lang="en">')
    return html


def mend(app: Sphinx, exception: Exception | None) -> None:
    """Mend every page that was written."""
    if exception is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        before = page.read_text(encoding="utf-8")
        if (after := mended(before)) != before:
            page.write_text(after, encoding="utf-8")
    (Path(app.outdir) / "index.html").write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>minidl</title>'
        '<meta http-equiv="refresh" content="0; url=docs/index.html"></head>'
        '<body><a href="docs/index.html">minidl</a></body></html>\n',
        encoding="utf-8",
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", language)
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
