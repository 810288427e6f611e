r"""Dropout (Srivastava et al. 2014), inverted: scaled in training, so that evaluation is the identity.

With a mask m of independent entries, m = 1 with probability 1 - p and 0 with probability p,

    y  = x m / (1 - p)                                                  (1)
    gx = gy m / (1 - p)                                                 (2)

so that E[y] = x.
"""

from __future__ import annotations

from typing import Any

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array, get_array_module
from minidl.guards import frozen
from minidl.ops import _check

__all__ = ["dropout"]


class Dropout(Function):
    """y = x m / (1 - p); see (1), (2)."""

    def forward(self, x: Array, *, mask: Array, p: float) -> Array:
        self.mask, self.scale = mask, 1 / (1 - p)
        return x * mask * self.scale  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy * self.mask * self.scale,)  # (2)


def dropout(x: Any, mask: Any, p: float = 0.5) -> Tensor:
    """Zero what `mask` drops and scale the rest by 1/(1 - p).

    The mask is an argument, so that the op is a function of its arguments; `minidl.nn.Dropout` draws it.  A value that
    is dropped is 0 times itself: NaN and ±∞ are not hidden.

    Args:
        x: any shape.
        mask: booleans that broadcast to x's shape, True where x is kept: `rng.random(x.shape) >= p`.  Copied.
            Shape (N, C, 1, 1) drops whole channels.
        p: probability of a drop, in [0, 1).

    Returns:
        Tensor of x's shape.

    Raises:
        ValueError: p is outside [0, 1), or the mask does not broadcast to x's shape.
        TypeError: the mask is not boolean.

    Example:
        >>> dropout([1.0, 2.0, 3.0], [True, False, True], p=0.5).data
        array([2., 0., 6.], dtype=float32)
    """
    x, p = as_tensor(x), _check.number("dropout", "p", p)
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p must be in [0, 1), got {p!r}")
    xp = get_array_module(x.data)
    mask = frozen(xp.array(mask))
    if mask.dtype != bool:
        raise TypeError(f"dropout: mask must be boolean, True where x is kept, got dtype {mask.dtype}")
    _check.broadcasts_to("dropout", "mask", mask.shape, x.shape)
    return Dropout.apply(x, mask=mask, p=p)
