"""Elementwise functions and operators, with CuPy's types and keywords."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tests.gpu.strict.array import ndarray, refuse_overlap, silent, unwrap, wrap
from tests.gpu.strict.counting import counts
from tests.gpu.strict.surface import UFUNCS

BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "lshift": "left_shift", "rshift": "right_shift",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
}  # fmt: skip
COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip
UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
METHODS = {  # which of the methods that every ufunc has do anything: the rest raise NotImplementedError
    "reduce": {"add", "multiply", "maximum", "minimum"},
    "accumulate": {"add", "multiply"},
    "reduceat": {"add"},
    "at": {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"},
}


class Ufunc:
    """One of CuPy's elementwise functions."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.types = UFUNCS[name]
        self._f = getattr(np, name)
        self._outputs: dict[str, str | None] = {}

    @silent
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if wrong := kwargs.keys() - {"out", "dtype", "casting"}:
            raise TypeError(f"cupy.{self.__name__}: wrong arguments {sorted(wrong)}")
        given = [unwrap(a, self.__name__) for a in args]
        numbers = (int, float, complex, bool, np.generic)
        if not all(isinstance(a, (np.ndarray, *numbers)) for a in given):
            raise TypeError(f"cupy.{self.__name__}: unsupported type {[type(a).__name__ for a in given]}")
        out = self._result_type(given)
        if "out" in kwargs:
            counts.launches += 1
            written = kwargs["out"] = unwrap(kwargs["out"], self.__name__)
            for a in given:
                if isinstance(a, np.ndarray):
                    refuse_overlap(written, a)
            try:
                self._f(*given, **kwargs)
            except TypeError as error:  # NumPy has kinds of its own
                raise TypeError(str(error)) from None
            return ndarray._of(written)
        result = self._f(*given, **kwargs)
        if out is not None and "dtype" not in kwargs and not isinstance(result, tuple):
            result = np.asarray(result).astype(out, copy=False)
        return wrap(result)

    def _result_type(self, given: list[Any]) -> str | None:
        """The dtype that CuPy gives: of the first of its types that the arguments fit; None where it mixes types.

        Raises:
            TypeError: they fit none.
        """
        joined = np.result_type(*given)
        if joined.char not in self._outputs:
            self._outputs[joined.char] = self._output(joined)
        return self._outputs[joined.char]

    def _output(self, joined: np.dtype) -> str | None:
        same = [(ins, outs) for ins, outs in self.types if len(set(ins)) == 1]
        for ins, outs in same:
            if np.can_cast(joined, ins[0], "safe"):
                return outs if len(outs) == 1 else None
        if len(same) == len(self.types):
            raise TypeError(f"cupy.{self.__name__} has no type for {joined}, only {self.types}")
        return None

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._method("reduce", array, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        return self._method("accumulate", array, axis=axis, dtype=dtype, out=out)

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        return self._method("reduceat", array, indices, axis=axis, dtype=dtype, out=out)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        counts.launches += 1
        self._method("at", a, indices, *(() if b is None else (b,)))

    def outer(self, a: Any, b: Any, **kwargs: Any) -> Any:
        return wrap(self._f.outer(unwrap(a, self.__name__), unwrap(b, self.__name__), **kwargs))

    @silent
    def _method(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self.__name__ not in METHODS[method]:
            raise NotImplementedError(f"CuPy has no {self.__name__}.{method}")
        args = tuple(unwrap(a, self.__name__) for a in args)
        return wrap(getattr(self._f, method)(*args, **{k: unwrap(v, self.__name__) for k, v in kwargs.items()}))


@cache
def ufunc(name: str) -> Ufunc:
    """The elementwise function of that name."""
    return Ufunc(name)


@silent
def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """a @ b; in CuPy no elementwise function."""
    result = np.matmul(unwrap(a, "matmul"), unwrap(b, "matmul"))
    if out is None:
        return wrap(result)
    out[...] = wrap(result)
    return out


def _operator(name: str) -> Any:
    return matmul if name == "matmul" else ufunc(name)


def _attach() -> None:
    """Give `ndarray` its operators."""
    for short, name in BINARY.items():

        def binary(self: ndarray, other: Any, name: str = name) -> Any:
            return _operator(name)(self, other)

        def reflected(self: ndarray, other: Any, name: str = name) -> Any:
            return _operator(name)(other, self)

        def in_place(self: ndarray, other: Any, name: str = name) -> Any:
            _operator(name)(self, other, out=self)
            return self

        setattr(ndarray, f"__{short}__", binary)
        setattr(ndarray, f"__r{short}__", reflected)
        if short != "matmul":
            setattr(ndarray, f"__i{short}__", in_place)
    for short, name in COMPARISONS.items():
        setattr(ndarray, f"__{short}__", lambda self, other, name=name: ufunc(name)(self, other))
    for short, name in UNARY.items():
        setattr(ndarray, f"__{short}__", lambda self, name=name: ufunc(name)(self))


_attach()
