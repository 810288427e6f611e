"""A strict stand-in for CuPy that computes with NumPy alone: `with installed() as cupy:` and minidl has a GPU.

    as CuPy       nothing becomes a NumPy array unasked (`np.asarray(x)` raises); arrays of host and device do not mix;
                  names, signatures and types are those of the real CuPy, frozen in `api.json`; reductions and
                  elements are arrays of no dimension; generators have only CuPy's methods
    stricter      where CuPy silently does something else than NumPy, or nothing defined: an index out of range raises
                  (CuPy wraps it around), as does writing one element twice; fresh memory is NaN; a copy on another
                  stream happens as late as it may
    counted       `counts`: waits of the host for the device, uploads, launches

It has no `RawModule` and no `RawKernel`: what needs kernels of its own runs on the real CuPy only.  What it does not
model raises NotImplementedError rather than guess.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.gpu.strict import runtime
from tests.gpu.strict.array import Memory, _unknown, ndarray, silent, unwrap, wrap
from tests.gpu.strict.counting import Counts, HostWaits, counts, no_waits
from tests.gpu.strict.surface import FUNCTIONS, OTHERS, UFUNCS, VERSION, check_call
from tests.gpu.strict.ufuncs import Ufunc, matmul, ufunc

__all__ = ["Counts", "HostWaits", "counts", "installed", "no_waits"]

WAITS = {  # functions that read from the device what they compute with, and how often
    "nonzero": 1, "flatnonzero": 1, "argwhere": 1, "unique": 1, "compress": 1, "extract": 1, "bincount": 1,
    "histogram": 1, "isin": 1, "in1d": 1, "intersect1d": 1, "trim_zeros": 1, "sliding_window_view": 2,
}  # fmt: skip
NUMBERS = {"allclose", "array_equal", "array_equiv"}  # a number of Python's with NumPy, an array with CuPy
CREATED = {"empty", "empty_like"}
PLAIN = {"zeros", "ones", "empty", "full", "arange", "linspace", "eye", "identity", "tri", "result_type", "can_cast"}


def asarray(a: Any, dtype: Any = None, order: Any = None, *, blocking: bool = False) -> ndarray:
    """As cupy.asarray: the array itself where it fits."""
    return _array(a, dtype, order or "K", None)


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """As cupy.array."""
    return _array(obj, dtype, order, copy, ndmin)


def _array(a: Any, dtype: Any, order: str, copy: bool | None, ndmin: int = 0) -> ndarray:
    if isinstance(a, ndarray):
        same = np.array(a._a, dtype=dtype, copy=copy, order=order, ndmin=ndmin)
        return a if same is a._a else wrap(same)
    if isinstance(a, (list, tuple)) and any(isinstance(v, ndarray) for v in a):
        a = [v._a if isinstance(v, ndarray) else v for v in a]
    else:
        counts.uploads += 1
    return ndarray._of(np.array(a, dtype=dtype, copy=True, order="F" if _is_fortran(a, order) else "C", ndmin=ndmin))


def _is_fortran(a: Any, order: str) -> bool:
    """Whether an uploaded array stays in Fortran order: other orders become C."""
    return order == "F" or (order in "AK" and isinstance(a, np.ndarray) and a.flags.fnc)


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    """As cupy.asnumpy."""
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a)


def get_array_module(*args: Any) -> Any:
    """As cupy.get_array_module."""
    return cupy if any(isinstance(a, ndarray) for a in args) else np


def take(a: Any, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
    """As cupy.take; out of range raises, where CuPy wraps around."""
    if isinstance(indices, (list, np.ndarray)):
        counts.uploads += 1
        indices = ndarray._of(np.array(indices))
    return wrap(np.take(unwrap(a, "take"), unwrap(indices, "take"), axis=axis))


OWN = {
    f.__name__: f for f in (asarray, array, asnumpy, get_array_module, take, matmul)
} | {"is_available": lambda: True, "get_default_memory_pool": runtime.MemoryPool}  # fmt: skip


def _function(module: str, name: str, numpy: Any) -> Any:
    """NumPy's function under CuPy's signature."""
    parameters = FUNCTIONS[module][name]

    @silent
    def call(*args: Any, **kwargs: Any) -> Any:
        check_call(f"{module}.{name}", parameters, args, kwargs)
        if name in WAITS:
            counts.wait(name, WAITS[name])
        if name not in PLAIN and args and isinstance(args[0], list) and not _holds_device_arrays(args[0]):
            raise TypeError(f"{module}.{name} takes device arrays, got a list")
        if name in ("concatenate", "stack", "hstack", "vstack", "dstack") and len(args[0]) > 3:
            counts.uploads += 1  # the addresses of its arguments
        given = tuple(unwrap(a, name) for a in args)
        result = numpy(*given, **{k: unwrap(v, name) for k, v in kwargs.items()})
        if name in CREATED:
            return wrap(_unknown(result))
        if name in NUMBERS:
            result = np.asarray(result)
        return wrap(result) if isinstance(result, (np.ndarray, np.generic, tuple, list)) else result

    call.__name__ = name
    return call


def _holds_device_arrays(values: list[Any]) -> bool:
    return any(isinstance(v, ndarray) or (isinstance(v, list) and _holds_device_arrays(v)) for v in values)


@cache
def _attribute(name: str) -> Any:
    """What `cupy.name` is."""
    if name in OWN:
        return OWN[name]
    if name in ("RawKernel", "RawModule", "ElementwiseKernel", "ReductionKernel", "fuse"):
        raise AttributeError(f"the stand-in has no cupy.{name}: it runs no kernels")
    if name in UFUNCS:
        return ufunc(name)
    if name in FUNCTIONS["cupy"]:
        if not hasattr(np, name):
            raise NotImplementedError(f"the stand-in does not model cupy.{name}")
        return _function("cupy", name, getattr(np, name))
    if name in OTHERS and hasattr(np, name) and not isinstance(getattr(np, name), ModuleType):
        return getattr(np, name)  # dtypes and constants
    raise AttributeError(f"module 'cupy' has no attribute {name!r} (CuPy {VERSION})")


def _submodule(name: str, numpy: ModuleType) -> ModuleType:
    module = ModuleType(name)
    for function in FUNCTIONS[name]:
        if hasattr(numpy, function):
            setattr(module, function, _function(name, function, getattr(numpy, function)))
    return module


def _module() -> Any:
    """The stand-in as a module."""
    module: Any = ModuleType("cupy", __doc__)
    module.__version__ = VERSION
    module.__getattr__ = _attribute
    module.ndarray, module.ufunc = ndarray, Ufunc
    module.cuda, module.random = runtime.cuda, runtime.random
    module.linalg = _submodule("cupy.linalg", np.linalg)
    stride_tricks = _submodule("cupy.lib.stride_tricks", np.lib.stride_tricks)
    module.lib = SimpleNamespace(stride_tricks=stride_tricks)
    return module


cupy = _module()


# np.exp(x) of a device array is cupy.exp(x), as with CuPy
ndarray.__array_ufunc__ = lambda self, f, method, *args, **kwargs: getattr(getattr(cupy, f.__name__), method)(
    *args, **kwargs
)
ndarray.__array_function__ = lambda self, f, types, args, kwargs: getattr(
    cupy.linalg if f.__module__ == "numpy.linalg" else cupy, f.__name__
)(*args, **kwargs)


@contextmanager
def installed() -> Iterator[Any]:
    """`import cupy` finds the stand-in inside; gives it, its counts at zero and its memory without a limit."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy
    counts.clear()
    try:
        yield cupy
    finally:
        Memory.limit = 0
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before
