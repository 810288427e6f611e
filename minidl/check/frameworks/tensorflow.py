"""TensorFlow: functions of its tensors, differentiated by GradientTape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.check.frameworks.base import Framework, Function, Pulled


class TensorFlow(Framework):
    """Functions of TensorFlow's eager tensors."""

    name = "tensorflow"
    autograd = "tf.GradientTape"

    def __init__(self) -> None:
        import tensorflow

        self.tf: Any = tensorflow

    def asarray(self, x: np.ndarray, dtype: str) -> Any:
        return self.tf.cast(self.tf.constant(x), dtype) if x.dtype.kind == "f" else self.tf.constant(x)

    def floating(self, y: Any) -> str:
        return getattr(getattr(y, "dtype", None), "name", "")

    def numpy(self, y: Any) -> np.ndarray:
        y = self.tf.convert_to_tensor(y)
        return (self.tf.cast(y, self.tf.float32) if y.dtype == self.tf.bfloat16 else y).numpy()

    def pull_back(self, f: Function, xs: Sequence[Any], wanted: Sequence[int], gy: Any) -> Pulled:
        with self.tf.GradientTape() as tape:
            for i in wanted:
                tape.watch(xs[i])
            y = f(*xs)
        if y.shape != gy.shape:  # the forward is wrong, and no cotangent fits
            return y, None
        gxs = tape.gradient(y, [xs[i] for i in wanted], self.tf.cast(gy, y.dtype))
        return y, [None if g is None else self.numpy(g) for g in gxs]

    def joined(self, pieces: Sequence[Any], axis: int) -> Any:
        return self.tf.concat([(k + 1) * piece for k, piece in enumerate(pieces)], axis)
