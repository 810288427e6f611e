"""The curves of a run, as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minidl.files import written_whole

TRAIN, TEST = "#0072B2", "#D55E00"  # blue and vermilion: told apart with any colour vision (Okabe and Ito)


def draw_curves(history: Sequence[dict[str, float]], title: str, path: Path) -> None:
    """Loss, accuracy and learning rate over the epochs, as a PNG.

    Args:
        history: the rows of `metrics.csv`.
        title: above the panels.
        path: of the PNG.

    Raises:
        UserError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: matplotlib takes half a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    percent = [{**row, **{k: 100 * row[k] for k in ("train_accuracy", "test_accuracy")}} for row in history]
    _curves(loss, epochs, history, "loss")
    _curves(accuracy, epochs, percent, "accuracy")
    best = max(percent, key=lambda row: row["test_accuracy"])
    accuracy.set_title(f"accuracy (%); best on test: {best['test_accuracy']:.1f}, epoch {best['epoch']:.0f}")
    rate.plot(epochs, [row["lr"] for row in history], color="black", marker=".")
    rate.set(xlabel="epoch", title="learning rate at the epoch's end", ylim=(0, None))
    for axes in (loss, accuracy, rate):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.grid(alpha=0.3)
        for row in history[1:]:
            if row.get("stage") == 2 and history[int(row["epoch"]) - 2].get("stage") != 2:
                axes.axvline(row["epoch"] - 0.5, color="grey", linestyle=":")  # where the second stage begins
        axes.spines[["top", "right"]].set_visible(False)
    with written_whole(path) as beside, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a character of the title that the font has not
        figure.savefig(beside, format="png")


def _curves(axes: Any, epochs: list[float], rows: Sequence[dict[str, float]], name: str) -> None:
    """Training dashed with dots, test solid with squares: readable without colour, too."""
    axes.plot(epochs, [row[f"train_{name}"] for row in rows], "--", marker="o", ms=4, color=TRAIN, label="training")
    axes.plot(epochs, [row[f"test_{name}"] for row in rows], "-", marker="s", ms=4, color=TEST, label="test")
    axes.set(xlabel="epoch", title=name)
    axes.legend(frameon=False)
