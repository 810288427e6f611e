"""Write `api.json`: the public names and signatures of the CuPy that is installed.

    python tests/gpu/strict/freeze.py

Needs the wheel, no driver and no card.  Run it when the pinned CuPy version changes, and read the difference.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

API = Path(__file__).with_name("api.json")
PARAMETER = re.compile(r"(?:\w+ )*(\*{0,2}\w*|/)\s*(=.*)?$")  # Cython writes "_ndarray_base b=None"


def signature(function: Any) -> str | None:
    """The parameters of `function` as a `def` would have them, every default written "=0"; None if nobody knows."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return _documented(function)
    told, starred = [], False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not starred:
            told.append("*")
        starred |= p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        told.append(f"{stars}{p.name}" + ("=0" if p.default is not p.empty else ""))
    return ", ".join(told)


def _documented(function: Any) -> str | None:
    """The signature that Cython put in the first line of the docstring: "ndarray.sum(self, axis=None, …) -> …"."""
    found = re.match(r"[\w.]+\((.*)\)(?: ->.*)?$", (function.__doc__ or "").split("\n")[0])
    if found is None:
        return None
    told = [PARAMETER.match(part.strip()) for part in re.split(r", (?![^(]*\))", found[1]) if part.strip()]
    return ", ".join(f"{part[1]}{'=0' if part[2] else ''}" for part in told if part)


def names(module: ModuleType, ufunc: type) -> dict[str, Any]:
    """What a module offers: signatures of functions, types of ufuncs, and other names."""
    found: dict[str, Any] = {"functions": {}, "ufuncs": {}, "others": []}
    for name in sorted(n for n in dir(module) if not n.startswith("_")):
        value = getattr(module, name)
        if isinstance(value, ufunc):
            found["ufuncs"][name] = " ".join(value.types)
        elif callable(value) and not isinstance(value, type):
            found["functions"][name] = signature(value)
        else:
            found["others"].append(name)
    return found


def methods(kind: type) -> dict[str, Any]:
    """The methods of a class with their signatures, "self" left out, and its other attributes."""
    found: dict[str, Any] = {"methods": {}, "attributes": []}
    for name in sorted(n for n in dir(kind) if not n.startswith("_")):
        value = getattr(kind, name)
        if callable(value):
            told = signature(value)
            found["methods"][name] = None if told is None else re.sub(r"^self(, )?", "", told)
        else:
            found["attributes"].append(name)
    return found


def main() -> None:
    """Write the file."""
    import cupy

    api = {
        "version": cupy.__version__,
        "modules": {
            name: names(module, cupy.ufunc)
            for name, module in {
                "cupy": cupy,
                "cupy.linalg": cupy.linalg,
                "cupy.lib.stride_tricks": cupy.lib.stride_tricks,
            }.items()
        },
        "ndarray": methods(cupy.ndarray),
        "Generator": methods(cupy.random.Generator),
    }
    API.write_text(json.dumps(api, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
