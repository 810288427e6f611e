r"""The effective receptive field, predicted from geometry and widths alone.

A layer with k taps, dilation d and stride s, whose kernel is convolved with a Gaussian of taps g_u, |u| ≤ r, adds to
one axis, J being the product of the strides before it ("jump"),

    hard support      J (d (k − 1) + 2r)               of   1 + Σ J (d (k − 1) + 2r)           (1)
    variance          J² (v + m),   v = d² (k² − 1)/12,   m = Σ u² g_u^p / Σ g_u^p             (2)
    jump              J → J s                                                                  (3)

v is that of k equal taps.  Where kernels are non-negative, p = 1: then the gradient is the convolution of them all,
and variances add exactly; m is the second moment of the taps as they are cut, which is σ² only from σ ≈ 0.8 on.
Where weights are random, independent and of mean 0, as they are at first, p = 2: cross terms vanish in the mean
square, E[W²] of a composed kernel is flat(k) ⁎ g², and m ≈ σ²/2.

Where branches meet, the mean |gradient|^p is the sum of theirs: a mixture, each path weighted by its mass e,

    e = Σ e_b,   mean = Σ e_b mean_b / e,   variance = Σ e_b (variance_b + (mean_b − mean)²) / e          (4)
    a layer multiplies e by   Σ |w|^p / O · Σ g^p   (convolution),   mean |γ/√(v + ε)|^p   (norm),
                              1/2   (relu: open half of the time),   1/k^(p−1) a tap   (average)          (5)

Exact: (1), for every network, as the hull of all its paths; (2) for chains of layers without gates, with p = 1 for
non-negative kernels whose channels are alike, with p = 2 in expectation over weights; (4) for linear branching
networks with p = 2, again in expectation.  Approximate: relu's gates are not independent of the weights, nor of each
other; max pooling is taken to choose every place of its window equally often, Gaussian and maximum-entropy pooling
to weigh them alike; concatenated branches share a random direction by their channels; side paths through a global mean
(guidance of a pooling) are left out, though they reach every pixel; borders are taken to be far away.
After training, weights are not independent: (2) is then what geometry and σ explain, no more.

Source: (2) is worked out in docs/explain.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor
from minidl.device import get_array_module
from minidl.explain.field import output_of
from minidl.explain.gradcam import default_layer
from minidl.explain.watch import Call, inspected, watched
from minidl.explain.window import Window, is_atom, passed, window
from minidl.nn import Module

__all__ = ["Prediction", "Step", "predict"]


@dataclass(frozen=True)
class Step:
    """A layer with a window on the longest path, and the field up to and with it, vertical and horizontal."""

    path: str
    window: Window
    jump: np.ndarray
    support: np.ndarray
    std: np.ndarray

    @property
    def field(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Jump before the layer, support and width with it."""
        return self.jump, self.support, self.std


