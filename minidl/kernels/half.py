"""float16 for forms of the kernels that compute in the precision of their arrays: stored in half, computed in single.

Maps, filters and their gradients are float16.  What there is one of a channel (an array with one axis: statistics and
parameters of a norm) is float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from types import ModuleType
from typing import Any, cast

import numpy as np

__all__ = ["in_single"]


@cache
def in_single(kernels: ModuleType) -> ModuleType:
    """`kernels` for arrays of which some are float16; those in CUDA C++ know of them and come back as they are.

    Example:
        >>> from minidl.kernels import array
        >>> tenth = np.full(3, 0.1, np.float16).reshape(3, 1)
        >>> in_single(array).add(tenth, tenth).dtype
        dtype('float16')
    """
    return kernels if kernels.__name__ == "minidl.kernels.cuda" else cast(ModuleType, _InSingle(kernels))


class _InSingle:
    def __init__(self, kernels: ModuleType) -> None:
        self._kernels = kernels

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = getattr(self._kernels, name)

        @wraps(kernel)
        def computed(*args: Any, **params: Any) -> Any:
            results = kernel(*map(_single, args), **{key: _single(value) for key, value in params.items()})
            if not any(_is(np.float16, a) for a in (*args, *params.values())):
                return results
            return tuple(map(_stored, results)) if isinstance(results, tuple) else _stored(results)

        return computed


def _is(dtype: Any, value: Any) -> bool:
    return getattr(value, "dtype", None) == dtype


def _single(value: Any) -> Any:
    return value.astype(np.float32) if _is(np.float16, value) else value


def _stored(value: Any) -> Any:
    return value.astype(np.float16) if _is(np.float32, value) and value.ndim > 1 else value
