"""Specification of reading elements by their places."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor, ops
from minidl.check.spec.case import OpCase, Sample
from minidl.check.spec.shape import listed, refused
from minidl.ops.index import PAD_MODES


def reference_getitem(x: np.ndarray, key: Any) -> np.ndarray:
    """NumPy's rules, spelled out: which axes the result has, and which element of x each of its elements is."""
    parts = [p for k in (key if isinstance(key, tuple) else (key,)) for p in _places_of_mask(k)]
    ellipsis = [k for k, p in enumerate(parts) if p is Ellipsis] or [len(parts)]
    rest = x.ndim - sum(p is not None and p is not Ellipsis for p in parts)
    parts = [*parts[: ellipsis[0]], *[slice(None)] * rest, *parts[ellipsis[0] + 1 :]]
    if any(isinstance(p, np.ndarray) for p in parts):  # beside an array an integer is one too
        parts = [np.array(p) if isinstance(p, int) else p for p in parts]

    arrays = [k for k, p in enumerate(parts) if isinstance(p, np.ndarray)]
    common = np.broadcast_shapes(*(parts[k].shape for k in arrays))
    together = arrays != [] and arrays == list(range(arrays[0], arrays[-1] + 1))
    shape = [] if together else list(common)  # the axes of the arrays stand where these are, or else in front
    first = 0
    sources: list[tuple[Any, int]] = []  # for every axis of x: what is read, and its axis in the result
    for k, p in enumerate(parts):
        if together and k == arrays[0]:
            first = len(shape)
            shape += common
        if p is None:
            shape.append(1)
        elif isinstance(p, slice):
            read = range(x.shape[len(sources)])[p]
            sources.append((read, len(shape)))
            shape.append(len(read))
        else:
            sources.append((p, first))

    y = np.zeros(shape)
    for i in np.ndindex(y.shape):
        j = []
        for (read, axis), n in zip(sources, x.shape, strict=True):
            if isinstance(read, range):
                j.append(read[i[axis]])
            elif isinstance(read, int):
                j.append(read % n)
            else:  # broadcast to the common shape
                here = i[first : first + len(common)][len(common) - read.ndim :]
                j.append(int(read[tuple(0 if m == 1 else a for m, a in zip(read.shape, here, strict=True))]) % n)
        y[i] = x[tuple(j)]
    return y


def _places_of_mask(part: Any) -> list[Any]:
    """A mask as one array of indices per axis, lists as arrays, the rest as it is."""
    part = np.array(part, dtype=None if len(part) else int) if isinstance(part, list) else part
    if not isinstance(part, np.ndarray) or part.dtype != bool:
        return [part]
    places = [i for i in np.ndindex(part.shape) if part[i]]
    return [np.array([i[a] for i in places], dtype=int) for a in range(part.ndim)]


