"""Specification of the ops that rearrange elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, OpCase, Sample
from minidl.check.spec.elementwise import broadcasting_drawn


def place(index: Sequence[int], shape: Sequence[int]) -> int:
    """The position of `index` in row-major order."""
    position = 0
    for i, n in zip(index, shape, strict=True):
        position = position * n + i
    return position


def reference_reshape(x: np.ndarray, shape: Any) -> np.ndarray:
    """The element at row-major position k goes to row-major position k."""
    shape = [shape] if isinstance(shape, int) else list(shape)
    rest = math.prod(n for n in shape if n != -1)
    shape = [x.size // rest if n == -1 else n for n in shape]
    y = np.zeros(shape)
    elements = {place(i, x.shape): x[i] for i in np.ndindex(x.shape)}
    for i in np.ndindex(y.shape):
        y[i] = elements[place(i, shape)]
    return y


def reference_flatten(x: np.ndarray, start_axis: int = 0) -> np.ndarray:
    y = np.zeros((*x.shape[:start_axis], math.prod(x.shape[start_axis:])))
    start = start_axis % x.ndim
    for i in np.ndindex(x.shape):
        y[(*i[:start], place(i[start:], x.shape[start:]))] = x[i]
    return y


def reference_squeeze(x: np.ndarray, axis: Any = None) -> np.ndarray:
    chosen = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    dropped = {a % x.ndim for a in chosen if x.shape[a] == 1}
    y = np.zeros([n for a, n in enumerate(x.shape) if a not in dropped])
    for i in np.ndindex(x.shape):
        y[tuple(j for a, j in enumerate(i) if a not in dropped)] = x[i]
    return y


def reference_expand_dims(x: np.ndarray, axis: int) -> np.ndarray:
    axis = axis if axis >= 0 else axis + x.ndim + 1
    y = np.zeros([*x.shape[:axis], 1, *x.shape[axis:]])
    for i in np.ndindex(x.shape):
        y[(*i[:axis], 0, *i[axis:])] = x[i]
    return y


def reference_transpose(x: np.ndarray, axes: Sequence[int] | None = None) -> np.ndarray:
    """Index a of the result is index axes[a] of x."""
    order = list(range(x.ndim))[::-1] if axes is None else list(axes)
    y = np.zeros([x.shape[a] for a in order])
    for i in np.ndindex(x.shape):
        y[tuple(i[a] for a in order)] = x[i]
    return y


def reference_broadcast_to(x: np.ndarray, shape: Any) -> np.ndarray:
    y = np.zeros(shape)
    for i in np.ndindex(y.shape):
        y[i] = x[tuple(0 if n == 1 else j for n, j in zip(x.shape, i[y.ndim - x.ndim :], strict=True))]
    return y


def reference_concat(*xs: np.ndarray, axis: int = 0) -> np.ndarray:
    """x_k is written behind x_{k−1} along the axis."""
    axis %= xs[0].ndim
    y = np.zeros([sum(x.shape[axis] for x in xs) if a == axis else n for a, n in enumerate(xs[0].shape)])
    start = 0
    for x in xs:
        for i in np.ndindex(x.shape):
            y[(*i[:axis], start + i[axis], *i[axis + 1 :])] = x[i]
        start += x.shape[axis]
    return y


def reference_stack(*xs: np.ndarray, axis: int = 0) -> np.ndarray:
    axis %= xs[0].ndim + 1
    y = np.zeros([*xs[0].shape[:axis], len(xs), *xs[0].shape[axis:]])
    for k, x in enumerate(xs):
        for i in np.ndindex(x.shape):
            y[(*i[:axis], k, *i[axis:])] = x[i]
    return y


def reference_flip(x: np.ndarray, axis: Any = None) -> np.ndarray:
    """y_i = x_{n−1−i} along the axes."""
    chosen = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    flipped = {a % x.ndim for a in chosen}
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        y[i] = x[tuple(n - 1 - j if a in flipped else j for a, (n, j) in enumerate(zip(x.shape, i, strict=True)))]
    return y


def listed(*calls: tuple[Any, dict[str, Any]]) -> Callable[[np.random.Generator], Iterator[Sample]]:
    """Samples of the given input shapes (one, or a list of several) and parameters."""

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for shapes, params in calls:
            many = shapes if isinstance(shapes, list) else [shapes]
            yield Sample(tuple(np.asarray(rng.normal(size=s)) for s in many), params)

    return samples


def refused(shapes: Any, params: dict[str, Any], message: str, exception: type[Exception] = ValueError) -> ErrorCase:
    """A call with ones of the given shapes that must be refused."""
    many = shapes if isinstance(shapes, list) else [shapes]
    return ErrorCase(Sample(tuple(np.ones(s) for s in many), params), exception, message)


def broadcast_to_drawn() -> Any:
    """A shape, and a target that it broadcasts to."""
    pairs = broadcasting_drawn((-3.0, 3.0), (-3.0, 3.0))()
    return pairs.map(
        lambda s: Sample(s.inputs[:1], {"shape": np.broadcast_shapes(*(x.shape for x in s.inputs))}),
    )


CASES = [
    OpCase(
        name="reshape",
        op=ops.reshape,
        samples=listed(
            ((2, 3, 4), {"shape": (4, 6)}),
            ((2, 3, 4), {"shape": (3, -1, 2)}),
            ((2, 3), {"shape": -1}),
            ((), {"shape": (1, 1)}),
            ((1, 1), {"shape": ()}),
            ((0, 3), {"shape": (-1, 3)}),
        ),
        reference=reference_reshape,
        equations="row-major order kept",
        linear_in=(0,),
        errors=(
            refused((2, 3), {"shape": (4, 2)}, r"reshape: shape must hold the 6 elements of \(2, 3\), got \(4, 2\)"),
            refused((2, 3), {"shape": (4, -1)}, r"reshape: shape must hold .* got \(4, -1\)"),
            refused((2, 3), {"shape": (-1, -1)}, r"reshape: shape must hold .* got \(-1, -1\)"),
            refused((0, 3), {"shape": (0, -1)}, r"reshape: shape must hold .* got \(0, -1\)"),
            refused((2, 3), {"shape": (2.0, 3)}, r"reshape: shape must hold integers >= -1, got \(2\.0, 3\)"),
        ),
    ),
    OpCase(
        name="flatten",
        op=ops.flatten,
        samples=listed(((2, 3, 4), {}), ((2, 3, 4), {"start_axis": 1}), ((2, 3, 4), {"start_axis": -2}), ((0, 3), {})),
        reference=reference_flatten,
        equations="row-major order kept",
        linear_in=(0,),
        errors=(refused((2, 3), {"start_axis": 2}, r"flatten: axis must be in \[-2, 2\), got 2"),),
    ),
    OpCase(
        name="squeeze",
        op=ops.squeeze,
        samples=listed(
            ((1, 3, 1, 2), {}), ((1, 3, 1, 2), {"axis": 0}), ((1, 3, 1, 1), {"axis": (-1, 0)}), ((1,), {}), ((1, 0), {})
        ),
        reference=reference_squeeze,
        equations="axes of length 1 dropped",
        linear_in=(0,),
        errors=(
            refused((1, 3), {"axis": 1}, r"squeeze: axis must have length 1, got axis=1 of shape \(1, 3\)"),
            refused((1, 3), {"axis": 5}, r"squeeze: axis must be in \[-2, 2\), got 5"),
        ),
    ),
    OpCase(
        name="expand_dims",
        op=ops.expand_dims,
        samples=listed(((2, 3), {"axis": 0}), ((2, 3), {"axis": 1}), ((2, 3), {"axis": -1}), ((), {"axis": 0})),
        reference=reference_expand_dims,
        equations="an axis of length 1 added",
        linear_in=(0,),
        errors=(refused((2, 3), {"axis": 3}, r"expand_dims: axis must be in \[-3, 3\), got 3"),),
    ),
    OpCase(
        name="transpose",
        op=ops.transpose,
        samples=listed(
            ((2, 3, 4), {}), ((2, 3, 4), {"axes": (1, 2, 0)}), ((2, 3, 4), {"axes": (0, -1, 1)}), ((), {}), ((0, 2), {})
        ),
        reference=reference_transpose,
        equations="y_{i_p(0) i_p(1) …} = x_{i_0 i_1 …}",
        linear_in=(0,),
        errors=(
            refused((2, 3), {"axes": (0, 0)}, r"transpose: axes must be a permutation of \(0, 1\), got \(0, 0\)"),
            refused((2, 3), {"axes": (0,)}, r"transpose: axes must be a permutation .* got \(0,\)"),
            refused((2, 3), {"axes": (0, 2)}, r"transpose: axis must be in \[-2, 2\), got 2"),
        ),
    ),
    OpCase(
        name="broadcast_to",
        op=ops.broadcast_to,
        samples=listed(
            ((2, 1), {"shape": (2, 3)}),
            ((3,), {"shape": (2, 4, 3)}),
            ((2, 1, 1), {"shape": (3, 2, 1, 4)}),
            ((), {"shape": (2, 3)}),
            ((1, 3), {"shape": (0, 3)}),
        ),
        reference=reference_broadcast_to,
        equations="y = x repeated",
        linear_in=(0,),
        errors=(
            refused((2, 3), {"shape": (3, 3)}, r"broadcast_to: \(2, 3\) must broadcast to shape, got \(3, 3\)"),
            refused((2, 3), {"shape": (3,)}, r"broadcast_to: \(2, 3\) must broadcast to shape, got \(3,\)"),
            refused((1,), {"shape": (-1,)}, r"broadcast_to: shape must hold integers >= 0, got \(-1,\)"),
        ),
        draw=broadcast_to_drawn,
    ),
    OpCase(
        name="concat",
        op=lambda *xs, **params: ops.concat(xs, **params),
        samples=listed(
            ([(2, 3), (4, 3), (1, 3)], {}),
            ([(2, 3, 2), (2, 1, 2)], {"axis": 1}),
            ([(2, 3), (2, 2)], {"axis": -1}),
            ([(2, 3), (0, 3)], {}),
            ([(3,)], {}),
        ),
        reference=reference_concat,
        equations="y = x₁, x₂, … along an axis",
        errors=(
            refused([(2, 3), (2, 4)], {}, r"concat: shapes must be equal but for axis 0, got \(2, 3\), \(2, 4\)"),
            refused([(2, 3), (2,)], {}, r"concat: shapes must be equal but for axis 0, got \(2, 3\), \(2,\)"),
            refused([(2, 3), (2, 3)], {"axis": 2}, r"concat: axis must be in \[-2, 2\), got 2"),
            refused([(), ()], {}, "concat: axis must be absent for a tensor without axes, got 0"),
            refused([], {}, "concat: tensors must be a list or tuple of at least one"),
        ),
    ),
    OpCase(
        name="stack",
        op=lambda *xs, **params: ops.stack(xs, **params),
        samples=listed(
            ([(2, 3), (2, 3)], {}), ([(2, 3)] * 3, {"axis": 1}), ([(2, 3)] * 2, {"axis": -1}), ([(), ()], {})
        ),
        reference=reference_stack,
        equations="y = x₁, x₂, … along a new axis",
        errors=(
            refused([(2, 3), (3, 2)], {}, r"stack: shapes must be equal, got \(2, 3\), \(3, 2\)"),
            refused([(2, 3), (2, 3)], {"axis": 3}, r"stack: axis must be in \[-3, 3\), got 3"),
            refused([], {}, "stack: tensors must be a list or tuple of at least one"),
        ),
    ),
    OpCase(
        name="flip",
        op=ops.flip,
        samples=listed(
            ((2, 3, 4), {}), ((2, 3, 4), {"axis": 1}), ((2, 3, 4), {"axis": (0, -1)}), ((), {}), ((0, 2), {})
        ),
        reference=reference_flip,
        equations="y_i = x_{n−1−i}",
        linear_in=(0,),
        errors=(refused((2, 3), {"axis": -3}, r"flip: axis must be in \[-2, 2\), got -3"),),
    ),
]
