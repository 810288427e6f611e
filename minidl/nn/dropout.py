"""Dropout as a layer: it owns the generator of its masks."""

from __future__ import annotations

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.device import get_array_module
from minidl.nn.module import Module
from minidl.ops import _check


class Dropout(Module):
    """Zero each value with probability p in training, and scale the rest by 1/(1 - p); see `ops.dropout`.

    Args:
        p: in [0, 1).
        rng: parent of the layer's own generator, `noise`, so that its masks depend on nothing but their number.

    Raises:
        ValueError: p is not in [0, 1).

    Example:
        >>> layer = Dropout(0.5, rng=np.random.default_rng(0))
        >>> sorted(set(layer(Tensor(np.ones(100, np.float32))).data.tolist()))
        [0.0, 2.0]
        >>> layer.eval()(Tensor([3.0])).data
        array([3.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator) -> None:
        self.p = _check.number("Dropout", "p", p)
        if not 0 <= self.p < 1:
            raise ValueError(f"Dropout: p must be in [0, 1), got {p}")
        self.noise = rng.spawn(1)[0]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        xp = get_array_module(x.data)
        kept = self.noise.random(x.shape, dtype=np.float32) >= self.p  # drawn on the CPU: the same on every device
        return ops.dropout(x, xp.asarray(kept), self.p)

    def extra_repr(self) -> str:
        return f"{self.p:g}"