@dataclass(frozen=True)
class Prediction:
    """The field of one output pixel.

    Attributes:
        layer: whose output.
        power: p of (2).
        steps: the longest path, from the image up.
        jump: pixels between the fields of neighbouring outputs.
        support: (1), pixels beyond which nothing has influence.
        centre: mean of the field of output 0, in pixels; of output i: centre + jump · i.
        std: root of the variance over all paths, (4).
        longest_std: that of the longest path alone, (2); equal to `std` in a chain.
    """

    layer: str
    power: int
    steps: tuple[Step, ...]
    jump: np.ndarray
    support: np.ndarray
    centre: np.ndarray
    std: np.ndarray
    longest_std: np.ndarray

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            ("layer", "kernel", "stride", "dilation", "radius", "blur", "jump", "support", "std")
        ]
        rows += [
            (step.path, *map(_pair, (w.kernel, w.stride, w.dilation, w.radius, w.blur_std, *step.field)))
            for step in self.steps
            for w in [step.window]
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        mixture = f"std over all paths {_pair(self.std)} pixels; along the longest {_pair(self.longest_std)}"
        return "\n".join([*lines, f"support {_pair(self.support)} pixels, {mixture}"])


def _pair(values: Any) -> str:
    """Two numbers, or one where they look equal."""
    texts = [f"{v:.2f}" if isinstance(v, float) else str(v) for v in np.asarray(values).tolist()]
    return texts[0] if texts[0] == texts[1] else "×".join(texts)


@dataclass(frozen=True)
class Paths:
    """All paths from the image up to one tensor: hull, mixture, and the longest of them."""

    jump: np.ndarray = field(default_factory=lambda: np.ones(2, int))
    low: np.ndarray = field(default_factory=lambda: np.zeros(2, int))
    high: np.ndarray = field(default_factory=lambda: np.zeros(2, int))
    mass: float = 1.0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(2))
    variance: np.ndarray = field(default_factory=lambda: np.zeros(2))
    longest_variance: np.ndarray = field(default_factory=lambda: np.zeros(2))
    steps: tuple[Step, ...] = ()

    def through(self, path: str, w: Window, factor: float) -> Paths:
        """These paths, continued through a layer with window w that multiplies their mass by `factor`."""
        jump = self.jump
        low = self.low - jump * (np.array(w.before) + w.radius)
        high = self.high + jump * (np.array(w.dilation) * (np.array(w.kernel) - 1) - w.before + w.radius)  # (1)
        longest = self.longest_variance + jump**2 * w.variance  # (2)
        step = Step(path, w, jump, high - low + 1, np.sqrt(longest))
        return Paths(
            jump=jump * w.stride,  # (3)
            low=low,
            high=high,
            mass=self.mass * factor,
            mean=self.mean + jump * w.mean,
            variance=self.variance + jump**2 * w.variance,  # (2)
            longest_variance=longest,
            steps=self.steps if w.is_point else (*self.steps, step),
        )


def meeting(branches: Sequence[tuple[float, Paths]]) -> Paths:
    """What branches become where they are added, (4), each with the share of the cotangent that it gets."""
    if len(branches) == 1:
        share, paths = branches[0]
        return Paths(**{**vars(paths), "mass": share * paths.mass})
    shares = np.array([share * paths.mass for share, paths in branches])
    mass = shares.sum()
    e = shares / mass if mass > 0 else np.full(len(shares), 1 / len(shares))
    all_paths = [paths for _, paths in branches]
    longest = max(all_paths, key=lambda p: (int((p.high - p.low).sum()), float(p.longest_variance.sum())))
    mean = sum(share * p.mean for share, p in zip(e, all_paths, strict=True))
    variance = sum(share * (p.variance + (p.mean - mean) ** 2) for share, p in zip(e, all_paths, strict=True))
    return Paths(
        jump=longest.jump,
        low=np.min([p.low for p in all_paths], axis=0),
        high=np.max([p.high for p in all_paths], axis=0),
        mass=mass,
        mean=np.asarray(mean),
        variance=np.asarray(variance),
        longest_variance=longest.longest_variance,
        steps=longest.steps,
    )


