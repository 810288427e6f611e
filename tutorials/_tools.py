"""What the tutorials import: numbers that are checked, exercises, sources, sliders, and the look of figures."""

from __future__ import annotations

import ast
import inspect
import operator
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import minidl
from minidl.explain.canvas import COLOURS, MAP

__all__ = [
    "COLOURS",
    "MAP",
    "NotRight",
    "NotYet",
    "expect",
    "graph",
    "show_source",
    "slider",
    "stated",
]

STATIC = "MINIDL_STATIC"  # set: nobody is there to move a slider
PACKAGES = Path(minidl.__file__).resolve().parents[1]  # where minidl is imported from

plt.rcParams.update(
    {
        "figure.figsize": (7, 3.2),
        "figure.dpi": 160,
        "figure.facecolor": "white",  # a light card, on a dark page too
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": plt.cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.labelsize": 10,
        "font.size": 10,
        "grid.alpha": 0.3,
        "image.cmap": MAP,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
    }
)


# Numbers

_COMPARISONS = {"<": operator.lt, "≤": operator.le, ">": operator.gt, "≥": operator.ge}
_NUMBER = re.compile(r"[-−+]?(?P<whole>\d[\d,]*)(?:\.(?P<decimals>\d+))?(?P<exponent>e[-−+]?\d+)?")


def stated(text: str, value: Any) -> None:
    """Raise unless the number in the text is the number of the code.

    Args:
        text: "0.842", "2,245", "−1.5e-12": what `value` rounds to, with as many digits as it is written with;
            or a bound, "< 1e-12", with <, ≤, > or ≥.
        value: one number.

    Raises:
        AssertionError: the statement does not hold.
        ValueError: `text` is not such a statement.

    Example:
        >>> stated("0.67", 2 / 3)
        >>> stated("< 1e-12", 2.2e-16)
        >>> stated("0.66", 2 / 3)
        Traceback (most recent call last):
        AssertionError: the text says 0.66, the code 0.67
    """
    sign, number = (text[0], text[1:].strip()) if text[:1] in _COMPARISONS else ("", text)
    form = _NUMBER.fullmatch(number)
    if form is None:
        raise ValueError(f"stated: text must be a number or a bound, got {text!r}")
    value = float(np.asarray(value).item())
    plain = number.replace("−", "-").replace(",", "")
    if sign:
        if not _COMPARISONS[sign](value, float(plain)):
            raise AssertionError(f"the text says {text}, the code {value:.6g}")
        return
    digits = len(form["decimals"] or "")
    shown = f"{value:.{digits}e}" if form["exponent"] else f"{value:.{digits}f}"
    if float(shown) != float(plain):
        raise AssertionError(f"the text says {text}, the code {shown}")


# Exercises


class _OneLine(Exception):
    def _render_traceback_(self) -> list[str]:  # how IPython shows it
        return [f"{type(self).__name__}: {self}"]


class NotYet(_OneLine):
    """An exercise without an answer."""


class NotRight(_OneLine):
    """An exercise with a wrong answer."""


def expect(
    name: str,
    answer: Any,
    right: Any,
    *,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    hint: str = "",
) -> None:
    """Say that an answer is right, or raise.

    Args:
        name: of the exercise, such as "Exercise 1".
        answer: what the reader's code gave; None or `...` is no answer.  Compared with its shape.
        right: what it should be: numbers, arrays, text, or a tuple or list of them.
        rtol, atol: how far numbers may lie apart.
        hint: added to what is said of a wrong answer.

    Raises:
        NotYet: there is no answer.
        NotRight: it is wrong.

    Example:
        >>> expect("Exercise 1", 0.1 + 0.2, 0.3)
        Exercise 1: right.
        >>> expect("Exercise 1", ..., 0.3)
        Traceback (most recent call last):
        tutorials._tools.NotYet: Exercise 1: replace the ... by your answer, and run this cell again.
    """
    parts = list(zip(answer, right, strict=False)) if isinstance(right, (tuple, list)) and _listed(answer) else []
    if answer is None or answer is ... or any(a is None or a is ... for a, _ in parts):
        raise NotYet(f"{name}: replace the ... by your answer, and run this cell again.")
    if isinstance(right, (tuple, list)):
        if not _listed(answer) or len(answer) != len(right):
            raise NotRight(f"{name}: {len(right)} results are asked for. {hint}".rstrip())
    else:
        parts = [(answer, right)]
    for i, (a, r) in enumerate(parts):
        fault = _fault(a, r, rtol, atol)
        if fault:
            which = f" result {i + 1}" if len(parts) > 1 else ""
            raise NotRight(f"{name}:{which} {fault}. {hint}".rstrip())
    print(f"{name}: right.")


