"""Broadcasting: operands that agree, and its adjoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd import Tensor, as_tensor
from minidl.device import Array


def sum_to(gy: Array, shape: tuple[int, ...]) -> Array:
    """Sum `gy` over the axes along which `shape` was broadcast: the adjoint of `broadcast_to(·, gy.shape)`.

    Example:
        >>> import numpy as np
        >>> sum_to(np.ones((2, 3, 4)), (3, 1)).tolist()
        [[8.0], [8.0], [8.0]]
    """
    if gy.shape == shape:
        return gy
    lead = gy.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and gy.shape[lead + i] != 1)
    return gy.sum(axis=axes).reshape(shape)  # without its axes of length 1 → shape


def operands(op: str, *values: Any) -> list[Tensor]:
    """`values` as Tensors that broadcast; numbers, lists and integer arrays take the dtype of the Tensors among them.

    Raises:
        ValueError: the shapes do not broadcast.
    """
    like = next((v for v in values if isinstance(v, Tensor)), None)
    tensors = [as_tensor(v, like) for v in values]
    try:
        np.broadcast_shapes(*(x.shape for x in tensors))
    except ValueError:
        shapes = " and ".join(str(x.shape) for x in tensors)
        raise ValueError(f"{op}: shapes must broadcast, got {shapes}") from None
    return tensors
