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


def check_call(name: str, parameters: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments by name, as CuPy's `name(parameters)` takes them.

    Raises:
        TypeError: it does not take them.
    """
    try:
        return _signature(parameters).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"cupy {VERSION}: {name}({parameters}): {error}") from None
