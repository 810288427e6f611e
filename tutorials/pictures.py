"""Take the figures out of executed notebooks, to look at them: python -m tutorials.pictures DIR OUT [NN …]."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Sequence
from pathlib import Path

import nbformat


def main(arguments: Sequence[str] | None = None) -> None:
    """Write OUT/NN_name-CELL.png for each figure."""
    parser = argparse.ArgumentParser(prog="python -m tutorials.pictures", description=__doc__)
    parser.add_argument("folder", type=Path, help="where executed notebooks are")
    parser.add_argument("out", type=Path, help="where the pictures go")
    parser.add_argument("which", nargs="*", help="how the names start, such as 03; all if none is given")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(args.folder.glob("*.ipynb")):
        if args.which and not path.stem.startswith(tuple(args.which)):
            continue
        for i, cell in enumerate(nbformat.read(path, as_version=4).cells):
            for k, output in enumerate(cell.get("outputs", [])):
                picture = output.get("data", {}).get("image/png")
                if picture:
                    target = args.out / f"{path.stem}-{i:03d}-{k}.png"
                    target.write_bytes(base64.b64decode(picture))
                    print(target)


if __name__ == "__main__":
    main()
