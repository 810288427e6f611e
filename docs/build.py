"""Build the site: `python -m docs.build`, then open `docs/_build/html/docs/index.html`.

A warning is an error.  Nothing is fetched, while it is built or when it is read.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "_build" / "html"


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(prog="python -m docs.build", description="Build the site, tutorials executed.")
    p.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where the pages go (docs/_build/html)")
    p.add_argument("--fast", action="store_true", help="do not execute the tutorials: their pages show no results")
    p.add_argument(
        "--notebooks",
        type=Path,
        metavar="DIR",
        help="executed notebooks (NN_name.ipynb) to take results from; what is missing or older is executed",
    )
    p.add_argument("--fresh", action="store_true", help="build every page anew, not only those that changed")
    return p


def main(argv: list[str] | None = None) -> int:
    """Build; the exit status is 0 if there was no warning."""
    args = parser().parse_args(argv)
    try:
        from sphinx.cmd.build import main as sphinx
    except ImportError:
        print("docs.build: Sphinx is missing: pip install -e '.[docs]'", file=sys.stderr)
        return 2
    os.environ["MINIDL_DOCS_FAST"] = "1" if args.fast else ""
    os.environ["MINIDL_DOCS_NOTEBOOKS"] = str(args.notebooks.resolve()) if args.notebooks else ""
    os.chdir(ROOT)  # as a notebook finds the repository
    began = time.monotonic()
    out = args.out.resolve()
    options = ["-E", "-a"] if args.fresh else []
    status = sphinx(["-W", "--keep-going", *options, "-c", "docs", "-d", str(out.parent / "doctrees"), ".", str(out)])
    if status == 0:
        print(f"{time.monotonic() - began:.0f} s; open {out / 'docs' / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
