"""The frameworks whose functions can be checked, and how a function's own is found out.

A function is asked in this order: what package it, or an object it belongs to, comes from; which packages its code
names, and the code of its module's functions that it calls; at last, which framework's arrays it takes without an
error.  `framework="torch"` says it outright.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from minidl.check.frameworks.base import Framework, as_numpy

__all__ = ["FRAMEWORKS", "Framework", "as_numpy", "candidates", "get_framework"]

FRAMEWORKS = {
    "numpy": "arrays.NumPy",
    "cupy": "arrays.CuPy",
    "torch": "torch.Torch",
    "jax": "jax.Jax",
    "tensorflow": "tensorflow.TensorFlow",
    "minidl": "own.Minidl",
}


@functools.cache
def get_framework(name: str) -> Framework:
    """The framework called `name`.

    Raises:
        ValueError: there is none of that name, or it is not installed.

    Example:
        >>> get_framework("numpy").name
        'numpy'
    """
    if name not in FRAMEWORKS:
        raise ValueError(f"framework: must be one of {', '.join(map(repr, FRAMEWORKS))}, got {name!r}")
    module, _, cls = FRAMEWORKS[name].partition(".")
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), cls)()
    except ImportError as error:
        raise ValueError(f"framework: {name} is not installed ({error})") from error


def candidates(fn: Any, backward: Any = None) -> list[str]:
    """Names of frameworks to try for `fn`, and its `backward`, the likeliest first.

    Example:
        >>> import numpy as np
        >>> candidates(np.exp)
        ['numpy']
    """
    package = _package(fn)
    if package in FRAMEWORKS and (package != "minidl" or _is_defined(fn)):
        return [package]
    named = list(dict.fromkeys(p for f in (fn, backward) for p in _named(f, set()) if p in FRAMEWORKS))
    foreign = [p for p in named if p != "numpy"]
    loaded = ["numpy", *(p for p in FRAMEWORKS if p in sys.modules and p not in ("numpy", "minidl"))]
    return list(dict.fromkeys([*foreign, *named, *loaded]))


def _package(fn: Any) -> str:
    """The package that `fn`, or the class of the object that it is, comes from."""
    fn = inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn)
    module = getattr(fn, "__module__", None) or type(fn).__module__
    if not isinstance(fn, types.FunctionType) and module.partition(".")[0] not in FRAMEWORKS:
        for base in type(fn).__mro__:  # an object of a class derived from torch.nn.Module, say
            if (package := base.__module__.partition(".")[0]) in FRAMEWORKS:
                return package
    return module.partition(".")[0]


def _is_defined(fn: Any) -> bool:
    """Whether the module of `fn` holds it; that of an example in a docstring does not."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    return getattr(fn, "__name__", "") in vars(module) if module else False


def _named(fn: Any, seen: set[int], depth: int = 4) -> Iterator[str]:
    """The packages that the code of `fn` names, and that of what it calls in its own module."""
    fn = inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn)
    if isinstance(fn, type):
        if id(fn) in seen:
            return
        seen.add(id(fn))
        for value in vars(fn).values():
            yield from _named(value, seen, depth)
        for base in fn.__mro__[1:]:
            yield base.__module__.partition(".")[0]
        return
    fn = getattr(fn, "__func__", fn)
    if not isinstance(fn, types.FunctionType):
        call = inspect.getattr_static(type(fn), "__call__", None)
        fn = call if isinstance(call, types.FunctionType) else None
    if fn is None or id(fn) in seen or depth == 0:
        return
    seen.add(id(fn))
    closure = [cell.cell_contents for cell in fn.__closure__ or () if _filled(cell)]
    for thing in [*(fn.__globals__.get(name) for name in _names(fn.__code__)), *closure]:
        if isinstance(thing, types.ModuleType):
            yield thing.__name__.partition(".")[0]
        elif callable(thing):
            module = getattr(thing, "__module__", None) or ""
            if module == fn.__module__:
                yield from _named(thing, seen, depth - 1)
            else:
                yield module.partition(".")[0]


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def is_function_pair(fn: Callable[..., Any]) -> bool:
    """Whether `fn` is a class of plain objects with `forward` and `backward`, one object a call."""
    return isinstance(fn, type) and callable(getattr(fn, "forward", None)) and callable(getattr(fn, "backward", None))
