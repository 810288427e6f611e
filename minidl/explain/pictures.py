"""Grad-CAM as pictures: rows of images, columns of networks."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.explain.canvas import MAP, literal, new_figure, write_png

__all__ = ["Panel", "draw_grid", "grey"]

SIDE, LINE = 2.1, 0.17  # inches of a picture, and of a line of text
RIGHT, WRONG = "✓", "✗"


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        image: uint8 (3, H, W).
        text: above it.
        heat: 0 … 1, (H, W), laid over the image in grey; None for the image in its colours.
    """

    image: np.ndarray
    text: str
    heat: np.ndarray | None = None


def grey(image: np.ndarray) -> np.ndarray:
    """Lightness of an image, uint8 (3, H, W) → float (H, W) in 0 … 1, by the weights of ITU-R BT.601."""
    return np.tensordot([0.299, 0.587, 0.114], image / 255, axes=1)


def verdict(class_name: str, probability: float, correct: bool | None) -> str:
    """What a network says: "cat 87 % ✓"; no mark where nobody knows better.

    Example:
        >>> verdict("cat", 0.874, True)
        'cat 87 % ✓'
    """
    mark = "" if correct is None else f" {RIGHT if correct else WRONG}"
    return f"{class_name} {100 * probability:.0f} %{mark}"


def draw_grid(columns: Sequence[str], rows: Sequence[Sequence[Panel]], note: str, path: str | os.PathLike[str]) -> None:
    """Draw `rows` of panels under the titles of their `columns`, with a scale of the heat, as a PNG.

    Args:
        columns: titles, of one or more lines.
        rows: as many panels each as there are columns.
        note: below the pictures.
        path: of the PNG.

    Raises:
        UserError: it cannot be written.
    """
    titles = ["\n".join(textwrap.fill(line, 26) for line in title.split("\n")) for title in columns]
    height = sum(SIDE + 0.1 + LINE * max(map(_lines, (panel.text for panel in row))) for row in rows)
    height += LINE * max(map(_lines, titles)) + 0.95  # the titles, and the scale below
    figure = new_figure(SIDE * len(columns) + 0.3, height)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    shown = None
    for i, row in enumerate(rows):
        for j, (at, panel) in enumerate(zip(axes[i], row, strict=True)):
            at.set_axis_off()
            literal(at.set_title(panel.text, fontsize=9))
            if i == 0:
                _head(at, titles[j], lines=max(_lines(p.text) for p in row))
            if panel.heat is None:
                at.imshow(panel.image.transpose(1, 2, 0), interpolation="nearest")  # (3,H,W) → (H,W,3)
                continue
            at.imshow(grey(panel.image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            shown = at.imshow(
                panel.heat, cmap=MAP, vmin=0, vmax=1, alpha=0.25 + 0.45 * panel.heat, interpolation="bilinear"
            )
    if shown is not None:
        scale = figure.colorbar(
            shown, ax=axes, orientation="horizontal", shrink=0.6, aspect=40, pad=0.02, ticks=[0, 0.5, 1]
        )
        scale.ax.tick_params(labelsize=8)
        scale.set_label(textwrap.fill(note, 34 * len(columns)), fontsize=8, parse_math=False)
    write_png(figure, path)


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _head(at: Any, title: str, lines: int) -> None:
    """The title of a column, above that of its first picture, which may take `lines` lines."""
    place = {"xycoords": "axes fraction", "xytext": (0, 10 + 12 * lines), "textcoords": "offset points"}
    literal(at.annotate(title, (0.5, 1), **place, ha="center", va="bottom", fontsize=10, fontweight="bold"))
