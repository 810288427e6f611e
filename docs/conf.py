"""Configuration of the site: `python -m docs.build` builds it, `docs/site.md` says how it is put together.

The source directory is the root of the repository, so that a link between docs, tutorials and code is the same
relative path on the site and on the repository's own pages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import minidl  # noqa: E402

project = "minidl"
author = "The minidl authors"
copyright = "The minidl authors, MIT licence"
release = version = minidl.__version__
language = "en"

root_doc = "docs/index"
include_patterns = ["docs/**", "tutorials/*.md"]
exclude_patterns = ["docs/_build", "docs/_ext", "docs/_static", "docs/figures", "tutorials/README.md", "**/__pycache__"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "docs._ext.sources",
    "docs._ext.mathematics",
    "docs._ext.pages",
    "docs._ext.docstrings",
    "docs._ext.reference",
    "docs._ext.notebooks",
]

# Markdown
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["mystnb.unknown_mime_type"]

# HTML
html_theme = "furo"
html_title = "minidl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
highlight_language = "none"
nitpicky = False

# Tutorials
nb_execution_mode = "off" if os.environ.get("MINIDL_DOCS_FAST") else "cache"
nb_execution_cache_path = str(ROOT / "docs" / "_build" / "notebooks")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True

# Reference
autodoc_class_signature = "mixed"
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
