"""Parameters end to end in one array, so that an update of all of them is one pass (on a GPU: one launch).

    parameters   weight (2, 3)      bias (2,)
    array        w w w w w w  b b                each parameter's data is a view of its place here

A parameter whose data someone else assigns is noticed, and the array is put together again.  Each part lies in C order,
but for filters on a GPU: there it lies as its kernels take filters and give their gradients, so that nothing is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from minidl.device import Array, get_array_module
from minidl.guards import frozen
from minidl.kernels import kernels_for
from minidl.nn.parameter import Parameter

__all__ = ["Flat"]


class Flat:
    """Parameters of one dtype and device, as one array.

    Args:
        parameters: at least one; each keeps its shape.

    Attributes:
        ends: one past the last element of each.
        size: elements in all.

    Example:
        >>> weight, bias = Parameter([[1.0, 2.0]]), Parameter([3.0])
        >>> flat = Flat([weight, bias])
        >>> flat.give(2 * flat.values())
        >>> weight.data, flat.ends
        (array([[2., 4.]], dtype=float32), (2, 3))
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.ends = tuple(accumulate(p.size for p in self.parameters))
        self.size = self.ends[-1]
        self._places = [slice(start, end) for start, end in pairwise((0, *self.ends))]
        order: tuple[int, ...] = getattr(kernels_for(get_array_module(self.parameters[0].data)), "FILTER_AXES", ())
        self._axes = [order if p.ndim == len(order) else tuple(range(p.ndim)) for p in self.parameters]
        self._array: Array = None
        self._views: list[Array] = []

    def values(self) -> Array:
        """The data of all, (size,), read-only."""
        data = [p.data for p in self.parameters]
        if len(self._views) != len(data) or any(a is not view for a, view in zip(data, self._views, strict=True)):
            self.give(self.joined(data))
        return self._array

    def gradients(self) -> Array:
        """The gradients of all, (size,); each parameter must have one."""
        return self.joined([p.grad for p in self.parameters])

    def give(self, array: Array) -> None:
        """Let each parameter's data be its part of `array`, (size,), to which nobody writes from now on."""
        self._array = frozen(array)
        self._views = self.parts(array)
        for parameter, view in zip(self.parameters, self._views, strict=True):
            parameter.adopt(view)

    def parts(self, array: Array) -> list[Array]:
        """The part of `array` that belongs to each parameter, in its shape: views."""
        views = []
        for p, place, axes in zip(self.parameters, self._places, self._axes, strict=True):
            laid = array[place].reshape([p.shape[axis] for axis in axes])  # (size,) → as it lies
            views.append(frozen(laid.transpose([axes.index(axis) for axis in range(p.ndim)])))
        return views

    def joined(self, arrays: Sequence[Array]) -> Array:
        """`arrays`, shaped as the parameters, end to end, whatever their order in memory: a new array, (size,)."""
        xp = get_array_module(*arrays)
        laid = zip(arrays, self._axes, strict=True)
        return xp.concatenate([xp.reshape(a.transpose(axes), -1) for a, axes in laid])