def _listed(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def _fault(answer: Any, right: Any, rtol: float, atol: float) -> str:
    """What is wrong with one answer; empty if nothing is."""
    if isinstance(right, (str, bool)):
        return "" if answer == right else f"not {answer!r}"
    answer, right = np.asarray(answer), np.asarray(right)
    if answer.dtype.kind not in "biufc":
        return "not a number"
    if answer.shape != right.shape:
        return f"the shape should be {right.shape}, not {answer.shape}"
    off = ~np.isclose(answer, right, rtol=rtol, atol=atol, equal_nan=True)
    if not off.any():
        return ""
    place = tuple(int(i) for i in np.argwhere(off)[0])
    at = f" at {list(place)}" if place else ""
    return f"{answer[place]:.9g}{at} is not right"


# Sources


class _Markdown:
    """Markdown as an output: Jupyter and the site colour its code in their own colours."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/markdown": self.text, "text/plain": self.text}


def show_source(*objects: Any, docstring: bool = True) -> _Markdown:
    """The source of classes or functions as it stands in its file.

    Args:
        objects: classes, functions, or modules (of a module the docstring alone: its equations).
        docstring: with the docstrings of functions, which can be long.

    Example:
        >>> print(show_source(minidl.nn.Module.train, docstring=False).text.splitlines()[0].partition(",")[0])
        `minidl/nn/module.py`
    """
    parts = []
    for obj in objects:
        file = Path(inspect.getsourcefile(obj) or "").resolve().relative_to(PACKAGES).as_posix()
        if inspect.ismodule(obj):
            parts += [f"`{file}`", f"```text\n{(obj.__doc__ or '').strip()}\n```"]
            continue
        lines, start = inspect.getsourcelines(obj)
        source = textwrap.dedent("".join(lines)).rstrip()
        if not docstring:
            source = _without_docstring(source)
        parts += [f"`{file}`, line {start}", f"```python\n{source}\n```"]
    return _Markdown("\n".join(parts))


def _without_docstring(source: str) -> str:
    node = ast.parse(source).body[0]
    assert isinstance(node, (ast.FunctionDef, ast.ClassDef))
    first = node.body[0]
    if ast.get_docstring(node) is None or len(node.body) == 1:
        return source
    lines = source.splitlines()
    del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


# Figures


def slider(
    draw: Callable[..., None],
    *,
    width: float = 7.0,
    height: float = 2.4,
    **values: Sequence[Any],
) -> None:
    """A picture for each value of a parameter: under a slider, or side by side where nobody can move one.

    Args:
        draw: draw(axes, name=value) draws one picture.
        width, height: of the figure in inches.
        values: one parameter and the values it takes.
    """
    ((name, choices),) = values.items()
    if not os.environ.get(STATIC):
        try:
            from ipywidgets import SelectionSlider, interact
        except ImportError:
            pass
        else:
            interact(
                lambda value: _drawn(draw, name, [value], width / 2, height),
                value=SelectionSlider(options=list(choices), description=name, continuous_update=False),
            )
            return
    _drawn(draw, name, choices, width, height)


def _drawn(
    draw: Callable[..., None],
    name: str,
    values: Sequence[Any],
    width: float,
    height: float,
) -> None:
    _, axes = plt.subplots(1, len(values), figsize=(width, height), squeeze=False, sharey=True)
    for ax, value in zip(axes[0], values, strict=True):
        draw(ax, **{name: value})
    plt.show()


def graph(
    nodes: dict[str, tuple[float, float]],
    edges: Sequence[tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]],
    *,
    functions: Sequence[str] = (),
    ax: Any = None,
) -> Any:
    """A computation: tensors as circles, Functions as boxes, values forward along the edges and cotangents back.

    Args:
        nodes: name as it is shown and place of each node, in units of a node's width.
        edges: (from, to), (from, to, value) or (from, to, value, cotangent); the value is written above the edge in the
            first colour, the cotangent below it in the second.
        functions: the nodes that are boxes.
        ax: axes to draw on; new ones if None.

    Returns:
        The axes.
    """
    xs, ys = (np.array(places) for places in zip(*nodes.values(), strict=True))
    (left, right), (low, high) = ((v.min() - 0.5, v.max() + 0.5) for v in (xs, ys))
    ax = plt.subplots(figsize=(7, 7 * (high - low) / (right - left)))[1] if ax is None else ax
    for start, end, *texts in edges:
        (x0, y0), (x1, y1) = nodes[start], nodes[end]
        ax.annotate(
            "",
            (x1, y1),
            (x0, y0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "0.35",
                "shrinkA": 15,
                "shrinkB": 15,
            },
        )
        length = np.hypot(x1 - x0, y1 - y0)
        normal = np.array([-(y1 - y0), x1 - x0]) / length * (1 if x1 >= x0 else -1)
        for text, side, colour in zip(texts, (1, -1), COLOURS, strict=False):
            x, y = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + 0.17 * side * normal
            ax.text(x, y, text, color=colour, ha="center", va="center", fontsize=9)
    for name, (x, y) in nodes.items():
        shape = "square,pad=0.4" if name in functions else "circle,pad=0.3"
        face = "#FFF3DC" if name in functions else "#E3F0F8"
        box = {"boxstyle": shape, "facecolor": face, "edgecolor": "0.35"}
        ax.text(x, y, name, ha="center", va="center", fontsize=10, bbox=box)
    ax.set(xlim=(left, right), ylim=(low, high), aspect="equal")
    ax.axis("off")
    return ax
