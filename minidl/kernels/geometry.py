"""Sizes and positions of sliding windows, shared by every form of the windowed kernels.

Along one axis a kernel of k taps, spread by the dilation d, covers d (k − 1) + 1 samples.  It is placed every s
samples (the stride) on the signal with `before` and `after` zeros at its ends.  Tap u of output i lies on

    sample  i s + u d − before                                          (1)
"""

from __future__ import annotations

from typing import TypeAlias

Pair: TypeAlias = tuple[int, int]
Sides: TypeAlias = tuple[Pair, Pair]
Padding: TypeAlias = tuple[int | Pair, int | Pair]


def sides(padding: Padding) -> Sides:
    """((top, bottom), (left, right)) of a padding whose entries may be one number for both ends.

    Example:
        >>> sides((1, (0, 2)))
        ((1, 1), (0, 2))
    """
    top_bottom, left_right = ((p, p) if isinstance(p, int) else p for p in padding)
    return top_bottom, left_right


def output_length(length: int, kernel: int, stride: int, ends: Pair, dilation: int) -> int:
    """How many windows fit (< 1 if not one does).

    Example:
        >>> output_length(32, 3, 2, (1, 1), 1)
        16
    """
    return (length + sum(ends) - dilation * (kernel - 1) - 1) // stride + 1


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """`output_length` along both axes."""
    vertical, horizontal = sides(padding)
    return (
        output_length(size[0], kernel[0], stride[0], vertical, dilation[0]),
        output_length(size[1], kernel[1], stride[1], horizontal, dilation[1]),
    )


def tap(u: int, count: int, stride: int, dilation: int) -> slice:
    """Where tap `u` of `count` windows lies on the padded signal: (1), `before` added.

    Example:
        >>> tap(2, 4, 2, 1)
        slice(2, 9, 2)
    """
    return slice(u * dilation, u * dilation + stride * (count - 1) + 1, stride)


def taps_inside(
    length: int, count: int, kernel: int, stride: int, before: int, dilation: int = 1
) -> list[tuple[int, slice, slice]]:
    """For every tap u: which of the `count` outputs have it on the signal, and on which samples it lies then.

    Windows may begin and end outside; a tap that is on the signal for no output is left out.

    Example:
        >>> taps_inside(length=5, count=3, kernel=2, stride=2, before=1)
        [(0, slice(1, 3, None), slice(1, 4, 2)), (1, slice(0, 3, None), slice(0, 5, 2))]
    """
    taps = []
    for u in range(kernel):
        offset = u * dilation - before  # (1) at i = 0
        first = max(0, -(offset // stride))
        end = min(count, (length - 1 - offset) // stride + 1)
        if first < end:
            start = first * stride + offset
            taps.append((u, slice(first, end), slice(start, start + (end - first - 1) * stride + 1, stride)))
    return taps
