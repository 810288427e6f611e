"""Pictures of what was measured."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from minidl.bench.peers import OURS
from minidl.explain.canvas import COLOURS, legend, new_figure, style, write_png

__all__ = ["draw_roofline", "draw_scaling"]

Document = dict[str, Any]
FAMILIES = ("conv3x3", "conv7x7", "conv1x1", "depthwise", "grouped", "batchnorm", "pool", "gaussian", "other")
AXES = {
    "batch": "images a batch (ResNet-20, training)",
    "image": "side of an image in pixels (ResNet-20, training)",
    "channels": "channels (3×3 convolution of 16×16, both passes)",
    "threads": "threads (ResNet-20, training)",
}


def draw_roofline(document: Document, path: Path) -> bool:
    """GFLOP/s of every op over its arithmetic intensity, under what the machine can do.

    Returns:
        Whether there was anything to draw: ops, and a measured peak.
    """
    results = [r for r in document["results"] if r["case"]["bytes"] and r["case"]["flops"]]
    if not results or not document.get("peak"):
        return False
    peak = document["peak"]
    figure = new_figure(8, 5.5)
    axes = figure.subplots()
    intensity = [r["case"]["flops"] / r["case"]["bytes"] for r in results]
    x = np.geomspace(min(intensity) / 2, max(intensity) * 2, 200)
    roof = np.minimum(peak["gflops"], x * peak["gbytes"])
    axes.plot(
        x, roof, color="black", lw=1.5, label=f"{peak['gflops']:.0f} GFLOP/s, {peak['gbytes']:.0f} GB/s, measured"
    )
    for i, family in enumerate(FAMILIES):
        chosen = [(v, r) for v, r in zip(intensity, results, strict=True) if _family(r["case"]["name"]) == family]
        if not chosen:
            continue
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "marker": "osD^vPX<>"[i], "ls": "", "ms": 5}
        axes.plot([v for v, _ in chosen], [_rate(r, OURS) for _, r in chosen], label=family, **look)
        beside = [(v, _rate(r, r["best"]["torch"])) for v, r in chosen if "torch" in r["best"]]
        if beside:
            axes.plot(*zip(*beside, strict=True), **look, fillstyle="none", alpha=0.7)
    axes.set(xscale="log", yscale="log", xlabel="FLOP a byte that must be moved", ylabel="GFLOP/s")
    axes.set_title("minidl (filled) and PyTorch's best mode (hollow)", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    legend(axes, loc="lower right", ncols=2)
    write_png(figure, path)
    return True


def _rate(result: dict[str, Any], label: str) -> float:
    return result["case"]["flops"] / result["entries"][label]["seconds"] / 1e9


def _family(name: str) -> str:
    for family in FAMILIES:
        if name.startswith(family) or (family == "pool" and "pool" in name and not name.startswith("gaussian")):
            return family
    return "other"


def draw_scaling(document: Document, path: Path) -> bool:
    """Time an image, over batch, size, channels and threads.

    Returns:
        Whether there was anything to draw.
    """
    figure = new_figure(9, 6.5)
    panels = figure.subplots(2, 2).ravel()
    for axes, (axis, points) in zip(panels, groupby(document["results"], key=lambda r: r["axis"]), strict=False):
        listed = list(points)
        for i, peer in enumerate(document["columns"]):
            x = [p["value"] for p in listed]
            y = [1e3 * p["seconds"][peer] / p["images"] for p in listed]
            axes.plot(x, y, label=peer, **style(i))
        axes.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="ms an image")
        axes.set_xticks(x, [str(v) for v in x])
        axes.minorticks_off()
        low, high = axes.get_ylim()
        steps = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 5, 7)  # some, even within a decade
        ticks = [step * 10.0**power for power in range(-6, 7) for step in steps]
        shown = [tick for tick in ticks if low <= tick <= high]
        axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
        axes.grid(alpha=0.3)
        legend(axes)
    write_png(figure, path)
    return bool(document["results"])
