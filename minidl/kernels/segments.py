"""How a flat buffer of parameters is divided among groups of equal treatment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Segment(NamedTuple):
    """A run of consecutive elements; it begins where the one before it ends.

    Attributes:
        end: one past its last element.
        weight_decay: λ of its parameters.
        lr_factor: their learning rate as a multiple of the optimizer's.
    """

    end: int
    weight_decay: float = 0.0
    lr_factor: float = 1.0


def runs(segments: tuple[Segment, ...], size: int) -> Iterator[tuple[slice, Segment]]:
    """Every segment and where it lies.

    Raises:
        ValueError: they do not end one after the other, the last at `size`.

    Example:
        >>> [run for run, _ in runs((Segment(2), Segment(5, weight_decay=1e-4)), 5)]
        [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = [0, *(segment.end for segment in segments)]
    if ends != sorted(ends) or ends[-1] != size:
        raise ValueError(f"segments: must end in order, the last at {size}, got ends {ends[1:]}")
    for start, segment in zip(ends, segments, strict=False):
        yield slice(start, segment.end), segment