def reference_take(x: np.ndarray, indices: Any, axis: int = 0) -> np.ndarray:
    indices, axis = np.asarray(indices), axis % x.ndim
    y = np.zeros((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    for i in np.ndindex(y.shape):
        at = int(indices[i[axis : axis + indices.ndim]])
        y[i] = x[(*i[:axis], at, *i[axis + indices.ndim :])]
    return y


def scaled_pieces(x: Any, sizes: Any, axis: int = 0) -> Tensor:
    """`split`, then the pieces times 1, 2, 3, … and joined: one Tensor that tells the pieces apart."""
    return ops.concat([ops.mul(piece, k + 1) for k, piece in enumerate(ops.split(x, sizes, axis))], axis)


def reference_scaled_pieces(x: np.ndarray, sizes: Any, axis: int = 0) -> np.ndarray:
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        if isinstance(sizes, int):
            piece = i[axis] // sizes
        else:
            piece = sum(i[axis] >= sum(sizes[: k + 1]) for k in range(len(sizes)))
        y[i] = (piece + 1) * x[i]
    return y


def reference_pad(x: np.ndarray, pad_width: Any, mode: str = "constant", value: float = 0.0) -> np.ndarray:
    """Every element of the result from the place that its mode says; `value` where there is none."""
    pairs = pad_width if isinstance(pad_width, (list, tuple)) else [pad_width] * x.ndim
    widths = [w if isinstance(w, (list, tuple)) else (w, w) for w in pairs]
    y = np.zeros([before + n + after for n, (before, after) in zip(x.shape, widths, strict=True)])
    for i in np.ndindex(y.shape):
        places = [place(j - before, n, mode) for j, n, (before, _) in zip(i, x.shape, widths, strict=True)]
        y[i] = value if None in places else x[tuple(places)]
    return y


def place(j: int, n: int, mode: str) -> int | None:
    """The place in 0 … n − 1 that element j of an axis comes from."""
    if mode == "constant":
        return j if 0 <= j < n else None
    if mode == "edge":
        return 0 if j < 0 else n - 1 if j >= n else j
    if mode == "wrap":
        return j % n
    period = 2 * n if mode == "symmetric" else 2 * n - 2  # there and back; "reflect" does not repeat the ends
    j = j % period if period else 0
    return j if j < n else 2 * n - 1 - j if mode == "symmetric" else period - j


def take_drawn() -> Any:
    """Indices of any shape, repeated and negative ones among them, along any axis."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        indices = rng.integers(-shape[axis], shape[axis], draw(st.lists(st.integers(0, 4), max_size=2)))
        return Sample((rng.normal(size=shape),), {"indices": indices, "axis": axis})

    return sample()


def getitem_drawn() -> Any:
    """Keys of slices, integers, new axes and integer arrays in any order."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        common = draw(st.lists(st.integers(0, 3), max_size=2))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        key: list[Any] = []
        for n in shape:
            kind = draw(st.sampled_from(["slice", "integer", "array", "new", "mask"]))
            if kind == "new":
                key += [None, slice(None)]
            elif kind == "slice":
                key.append(draw(st.slices(n)))
            elif kind == "integer":
                key.append(draw(st.integers(-n, n - 1)))
            elif kind == "array":
                key.append(rng.integers(-n, n, [1 if draw(st.booleans()) else m for m in common]))
            else:
                key.append(np.arange(n) == draw(st.integers(0, n - 1)))  # one place, which broadcasts
        rest = draw(st.integers(0, len(key)))
        return Sample(
            (rng.normal(size=shape),), {"key": (*key[:rest], *([...] if draw(st.booleans()) else []), *key[rest:])}
        )

    return sample()


def pad_drawn() -> Any:
    """Any mode and any widths, beyond the length of the axes too."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape = draw(st.lists(st.integers(1, 3), max_size=3))
        widths = [(draw(st.integers(0, 5)), draw(st.integers(0, 5))) for _ in shape]
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        return Sample((rng.normal(size=shape),), {"pad_width": widths, "mode": draw(st.sampled_from(PAD_MODES))})

    return sample()


CASES = [
    OpCase(
        name="getitem",
        op=ops.getitem,
        samples=listed(
            ((4, 5), {"key": 1}),
            ((4, 5), {"key": -1}),
            ((4, 5), {"key": (slice(None), slice(1, 4))}),
            ((4, 5), {"key": (slice(None, None, -2), ..., None, 0)}),
            ((4, 5), {"key": (slice(3, 1), slice(None))}),
            ((4, 5), {"key": ()}),
            ((), {"key": (None, ...)}),
            ((4, 5), {"key": [2, 0, 2, -2]}),
            ((4, 5), {"key": []}),
            ((4, 3), {"key": np.array([[0, 1], [1, 1]])}),
            ((4, 3), {"key": (np.array([0, 3, 0]), np.array([1, 2, 1]))}),
            ((4, 3, 2), {"key": (slice(None), np.array([2, 2]), np.array([0, 0]))}),
            ((4, 3, 2), {"key": (np.array([1, 1]), slice(None), np.array([0, 1]))}),
            ((4, 3, 2), {"key": (0, slice(None), np.array([1, 1, 0]))}),
            ((4, 3), {"key": (np.array([[0], [2]]), np.array([1, 1, 0]))}),
            ((2, 3), {"key": np.array([[True, False, True], [False, False, True]])}),
            ((2, 3), {"key": (slice(None), np.array([True, False, True]))}),
        ),
        reference=reference_getitem,
        equations="y = x[key]",
        linear_in=(0,),
        errors=(
            refused((2, 3), {"key": 2}, "getitem: index 2 is out of bounds for axis 0 with size 2", IndexError),
            refused((2, 3), {"key": [0, -3]}, "getitem: index -3 is out of bounds for axis 0 with size 2", IndexError),
            refused((2, 3), {"key": (0, 0, 0)}, "getitem: too many indices .* 3 were indexed", IndexError),
            refused((2, 3), {"key": (..., 0, ...)}, "getitem: .* single ellipsis", IndexError),
            refused((2, 3), {"key": np.array([True, False, True])}, "getitem: boolean index did not match", IndexError),
            refused((2, 3), {"key": ([0, 1], [0, 1, 2])}, "getitem: shape mismatch", IndexError),
            refused((2, 3), {"key": slice(None, None, 0)}, "getitem: slice step cannot be zero", ValueError),
            refused((2, 3), {"key": 1.0}, "getitem: key must hold integers, .* got float", TypeError),
            refused((2, 3), {"key": [0.0, 1.0]}, "getitem: key must hold integers, .* got list", TypeError),
            refused((2, 3), {"key": True}, "getitem: key must hold integers, .* got bool", TypeError),
            refused((2, 3), {"key": Tensor([0.0])}, "getitem: key must hold integers, .* got Tensor", TypeError),
        ),
        draw=getitem_drawn,
    ),
    OpCase(
        name="take",
        op=ops.take,
        samples=listed(
            ((4, 3), {"indices": np.array([3, 0, 3, -1])}),
            ((4, 3), {"indices": np.array([[0, 2, 2], [1, -3, 0]]), "axis": 1}),
            ((2, 4, 3), {"indices": np.array([[1, 1]]), "axis": -2}),
            ((4, 3), {"indices": np.array(2)}),
            ((4, 3), {"indices": np.zeros((2, 0), int)}),
            ((0, 3), {"indices": [1, 1, 0], "axis": 1}),
        ),
        reference=reference_take,
        equations="y_i = x_{indices_i}",
        linear_in=(0,),
        errors=(
            refused((2, 3), {"indices": [0, 2]}, r"take: indices must be in \[-2, 2\) along axis 0, got 2", IndexError),
            refused((2, 3), {"indices": -4, "axis": 1}, r"take: indices must be in \[-3, 3\) .* got -4", IndexError),
            refused((0, 3), {"indices": [0]}, r"take: indices must be in \[0, 0\) along axis 0, got 0", IndexError),
            refused((2, 3), {"indices": [0.0]}, "take: indices must be integers, got dtype float64", TypeError),
            refused((2, 3), {"indices": [True]}, "take: indices must be integers, got dtype bool", TypeError),
            refused((2, 3), {"indices": [0], "axis": 2}, r"take: axis must be in \[-2, 2\), got 2"),
        ),
        draw=take_drawn,
    ),
    OpCase(
        name="split",
        op=scaled_pieces,
        samples=listed(
            ((6, 2), {"sizes": 2}),
            ((5, 2), {"sizes": 2}),
            ((2, 6), {"sizes": (1, 3, 2), "axis": 1}),
            ((2, 3), {"sizes": [0, 3, 0], "axis": -1}),
            ((0, 3), {"sizes": 2}),
        ),
        reference=reference_scaled_pieces,
        equations="y₁, y₂, … = pieces of x",
        linear_in=(0,),
        errors=(
            refused((5, 2), {"sizes": (2, 2)}, r"split: sizes must add up to the length 5 of axis 0, got \(2, 2\)"),
            refused((5, 2), {"sizes": ()}, r"split: sizes must add up to the length 5 of axis 0, got \(\)"),
            refused((5, 2), {"sizes": 0}, "split: sizes must hold integers >= 1, got 0"),
            refused((5, 2), {"sizes": (6, -1)}, r"split: sizes must hold integers >= 0, got \(6, -1\)"),
            refused((5, 2), {"sizes": 1, "axis": 2}, r"split: axis must be in \[-2, 2\), got 2"),
        ),
    ),
    OpCase(
        name="pad",
        op=ops.pad,
        samples=listed(
            ((2, 3), {"pad_width": ((1, 2), (0, 3))}),
            ((2, 3), {"pad_width": 1, "value": 2.5}),
            ((2, 3), {"pad_width": (0, (0, 2)), "mode": "constant"}),
            *[((3, 4), {"pad_width": ((1, 2), (3, 0)), "mode": m}) for m in ("reflect", "symmetric", "edge", "wrap")],
            *[((1, 2), {"pad_width": ((1, 2), (5, 4)), "mode": m}) for m in ("reflect", "symmetric", "edge", "wrap")],
            ((), {"pad_width": ()}),
            ((0, 3), {"pad_width": ((0, 0), (1, 2)), "mode": "reflect"}),
            ((0, 3), {"pad_width": 1}),
        ),
        reference=reference_pad,
        equations="y = x and its continuation",
        errors=(
            refused((2, 3), {"pad_width": ((1, 1),)}, r"pad: pad_width must have a pair for each of the 2 axes, got"),
            refused((2, 3), {"pad_width": ((1, 1, 1), 0)}, r"pad: pad_width must have a pair for each of the 2 axes"),
            refused((2, 3), {"pad_width": -1}, r"pad: pad_width must hold integers >= 0, got \(-1, -1\)"),
            refused((2, 3), {"pad_width": 1, "mode": "mean"}, "pad: mode must be one of 'constant', .* got 'mean'"),
            refused((2, 3), {"pad_width": 1, "value": None}, "pad: value must be a number, got None"),
            refused(
                (2, 3),
                {"pad_width": 1, "mode": "edge", "value": 1},
                r"pad: value applies to mode 'constant' only, got value=1\.0, mode='edge'",
            ),
            refused(
                (0, 3),
                {"pad_width": 1, "mode": "wrap"},
                r"pad: mode 'wrap' needs elements along the axes it pads, got shape \(0, 3\)",
            ),
        ),
        draw=pad_drawn,
    ),
]
