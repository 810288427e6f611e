"""JAX: functions of its arrays, differentiated by jax.vjp, with float64 switched on while they run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minidl.check.frameworks.base import Framework, Function, Pulled


class Jax(Framework):
    """Functions of JAX arrays."""

    name = "jax"
    autograd = "jax.vjp"

    def __init__(self) -> None:
        import jax
        import jax.experimental
        import jax.numpy

        self.jax: Any = jax

    def asarray(self, x: np.ndarray, dtype: str) -> Any:
        return self.jax.numpy.asarray(x, dtype=dtype if x.dtype.kind == "f" else x.dtype)

    def setting(self) -> AbstractContextManager[Any]:
        if hasattr(self.jax, "enable_x64"):
            return self.jax.enable_x64(True)
        return self.jax.experimental.enable_x64()  # its place in older versions

    def pull_back(self, f: Function, xs: Sequence[Any], wanted: Sequence[int], gy: Any) -> Pulled:
        def of_wanted(*leaves: Any) -> Any:
            given = list(xs)
            for i, leaf in zip(wanted, leaves, strict=True):
                given[i] = leaf
            return f(*given)

        y, vjp = self.jax.vjp(of_wanted, *(xs[i] for i in wanted))
        if y.shape != gy.shape:  # the forward is wrong, and no cotangent fits
            return y, None
        return y, [self.numpy(g) for g in vjp(gy.astype(y.dtype))]

    def joined(self, pieces: Sequence[Any], axis: int) -> Any:
        return self.jax.numpy.concatenate([(k + 1) * piece for k, piece in enumerate(pieces)], axis)
