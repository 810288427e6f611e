"""What the theme leaves to be done: the language of a page, and tables that a phone can scroll."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def language(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """`lang: ja` at the head of a page is the language of its text."""
    meta = context.get("meta") or {}
    if "lang" in meta:
        context["language"] = meta["lang"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
