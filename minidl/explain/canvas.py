"""Figures: made without a window, with colours that everybody tells apart, written whole."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from minidl.files import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito
MARKERS = "osD^vPX"  # a shape a line, for those who print in grey
MAP = "viridis"  # lightness grows evenly: in order with any colour vision, and in grey


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: matplotlib takes half a second to import
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), dpi=150, layout=ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.07))
    FigureCanvasAgg(figure)
    return figure


def style(index: int) -> dict[str, Any]:
    """Colour and marker of the line with this number."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "ms": 4}


def literal(text: Any) -> Any:
    """A matplotlib text that shows what it was given: it would read what stands between dollars as mathematics."""
    text.set_parse_math(False)
    return text


def legend(of: Any, **options: Any) -> None:
    """A legend of axes, or of a whole figure, with literal names and without a frame."""
    for text in of.legend(frameon=False, fontsize=8, **options).get_texts():
        literal(text)


def epochs_axis(axes: Any, last: float) -> None:
    """Whole epochs along x, room on both sides, a light grid."""
    axes.set(xlabel="epoch", xlim=(0.5, last + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def write_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save `figure` as a PNG, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    with written_whole(path) as beside, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a character of a name that the font has not
        figure.savefig(beside, format="png")
