"""The names and signatures of the real CuPy, frozen in `api.json` by `freeze.py`."""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

API = json.loads(Path(__file__).with_name("api.json").read_text(encoding="utf-8"))
VERSION: str = API["version"]
FUNCTIONS: dict[str, dict[str, str]] = {name: found["functions"] for name, found in API["modules"].items()}
UFUNCS: dict[str, list[tuple[str, str]]] = {  # by name, the dtype characters that go in and come out
    name: [tuple(types.split("->")) for types in told.split()]
    for name, told in API["modules"]["cupy"]["ufuncs"].items()
}
OTHERS: set[str] = set(API["modules"]["cupy"]["others"])
METHODS: dict[str, str] = API["ndarray"]["methods"]
GENERATOR: dict[str, str] = API["Generator"]["methods"]


@cache
def _signature(parameters: str) -> inspect.Signature:
    return inspect.signature(eval(f"lambda {parameters}: None"))


def check_call(name: str, parameters: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse arguments that CuPy's `name(parameters)` does not take.

    Raises:
        TypeError: it does not take them.
    """
    if (wrong := _wrong(parameters, len(args), tuple(kwargs))) is not None:
        raise TypeError(f"cupy {VERSION}: {name}({parameters}): {wrong}")


@cache
def _wrong(parameters: str, positional: int, names: tuple[str, ...]) -> str | None:
    """What is wrong with so many arguments by position, and these by name."""
    try:
        _signature(parameters).bind(*[None] * positional, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return None
