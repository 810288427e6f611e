r"""Reading elements by their places.

Every op here copies: y_i = x_{s(i)} for a map s from the places of y to the places of x.  It is linear, and its
backward is the adjoint, which adds up what each source was copied to.  With gy = ∂L/∂y:

    y_i  = x_{s(i)}                                                                        (1)
    gx_j = Σ_{i: s(i) = j} gy_i,    in ascending order of i                                (2)

Where s is one to one (slices, padding with a constant), (2) writes gy into zeros, or cuts the inner part out of it.
Elsewhere the places i are sorted by s(i), so that (2) is a sum over runs; its order does not depend on timing, so
the same call gives the same bits.  Padding along several axes is done one axis after another, and (2) in reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType, ModuleType
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array, asnumpy, get_array_module
from minidl.ops._axes import lengths, one_axis
from minidl.ops._check import choice, number

__all__ = ["getitem", "pad", "split", "take"]


def _sum_by_source(xp: ModuleType, gy: Array, source: np.ndarray, length: int, axis: int) -> Array:
    """(2) along `axis`, for s(i) = source[i] in [0, length)."""
    gx = xp.zeros((*gy.shape[:axis], length, *gy.shape[axis + 1 :]), gy.dtype)
    if gy.size:
        order = np.argsort(source, kind="stable")
        found, starts = np.unique(source[order], return_index=True)  # a run of equal sources starts at each of these
        runs = xp.take(gy, xp.asarray(order), axis=axis)
        gx[(*[slice(None)] * axis, xp.asarray(found))] = xp.add.reduceat(runs, xp.asarray(starts), axis=axis)  # (2)
    return gx


class GetItem(Function):
    """y = x[key]; see (1), (2)."""

    def forward(self, x: Array, *, key: tuple[Any, ...]) -> Array:
        self.x, self.key = x, key
        return x[tuple(self.xp.asarray(k) if isinstance(k, np.ndarray) else k for k in key)]  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        if not any(isinstance(k, np.ndarray) for k in self.key):
            gx = self.xp.zeros_like(self.x)  # in the memory order of x
            gx[self.key] = gy  # (2), s one to one
            return (gx,)
        n = self.x.size
        source = np.arange(n).reshape(self.x.shape)[self.key]  # s(i), places counted in row-major order
        gx = _sum_by_source(self.xp, gy.reshape(-1), source.reshape(-1), n, axis=0)  # (2)
        return (gx.reshape(self.x.shape),)


def getitem(x: Any, key: Any) -> Tensor:
    """Elements of `x`; `x[key]` on Tensors, as in NumPy.

    Args:
        x: at least as many axes as `key` names.
        key: an integer, slice, None, "...", integers, a mask of booleans, or a tuple of these.  Arrays are copied.
            An element that is read several times gets the sum of its gradients.  Tensors hold floating-point numbers
            and are no keys: use an array.

    Returns:
        Tensor of the shape that NumPy gives.

    Raises:
        IndexError: an index is out of range, `key` names more axes than `x` has, or the shapes do not fit.
        TypeError: `key` holds something else.
        ValueError: a slice has step 0.

    Example:
        >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> y = getitem(x, [0, 0, -1])
        >>> y.backward([1.0, 2.0, 4.0])
        >>> y.data, x.grad
        (array([1., 1., 3.], dtype=float32), array([3., 0., 4.], dtype=float32))
    """
    x = as_tensor(x)
    parts = tuple(_key_part(k) for k in (key if isinstance(key, tuple) else (key,)))
    try:
        np.broadcast_to(np.False_, x.shape)[parts]  # NumPy's own checks, on every device: CuPy would wrap around
    except (IndexError, TypeError, ValueError) as error:
        raise type(error)(f"getitem: {error}") from None
    plain = [i for k in parts for i in (k.nonzero() if _is_mask(k) else (k,))]  # a mask is the places where it is True
    return GetItem.apply(x, key=tuple(plain))


def _is_mask(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype == np.bool_


def _key_part(part: Any) -> Any:
    """One part of a key: integers and masks as arrays of their own, or a TypeError."""
    if part is None or isinstance(part, (EllipsisType, slice)):
        return part
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return int(part)
    if isinstance(part, (list, tuple, np.ndarray)) or get_array_module(part) is not np:
        array = np.array(asnumpy(part))
        if array.size == 0 and not hasattr(part, "dtype"):
            array = array.astype(np.intp)  # [] has no dtype of its own
        if array.dtype.kind in "iu" or (array.dtype == np.bool_ and array.ndim > 0):
            return array
    raise TypeError(
        f"getitem: key must hold integers, slices, None, '...', arrays of integers or masks, got {type(part).__name__}"
    )


class Take(Function):
    """y = x read at several places along an axis; see (1), (2)."""

    def forward(self, x: Array, *, indices: np.ndarray, axis: int) -> Array:
        self.length, self.indices, self.axis = x.shape[axis], indices, axis
        return self.xp.take(x, self.xp.asarray(indices), axis=axis)  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        before, after = gy.shape[: self.axis], gy.shape[self.axis + self.indices.ndim :]
        gy = gy.reshape((*before, self.indices.size, *after))  # (…, indices…, …) → (…, i, …)
        return (_sum_by_source(self.xp, gy, self.indices.reshape(-1), self.length, self.axis),)  # (2)


def take(x: Any, indices: Any, axis: int = 0) -> Tensor:
    """Slices of `x` at several places along an axis, such as the rows of an embedding.

    Args:
        x: at least one axis.
        indices: integers of any shape in [−n, n), n the length of the axis; negative ones count from its end.  Copied.
        axis: where to read, counted from the end if negative.

    Returns:
        Tensor whose shape is that of `x` with `axis` replaced by the axes of `indices`.

    Raises:
        IndexError: an index is out of range.
        TypeError: the indices are not integers.
        ValueError: `axis` is out of range.

    Example:
        >>> take([[1.0, 2.0], [3.0, 4.0]], [1, 1, 0]).data
        array([[3., 4.],
               [3., 4.],
               [1., 2.]], dtype=float32)
    """
    x = as_tensor(x)
    i = one_axis("take", axis, x.ndim)
    n = x.shape[i]
    places = np.array(asnumpy(indices))
    if places.dtype.kind not in "iu" and places.size:
        raise TypeError(f"take: indices must be integers, got dtype {places.dtype}")
    places = places.astype(np.intp)
    outside = (places < -n) | (places >= n)
    if outside.any():
        raise IndexError(f"take: indices must be in [{-n}, {n}) along axis {axis}, got {places[outside][0]}")
    return Take.apply(x, indices=np.where(places < 0, places + n, places), axis=i)


def split(x: Any, sizes: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """`x` cut into pieces along an axis, as in `torch.split`; undone by `concat`.

    Args:
        x: at least one axis.
        sizes: the lengths of the pieces; or one length for all of them, of which the last may then be shorter.
        axis: the axis to cut, counted from the end if negative.

    Returns:
        List of Tensors, equal in shape but for `axis`.

    Raises:
        ValueError: the lengths do not add up to that of the axis, or `axis` is out of range.

    Example:
        >>> [piece.shape for piece in split([1.0, 2.0, 3.0, 4.0, 5.0], 2)]
        [(2,), (2,), (1,)]
    """
    x = as_tensor(x)
    i = one_axis("split", axis, x.ndim)
    n = x.shape[i]
    if isinstance(sizes, (list, tuple)):
        ends = np.cumsum(lengths("split", "sizes", sizes, minimum=0), dtype=int).tolist()
    else:
        (size,) = lengths("split", "sizes", sizes, minimum=1)
        ends = [min(end, n) for end in range(size, n + size, size)] or [0]
    if not ends or ends[-1] != n:
        raise ValueError(f"split: sizes must add up to the length {n} of axis {axis}, got {sizes}")
    keys = [(*[slice(None)] * i, slice(start, end)) for start, end in zip([0, *ends], ends, strict=False)]
    return [GetItem.apply(x, key=key) for key in keys]


class PadConstant(Function):
    """y = x with a constant around it; see (1), (2)."""

    def forward(self, x: Array, *, widths: tuple[tuple[int, int], ...], value: float) -> Array:
        self.inner = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))
        shape = tuple(before + n + after for n, (before, after) in zip(x.shape, widths, strict=True))
        y = self.xp.full_like(x, value, shape=shape)  # in the memory order of x
        y[self.inner] = x  # (1)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return (gy[self.inner],)  # (2), s one to one


class PadFromInside(Function):
    """y = x continued by its own elements; see (1), (2)."""

    def forward(self, x: Array, *, widths: tuple[tuple[int, int], ...], mode: Any) -> Array:
        self.lengths = x.shape
        self.sources = [np.pad(np.arange(n), w, mode) if any(w) else None for n, w in zip(x.shape, widths, strict=True)]
        for axis, source in enumerate(self.sources):
            if source is not None:
                x = self.xp.take(x, self.xp.asarray(source), axis=axis)  # (1)
        return x

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        for axis, source in reversed(list(enumerate(self.sources))):
            if source is not None:
                gy = _sum_by_source(self.xp, gy, source, self.lengths[axis], axis)  # (2)
        return (gy,)


PAD_MODES = ("constant", "reflect", "symmetric", "edge", "wrap")


def pad(x: Any, pad_width: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """`x` with elements added at both ends of its axes.

    Args:
        x: any shape.
        pad_width: a pair (before, after) for every axis, each >= 0; an integer stands for such a pair of equal
            numbers, and a single integer for all axes.
        mode: what is added, here two elements around a b c d, in NumPy's names:
            "constant"  v v | a b c d | v v, v the `value`;
            "reflect"   c b | a b c d | c b, mirrored at the last element (PyTorch: "reflect");
            "symmetric" b a | a b c d | d c, mirrored behind it;
            "edge"      a a | a b c d | d d, the last element repeated (PyTorch: "replicate");
            "wrap"      c d | a b c d | a b, periodic (PyTorch: "circular").
            Where more is added than the axis is long, the pattern goes on.
        value: v, for mode "constant".

    Returns:
        Tensor with longer axes.

    Raises:
        ValueError: `pad_width` has not one pair per axis, a width is negative, the mode is unknown, `value` is given
            for a mode that does not use it, or an axis without elements would be continued by its own.

    Example:
        >>> pad([1.0, 2.0, 3.0], [(1, 2)]).data
        array([0., 1., 2., 3., 0., 0.], dtype=float32)
        >>> pad([1.0, 2.0, 3.0], 2, mode="reflect").data
        array([3., 2., 1., 2., 3., 2., 1.], dtype=float32)
    """
    x = as_tensor(x)
    choice("pad", "mode", mode, PAD_MODES)
    value = number("pad", "value", value)
    pairs = pad_width if isinstance(pad_width, (list, tuple)) else [pad_width] * x.ndim
    widths = [lengths("pad", "pad_width", w if isinstance(w, (list, tuple)) else (w, w), minimum=0) for w in pairs]
    if len(widths) != x.ndim or any(len(w) != 2 for w in widths):
        raise ValueError(f"pad: pad_width must have a pair for each of the {x.ndim} axes, got {pad_width}")
    if mode == "constant":
        return PadConstant.apply(x, widths=tuple(widths), value=value)
    if value != 0:
        raise ValueError(f"pad: value applies to mode 'constant' only, got value={value}, mode={mode!r}")
    if any(n == 0 and any(w) for n, w in zip(x.shape, widths, strict=True)):
        raise ValueError(f"pad: mode {mode!r} needs elements along the axes it pads, got shape {x.shape}")
    return PadFromInside.apply(x, widths=tuple(widths), mode=mode)
