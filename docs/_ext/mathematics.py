"""MathJax from an installed package, copied beside the pages: formulas need no network, and no fonts from a server."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PACKAGE = "django-static-mathjax"  # MathJax 3 as it is published, with its licence; nothing of Django is imported
INSIDE = "mathjax/static/mathjax"
WANTED = ("LICENSE", "es5/tex-svg.js", "es5/input/tex/extensions/")  # glyphs are paths in tex-svg.js


def copy(app: Sphinx, exception: Exception | None) -> None:
    """Put MathJax into the site's static files."""
    if exception is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    for file in importlib.metadata.files(PACKAGE) or []:
        inside = file.as_posix().removeprefix(f"{INSIDE}/")
        if inside.startswith(WANTED) and not (target / inside).exists():
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target / inside)


def own_numbers(app: Sphinx, doctree: nodes.document) -> None:
    r"""Equations have the numbers that their \tag gives, those of the code, and none that Sphinx counts."""
    for block in doctree.findall(nodes.math_block):
        if "amsmath" in block["classes"]:
            block["number"], block["label"], block["ids"] = None, None, []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.config["mathjax_path"] = "mathjax/es5/tex-svg.js"
    app.config["mathjax3_config"] = {
        "tex": {"tags": "none"},
        "options": {"enableMenu": False},  # it would fetch further files
    }
    app.connect("doctree-read", own_numbers)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
