"""What a check asks of a framework: arrays in, arrays out, and a vector-Jacobian product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

Function = Callable[..., Any]  # native arrays in, a native array (or a pair with a cache) out
Pulled = tuple[Any, list[np.ndarray | None] | None]


class Framework:
    """How one framework holds arrays and differentiates.

    Attributes:
        name: of its package.
        autograd: how its own differentiation is called in a report, or "" where it has none.
    """

    name = ""
    autograd = ""

    def asarray(self, x: np.ndarray, dtype: str) -> Any:
        """`x` as the framework's own array: floating ones in `dtype`, integers and truth values as they are."""
        raise NotImplementedError

    def floating(self, y: Any) -> str:
        """The dtype of an array of the framework, "" if it is not one."""
        return str(getattr(y, "dtype", "")).rpartition(".")[2]

    def numpy(self, y: Any) -> np.ndarray:
        """`y` as a NumPy array; formats that NumPy lacks come as float32, which holds them exactly."""
        return as_numpy(y)

    def setting(self) -> AbstractContextManager[Any]:
        """What must hold while its functions run: that float64 stays float64, say."""
        return nullcontext()

    def pull_back(self, f: Function, xs: Sequence[Any], wanted: Sequence[int], gy: Any) -> Pulled:
        """y = f(*xs) and, for the arrays at `wanted`, (∂y/∂x)ᵀ gy by the framework's own differentiation.

        A gradient is None where y does not depend on that array as the framework sees it.
        """
        raise NotImplementedError(f"{self.name} has no automatic differentiation; give the function's own `backward`")

    def joined(self, pieces: Sequence[Any], axis: int) -> Any:
        """The pieces, the k-th times k + 1, one behind the other: what checks of `split` look at."""
        raise NotImplementedError


def as_numpy(y: Any) -> np.ndarray:
    """Any array that speaks DLPack or `__array__`, or a number, as NumPy's.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(y, (bool, int, float, complex, np.ndarray, np.generic)):
        return np.asarray(y)
    if hasattr(y, "__array__"):
        array = np.asarray(y)
    elif hasattr(y, "__dlpack__"):
        array = np.from_dlpack(y)
    else:
        raise TypeError(f"returned a {type(y).__name__}, which is no array: it has neither __dlpack__ nor __array__")
    if array.dtype.kind in "biufc":
        return array
    if array.dtype.kind == "V":  # ml_dtypes' bfloat16: float32 holds it
        return array.astype(np.float32)
    raise TypeError(f"returned an array of {array.dtype}, not of numbers")
