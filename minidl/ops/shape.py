r"""Rearranging elements.

Every op here copies: y_i = x_{s(i)} for a map s from the places of y to the places of x.  It is linear, and its
backward is the adjoint, which adds up what each source was copied to.  With gy = ∂L/∂y:

    y_i  = x_{s(i)}                                                                 (1)
    gx_j = Σ_{i: s(i) = j} gy_i                                                     (2)

    reshape, transpose, flip    gy reshaped, transposed by the inverse permutation, flipped         (3)
    concat, stack               gy cut into the pieces                                              (4)
    broadcast_to                gy summed over the axes along which x was repeated                  (5)

(3), (4): s is one to one, and (2) moves gy back.  Reading by places (x[key], take, split, pad) is in `index`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops._axes import Axis, lengths, one_axis, several_axes
from minidl.ops._broadcast import sum_to

__all__ = [
    "broadcast_to",
    "concat",
    "expand_dims",
    "flatten",
    "flip",
    "reshape",
    "squeeze",
    "stack",
    "transpose",
]


class Reshape(Function):
    """y = the elements of x, in row-major order, in another shape; see (3)."""

    def forward(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        self.shape = x.shape
        return x.reshape(shape)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy.reshape(self.shape),)  # (3)


def reshape(x: Any, shape: int | Sequence[int]) -> Tensor:
    """The same elements, read in row-major order, in another shape.

    Args:
        x: any shape.
        shape: the lengths of the new axes; one of them may be −1 and follows from the others.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: `shape` does not hold as many elements as `x`, or has more than one −1.

    Example:
        >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1)).shape
        (2, 2)
    """
    x = as_tensor(x)
    target = lengths("reshape", "shape", shape, minimum=-1)
    known = math.prod(n for n in target if n != -1)
    if target.count(-1) == 1 and known > 0 and x.size % known == 0:
        target = tuple(x.size // known if n == -1 else n for n in target)
    if -1 in target or math.prod(target) != x.size:
        raise ValueError(f"reshape: shape must hold the {x.size} elements of {x.shape}, got {shape}")
    return Reshape.apply(x, shape=target)


def flatten(x: Any, start_axis: int = 0) -> Tensor:
    """The axes from `start_axis` on, joined into one: (N, C, H, W) → (N, C·H·W) for `start_axis=1`.

    Args:
        x: at least one axis.
        start_axis: the first axis to join, counted from the end if negative.

    Returns:
        Tensor with `start_axis` + 1 axes.

    Raises:
        ValueError: `start_axis` is out of range.

    Example:
        >>> import numpy as np
        >>> flatten(np.zeros((2, 3, 4, 5)), 1).shape
        (2, 60)
    """
    x = as_tensor(x)
    start = one_axis("flatten", start_axis, x.ndim)
    return Reshape.apply(x, shape=(*x.shape[:start], math.prod(x.shape[start:])))


def squeeze(x: Any, axis: Axis = None) -> Tensor:
    """`x` without axes of length 1.

    Args:
        x: any shape.
        axis: which of them to drop; None for all that have length 1.

    Returns:
        Tensor with fewer axes.

    Raises:
        ValueError: an axis has another length, is out of range or named twice.

    Example:
        >>> squeeze([[[1.0, 2.0]]], axis=1).shape
        (1, 2)
    """
    x = as_tensor(x)
    axes = several_axes("squeeze", axis, x.ndim)
    if axis is not None and any(x.shape[i] != 1 for i in axes):
        raise ValueError(f"squeeze: axis must have length 1, got axis={axis} of shape {x.shape}")
    return Reshape.apply(x, shape=tuple(n for i, n in enumerate(x.shape) if not (n == 1 and i in axes)))


def expand_dims(x: Any, axis: int) -> Tensor:
    """`x` with a new axis of length 1.

    Args:
        x: any shape.
        axis: where the new axis stands in the result.

    Returns:
        Tensor with one axis more.

    Raises:
        ValueError: `axis` is out of range.

    Example:
        >>> expand_dims([1.0, 2.0], -1).shape
        (2, 1)
    """
    x = as_tensor(x)
    i = one_axis("expand_dims", axis, x.ndim + 1)
    return Reshape.apply(x, shape=(*x.shape[:i], 1, *x.shape[i:]))


class Transpose(Function):
    """y_{i_p(0) i_p(1) …} = x_{i_0 i_1 …}; see (3)."""

    def forward(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        self.axes = axes
        return x.transpose(axes)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy.transpose(np.argsort(self.axes).tolist()),)  # (3)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order.

    Args:
        x: any shape.
        axes: axis i of the result is axis `axes[i]` of `x`; None reverses them, as `x.T` does.

    Returns:
        Tensor with the axes permuted.

    Raises:
        ValueError: `axes` is not a permutation of the axes.

    Example:
        >>> import numpy as np
        >>> transpose(np.zeros((2, 3, 4)), (0, 2, 1)).shape
        (2, 4, 3)
    """
    x = as_tensor(x)
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(one_axis("transpose", a, x.ndim) for a in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"transpose: axes must be a permutation of {tuple(range(x.ndim))}, got {axes}")
    return Transpose.apply(x, axes=order)


