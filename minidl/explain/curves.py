"""Runs as curves: loss and accuracy side by side, σ of every layer over training, receptive fields."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl.explain.canvas import MAP, epochs_axis, legend, literal, new_figure, style, write_png
from minidl.explain.field import ReceptiveField
from minidl.explain.predict import Prediction

__all__ = ["draw_fields", "draw_learning", "draw_sigma"]

Table = Mapping[str, np.ndarray]
NAMED = 10  # as many layers get a line in the legend; more, a scale of their depth


def draw_learning(runs: Sequence[tuple[str, Table]], path: str | os.PathLike[str]) -> None:
    """Loss and accuracy of runs over their epochs: test solid with marks, training dashed.

    Args:
        runs: name and columns of `metrics.csv`.
        path: of the PNG.

    Raises:
        UserError: it cannot be written.
    """
    figure = new_figure(10, 3.6 + 0.18 * len(runs))
    loss, accuracy = figure.subplots(1, 2)
    for i, (name, table) in enumerate(runs):
        best = int(np.nanargmax(table["test_accuracy"]))
        label = (
            f"{name}: {100 * table['test_accuracy'][-1]:.1f} % after the last epoch, "
            f"best {100 * table['test_accuracy'][best]:.1f} %, epoch {table['epoch'][best]:.0f}"
        )
        for axes, column, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
            axes.plot(table["epoch"], factor * table[f"test_{column}"], label=label, **style(i))
            axes.plot(table["epoch"], factor * table[f"train_{column}"], "--", color=style(i)["color"], lw=1, alpha=0.8)
    last = max(table["epoch"][-1] for _, table in runs)
    for axes, title in ((loss, "loss"), (accuracy, "accuracy (%)")):
        axes.set_title(f"{title}: test solid, training dashed", fontsize=10)
        epochs_axis(axes, last)
    legend(figure, handles=accuracy.get_lines()[::2], loc="outside lower center")
    write_png(figure, path)


def draw_sigma(runs: Sequence[tuple[str, Table]], path: str | os.PathLike[str], line: float | None = None) -> None:
    """σ of every layer over training, a panel a run, dark layers near the image.

    Args:
        runs: name and columns of `sigma.csv`: "epoch", and one for each layer in the network's order.
        path: of the PNG.
        line: a σ to compare with, drawn dotted; None for none.

    Raises:
        UserError: it cannot be written.
    """
    from matplotlib import colormaps

    figure = new_figure(4.6 * len(runs) + 1.2, 3.8)
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    layers = list(dict.fromkeys(name for _, table in runs for name in table if name != "epoch"))
    colours = colormaps[MAP](np.linspace(0, 0.85, len(layers)))  # its yellow end is faint on white
    for axes, (name, table) in zip(panels, runs, strict=True):
        for depth, layer in enumerate(layers):
            if layer in table:
                axes.plot(table["epoch"], table[layer], color=colours[depth], marker=".", lw=1.3, label=layer)
        if line is not None:
            axes.axhline(line, color="black", ls=":", lw=1.2)
            axes.annotate(f"{line:g}", (0.01, line), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
        literal(axes.set_title(name, fontsize=10))
        epochs_axis(axes, table["epoch"][-1])
        axes.set_xlim(table["epoch"][0] - 0.5)
    panels[0].set_ylabel("σ in samples of the layer's input")
    if len(layers) <= NAMED:
        legend(panels[-1], loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        _depth_scale(figure, panels, layers, colours)
    write_png(figure, path)


def _depth_scale(figure: Any, panels: Any, layers: Sequence[str], colours: np.ndarray) -> None:
    """Names of first, middle and last layer beside a scale of the layers' colours."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    among = Normalize(-0.5, len(layers) - 0.5)
    ticks = [0, len(layers) // 2, len(layers) - 1]
    scale = figure.colorbar(ScalarMappable(among, ListedColormap(colours)), ax=panels, ticks=ticks, pad=0.02)
    scale.ax.set_yticklabels([layers[i] for i in ticks], fontsize=8)
    scale.ax.invert_yaxis()  # from the image down, as the network is read


def draw_fields(runs: Sequence[tuple[str, ReceptiveField, Prediction]], path: str | os.PathLike[str]) -> None:
    """Measured fields as maps with the predicted width around them, and their profiles with the predicted Gaussians.

    Args:
        runs: name, measured and predicted field.
        path: of the PNG.

    Raises:
        UserError: it cannot be written.
    """
    figure = new_figure(3.1 * (len(runs) + 1) + 0.8, 3.4 + 0.2 * len(runs))
    *maps, profile = figure.subplots(1, len(runs) + 1, width_ratios=[1] * len(runs) + [1.25])
    reach = max(3.5 * max(*field.std, *predicted.std, 1) for _, field, predicted in runs)
    for i, (axes, (name, field, predicted)) in enumerate(zip(maps, runs, strict=True)):
        _draw_map(axes, field, predicted, reach)
        literal(axes.set_title(name, fontsize=10))
        u = np.arange(field.map.shape[1]) - predicted_centre(field, predicted)[1]
        line, std = style(i), float(predicted.std[1])
        every = max(1, round(reach / 12))  # at most 25 marks
        profile.plot(
            u,
            field.profiles[1],
            **line,
            markevery=every,
            lw=1.5,
            label=f"{name}: measured, width {field.std[1]:.1f} pixels",
        )
        if std > 0:
            fine = np.linspace(-reach, reach, 201)
            gaussian = np.exp(-(fine**2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
            profile.plot(fine, gaussian, "--", color=line["color"], lw=1.2, label=f"{name}: predicted, {std:.1f}")
    profile.set(xlabel="pixels from the centre", xlim=(-reach, reach), yticks=[], ylim=(0, None))
    profile.set_title("summed over rows, total 1", fontsize=10)
    profile.spines[["top", "right", "left"]].set_visible(False)
    legend(figure, handles=profile.get_lines(), loc="outside lower center", ncols=2)
    write_png(figure, path)


def _draw_map(axes: Any, field: ReceptiveField, predicted: Prediction, reach: float) -> None:
    """The map's p-th root, which shows its tails, and the ellipse of two predicted standard deviations."""
    from matplotlib.patches import Ellipse

    axes.imshow((field.map / field.map.max()) ** (1 / field.power), cmap=MAP, vmin=0, vmax=1, interpolation="nearest")
    (row, column), (height, width) = predicted_centre(field, predicted), field.map.shape
    two = Ellipse((column, row), 4 * predicted.std[1], 4 * predicted.std[0], fill=False, color="white", ls="--", lw=1.2)
    axes.add_patch(two)
    axes.set(
        xlim=(max(column - reach, -0.5), min(column + reach, width - 0.5)),
        ylim=(min(row + reach, height - 0.5), max(row - reach, -0.5)),
    )
    axes.tick_params(labelsize=7)
    axes.set_xlabel(
        f"pixels; width {field.std[0]:.1f}×{field.std[1]:.1f}, area {field.area}\ndashed: two predicted widths",
        fontsize=8,
    )


def predicted_centre(field: ReceptiveField, predicted: Prediction) -> np.ndarray:
    """Where the centre of the measured field should be, in pixels."""
    return predicted.centre + predicted.jump * field.position
