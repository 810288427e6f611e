"""Where windows lie on maps in physical order C, H, W, N, and the two halves of their sums.

What a row tap lies on are runs of W·N elements.  What a column tap lies on are runs of N alone where the stride is
not 1; so the columns are first sorted by their residue modulo the stride ("parts"), each position moved as one item,
and every tap is dense in one of the parts.

Sums go by rows, then by columns, k + k additions for k².  Their adjoints gather: the samples of one residue are under
the same taps, and each is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate
from math import prod
from typing import TypeAlias

import numpy as np

from minidl.kernels.cpu.layout import items
from minidl.kernels.cpu.threads import run_blocks, scratch, split
from minidl.kernels.geometry import Pair, taps_inside

PARTS, MORE_PARTS = 8, 9  # scratch slots
_BLOCK = 1 << 18  # elements of x in a block

Term: TypeAlias = tuple[tuple[slice, ...], np.ndarray]  # where in a sum an array is added
_ALL = slice(None)


class Grid:
    """Where windows lie on maps of one size, and the two halves of their sums.

    Attributes:
        taps: number and outputs of every tap, the part of the columns it lies on, and where in that part.
        rows, columns: for each residue of samples along that axis which they are, and (members, outputs) of every
            tap on them.
    """

    def __init__(
        self, size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, output_size: Pair, dilation: Pair = (1, 1)
    ) -> None:
        self.width, self.step = size[1], stride[1]
        axes = list(zip(size, output_size, kernel_size, stride, padding, strict=True))
        self.by_row, by_column = (taps_inside(*axis, d) for axis, d in zip(axes, dilation, strict=True))
        self.by_column = [(v, to, *self._in_part(samples)) for v, to, samples in by_column]
        self.taps = [
            (u * kernel_size[1] + v, (_ALL, to_rows, to_columns), part, (_ALL, from_rows, from_columns))
            for u, to_rows, from_rows in self.by_row
            for v, to_columns, part, from_columns in self.by_column
        ]
        self.rows, self.columns = (list(_residues(*axis)) for axis in axes)

    def _in_part(self, samples: slice) -> tuple[int, slice]:
        first = samples.start // self.step
        return samples.start % self.step, slice(first, first + len(range(samples.start, samples.stop, self.step)))

    def sum_rows(self, x: np.ndarray, rows: np.ndarray) -> None:
        """rows = Σ_u x at row tap u."""
        add_up([((_ALL, to), x[:, samples]) for _, to, samples in self.by_row], rows)

    def sum_columns(self, parts: list[np.ndarray], y: np.ndarray) -> None:
        """y = Σ_v of what column tap v lies on."""
        add_up([((_ALL, _ALL, to), parts[part][:, :, samples]) for _, to, part, samples in self.by_column], y)

    def spread_columns(self, g: np.ndarray, slot: int) -> np.ndarray:
        """The adjoint of `sum_columns`, the parts joined: (C, Ho, Wo, N) → (C, Ho, W, N)."""
        spread = scratch((*g.shape[:2], self.width, g.shape[3]), g.dtype, slot)
        parts = empty_parts(spread, self.step)
        for part, (_, spans) in zip(parts, self.columns, strict=True):
            add_up([((_ALL, _ALL, to), g[:, :, at]) for to, at in spans], part)
        join(parts, spread, self.step)
        return spread

    def rows_of(self, g: np.ndarray) -> Iterator[tuple[slice, list[Term]]]:
        """The adjoint of `sum_rows`: for each residue of rows which they are, and what to add up for them."""
        for samples, spans in self.rows:
            yield samples, [((_ALL, to), g[:, at]) for to, at in spans]


grid_of = lru_cache(maxsize=256)(Grid)


def _residues(
    length: int, count: int, kernel: int, stride: int, before: int
) -> Iterator[tuple[slice, list[tuple[slice, slice]]]]:
    """For each residue of samples modulo the stride: which they are, and (members, outputs) of every tap on them.

    Member m, sample r + m s, lies under tap u of output i where i s + u − p = r + m s: that is
    u = (r + p) mod s + q s and i = m − q + ⌊(r + p)/s⌋.
    """
    for r in range(min(stride, length)):
        members = -(-(length - r) // stride)
        first, u = divmod(r + before, stride)
        spans = []
        for q in range(len(range(u, kernel, stride))):
            shift = first - q  # the output of member m is m + shift
            start, stop = max(0, -shift), min(members, count - shift)
            if start < stop:
                spans.append((slice(start, stop), slice(start + shift, stop + shift)))
        yield slice(r, None, stride), spans


def over_channels(block: Callable[[slice], None], x: np.ndarray) -> None:
    """Run `block` on slices of the channels of x (C, H, W, N)."""
    if x.size:
        run_blocks(block, split(len(x), at_most=_BLOCK // (x.size // len(x))))


def add_up(terms: list[Term], y: np.ndarray) -> None:
    """y = Σ of the terms, each added at its place."""
    whole = [term for _, term in terms if term.shape == y.shape]
    if len(whole) > 1:
        np.add(whole[0], whole[1], out=y)
    elif whole:
        np.copyto(y, whole[0])
    else:
        y.fill(0)
    for term in whole[2:]:
        y += term
    for at, term in terms:
        if term.shape != y.shape:
            y[at] += term


def total_of(terms: list[Term], shape: tuple[int, ...], dtype: np.dtype, slot: int) -> np.ndarray:
    """The sum of the terms; the only one itself if it is whole."""
    if len(terms) == 1 and terms[0][1].shape == shape:
        return terms[0][1]
    total = scratch(shape, dtype, slot)
    add_up(terms, total)
    return total


def parted(x: np.ndarray, step: int) -> list[np.ndarray]:
    """Columns r, r + step, … of x (C, H, W, N) for every r < step, each dense; x itself for step 1."""
    parts = empty_parts(x, step)
    if step > 1:
        for r, part in enumerate(parts):
            np.copyto(items(part), items(x)[:, :, r::step])
    return parts


def empty_parts(x: np.ndarray, step: int) -> list[np.ndarray]:
    """Memory for the parts of x; x itself for step 1."""
    if step == 1:
        return [x]
    c, h, w, n = x.shape
    return carved(PARTS, [(c, h, len(range(r, w, step)), n) for r in range(min(step, w))], x.dtype)


def carved(slot: int, shapes: list[tuple[int, ...]], dtype: np.dtype) -> list[np.ndarray]:
    """Arrays of these shapes, one after the other in one scratch."""
    sizes = [prod(shape) for shape in shapes]
    memory = scratch((sum(sizes),), dtype, slot)
    return [
        memory[end - size : end].reshape(shape)
        for end, size, shape in zip(accumulate(sizes), sizes, shapes, strict=True)
    ]


def join(parts: list[np.ndarray], x: np.ndarray, step: int) -> None:
    """The inverse of `parted`."""
    if step > 1:
        for r, part in enumerate(parts):
            np.copyto(items(x)[:, :, r::step], items(part))