class BroadcastTo(Function):
    """y = x repeated along axes of length 1 and along new first axes; see (5)."""

    def forward(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        self.shape = x.shape
        return self.xp.broadcast_to(x, shape)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (sum_to(gy, self.shape),)  # (5)


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Tensor:
    """`x` repeated to a shape that it broadcasts to.

    Args:
        x: any shape.
        shape: the shape of the result.

    Returns:
        Tensor of that shape.

    Raises:
        ValueError: `x` does not broadcast to it.

    Example:
        >>> broadcast_to([[1.0], [2.0]], (2, 3)).data
        array([[1., 1., 1.],
               [2., 2., 2.]], dtype=float32)
    """
    x = as_tensor(x)
    target = lengths("broadcast_to", "shape", shape, minimum=0)
    aligned = zip(reversed(x.shape), reversed(target), strict=False)
    if len(target) < x.ndim or any(n not in (1, m) for n, m in aligned):
        raise ValueError(f"broadcast_to: {x.shape} must broadcast to shape, got {target}")
    return BroadcastTo.apply(x, shape=target)


class Concat(Function):
    """y = x_1, x_2, … one after another along an axis; see (4)."""

    def forward(self, *xs: Array, axis: int) -> Array:
        self.axis, self.ends = axis, np.cumsum([x.shape[axis] for x in xs]).tolist()
        return self.xp.concatenate(xs, axis=axis)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        pieces = self.xp.split(gy, self.ends[:-1], axis=self.axis)  # (4)
        return tuple(gx if needed else None for gx, needed in zip(pieces, self.needs_grad, strict=True))


def concat(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors one after another along an axis they have.

    Args:
        tensors: at least one; shapes equal but for `axis`, same dtype.
        axis: the axis to join, counted from the end if negative.

    Returns:
        Tensor whose length along `axis` is the sum of theirs.

    Raises:
        ValueError: no tensor, shapes that differ elsewhere, or an axis out of range.

    Example:
        >>> concat([[1.0, 2.0], [3.0]]).data
        array([1., 2., 3.], dtype=float32)
    """
    xs = _tensors("concat", tensors)
    i = one_axis("concat", axis, xs[0].ndim)
    if len({(*x.shape[:i], *x.shape[i + 1 :]) for x in xs}) > 1 or any(x.ndim != xs[0].ndim for x in xs):
        raise ValueError(f"concat: shapes must be equal but for axis {axis}, got {_listed(xs)}")
    return Concat.apply(*xs, axis=i)


class Stack(Function):
    """y = x_1, x_2, … side by side along a new axis; see (4)."""

    def forward(self, *xs: Array, axis: int) -> Array:
        self.axis = axis
        return self.xp.stack(xs, axis=axis)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        pieces = self.xp.moveaxis(gy, self.axis, 0)  # (4)
        return tuple(gx if needed else None for gx, needed in zip(pieces, self.needs_grad, strict=True))


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors side by side along a new axis.

    Args:
        tensors: at least one; equal shapes, same dtype.
        axis: where the new axis stands in the result.

    Returns:
        Tensor with one axis more.

    Raises:
        ValueError: no tensor, shapes that differ, or an axis out of range.

    Example:
        >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1).data
        array([[1., 3.],
               [2., 4.]], dtype=float32)
    """
    xs = _tensors("stack", tensors)
    if any(x.shape != xs[0].shape for x in xs):
        raise ValueError(f"stack: shapes must be equal, got {_listed(xs)}")
    return Stack.apply(*xs, axis=one_axis("stack", axis, xs[0].ndim + 1))


class Flip(Function):
    """y = x read backwards along axes; see (3)."""

    def forward(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        self.axes = axes
        return self.xp.flip(x, axes)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (self.xp.flip(gy, self.axes),)  # (3)


def flip(x: Any, axis: Axis = None) -> Tensor:
    """The elements in reverse order along axes.

    Args:
        x: any shape.
        axis: the axis or axes to reverse; None for all.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: an axis is out of range or named twice.

    Example:
        >>> flip([[1.0, 2.0, 3.0]], axis=1).data
        array([[3., 2., 1.]], dtype=float32)
    """
    x = as_tensor(x)
    return Flip.apply(x, axes=several_axes("flip", axis, x.ndim))


def _tensors(op: str, values: Sequence[Any]) -> list[Tensor]:
    """`values` as Tensors; a single Tensor is refused, since it would be taken apart row by row."""
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{op}: tensors must be a list or tuple of at least one, got {type(values).__name__}")
    like = next((v for v in values if isinstance(v, Tensor)), None)
    return [as_tensor(v, like) for v in values]


def _listed(xs: Sequence[Tensor]) -> str:
    return ", ".join(str(x.shape) for x in xs)