def predict(
    model: Module,
    image_shape: tuple[int, int, int],
    *,
    layer: str | None = None,
    power: int = 2,
    structure: str = "flat",
) -> Prediction:
    """Predict the effective receptive field of a layer's outputs, by (1)-(5).

    The network is run once, on a black image, to see how its layers are joined; it is left as it was.

    Args:
        model: images (N, C, H, W) → anything; what has a window must be a layer, not a function in `forward`.
        image_shape: (C, H, W).
        layer: path of a layer that gives maps; None for the last convolutional stage.
        power: 2 for mean squared gradients and random weights, 1 for mean absolute ones and non-negative kernels.
        structure: "flat": v as in (2), from geometry alone; "weights": v and means as |w|^p lies on a kernel's taps.

    Raises:
        ValueError: there is no such layer, it gives no map, or layers are joined in a way that this does not know.

    Example:
        >>> from minidl import nn
        >>> rng = np.random.default_rng(0)
        >>> convs = [nn.Conv2d(1, 1, 3, stride=2, padding=1, rng=rng), nn.Conv2d(1, 1, 3, padding=1, rng=rng)]
        >>> print(predict(nn.Sequential(*convs), (1, 32, 32)))
        layer  kernel  stride  dilation  radius  blur  jump  support   std
        0           3       2         1       0  0.00     1        3  0.82
        1           3       1         1       0  0.00     2        7  1.83
        support 7 pixels, std over all paths 1.83 pixels; along the longest 1.83
    """
    if power not in (1, 2):
        raise ValueError(f"predict: power must be 1 or 2, got {power!r}")
    if structure not in ("flat", "weights"):
        raise ValueError(f"predict: structure must be 'flat' or 'weights', got {structure!r}")
    parameter = next(model.parameters(), Tensor([0.0]))
    zeros = get_array_module(parameter.data).zeros((1, *image_shape), parameter.dtype)
    path = default_layer(model, zeros) if layer is None else layer
    x = Tensor(zeros)
    x.requires_grad = True
    with inspected(model), watched(atoms(model)) as calls:
        y = output_of(model, path, x, "predict")
        found = _follow(y, x, {c.output.grad_fn: c for c in calls if _has_own_graph(c)}, structure, power)
    return Prediction(
        layer=path,
        power=power,
        steps=found.steps,
        jump=found.jump,
        support=found.high - found.low + 1,
        centre=found.mean,
        std=np.sqrt(found.variance),
        longest_std=np.sqrt(found.longest_variance),
    )


def atoms(model: Module) -> list[tuple[str, Module]]:
    """The layers to be seen as a whole: those with a window, and those without layers inside."""
    found: list[tuple[str, Module]] = []

    def walk(path: str, module: Module) -> None:
        if is_atom(module):
            found.append((path, module))
        else:
            for name, child in module.named_children():
                walk(f"{path}.{name}" if path else name, child)

    walk("", model)
    return found


def _has_own_graph(call: Call) -> bool:
    """Whether a layer made its output from one tensor, and did not hand it on as it was."""
    ins, out = call.inputs, call.output
    one = len(ins) == 1 and isinstance(ins[0], Tensor) and isinstance(out, Tensor)
    return one and out.grad_fn is not None and out.grad_fn is not ins[0].grad_fn


def _follow(y: Tensor, x: Tensor, made_by: dict[Function | None, Call], structure: str, power: int) -> Paths:
    """`Paths` of y, from those of all tensors between x and y, inputs before users."""
    known: dict[Function | None, Paths] = {None: Paths()}  # x has no grad_fn, and nothing else on the way has none
    stack: list[Tensor] = [y]
    while stack:
        tensor = stack[-1]
        if tensor.grad_fn in known:
            stack.pop()
            continue
        call = made_by.get(tensor.grad_fn)
        inputs = [call.inputs[0]] if call else _maps_before(tensor, x)
        if waiting := [t for t in inputs if t.grad_fn not in known]:
            stack.extend(waiting)
            continue
        branches = [known[t.grad_fn] for t in inputs]
        if any((b.jump != branches[0].jump).any() for b in branches):
            raise ValueError("predict: branches of different strides meet; what has a window must be a layer")
        if call:
            w = window(call, structure, power)
            known[tensor.grad_fn] = branches[0].through(call.path, w, passed(call, w, power))
        else:  # added: every branch gets the whole cotangent; concatenated: its channels' share
            shares = [t.shape[1] / tensor.shape[1] for t in inputs]
            known[tensor.grad_fn] = meeting(list(zip(shares, branches, strict=True)))
    return known[y.grad_fn]


def _maps_before(tensor: Tensor, x: Tensor) -> list[Tensor]:
    """The inputs of what made `tensor` that lie between it and x and have its resolution."""
    fn: Any = tensor.grad_fn
    on_the_way = [t for t in fn.inputs if t is not None and (t.grad_fn is not None or t is x)]
    maps = [t for t in on_the_way if t.ndim == 4 and t.shape[2:] == tensor.shape[2:]]
    if not maps:
        raise ValueError(f"predict: {fn.name} changes the size of a map outside of any layer; make it a layer")
    return maps
