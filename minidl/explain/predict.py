r"""The effective receptive field, predicted from geometry and widths alone.

A layer with k taps, dilation d and stride s, whose kernel is convolved with a Gaussian of taps g_u, |u| ≤ r, adds to
one axis, J being the product of the strides before it ("jump"),

    hard support      J (d (k − 1) + 2r)               of   1 + Σ J (d (k − 1) + 2r)           (1)
    variance          J² (v + m),   v = d² (k² − 1)/12,   m = Σ u² g_u^p / Σ g_u^p             (2)
    jump              J → J s                                                                  (3)

v is that of k equal taps.  Where kernels are non-negative, p = 1: the gradient is the convolution of them all, and
variances add exactly; m is the second moment of the taps as they are cut, which is σ² only from σ ≈ 0.8 on.
Where weights are random, independent and of mean 0, as they are at first, p = 2: E[W²] of one layer's composed kernel
is flat(k) ⁎ g², of m ≈ σ²/2.  Layer on layer, (2) takes gradients at neighbouring places to be independent, which
they are not below a blur; `Moments` carries their second moments back through the network, all of them:

    at the output         a unit gradient at one pixel
    through a layer       `Window.back`, times Σ |w|^p / O (convolution), mean |γ/√(v + ε)|^p (norm)    (4)
    to a sum              each branch gets all of it; of a concatenation, its channels' share  (5)
    where a map is used twice, what comes back from both is added                              (6)

Exact: (1), for every network, as the hull of all its paths.  (2) for chains without gates: with p = 1 for non-negative
kernels whose channels are alike, with p = 2 in expectation over weights up to and with the uppermost blur.  (4)-(6)
for linear networks, branching and blurred as they may be, with p = 2 in expectation over weights.
Approximate: relu's gates depend on the weights and on each other, and are taken to be those of `Moments.gated`; a
maximum is taken to lie anywhere in its window, Gaussian and maximum-entropy pooling to be averages; side paths
through a global mean (a pooling's guidance) are left out, though they reach every pixel; borders are taken to be far.
After training, weights are not independent: this is then what geometry and σ explain, no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor
from minidl.device import get_array_module
from minidl.explain.field import output_of
from minidl.explain.gradcam import default_layer
from minidl.explain.moments import Moments
from minidl.explain.watch import Call, inspected, watched
from minidl.explain.window import Window, is_atom, passed, window
from minidl.nn import Module

__all__ = ["Prediction", "Step", "predict"]


@dataclass(frozen=True)
class Step:
    """A layer with a window, and the field up to and with it by (1)-(3), vertical and horizontal.

    Attributes:
        path: of the layer.
        window: its kernel, stride, dilation and Gaussian.
        jump: pixels between the fields of neighbouring outputs.
        support: (1) up to here, in pixels.
        std: root of the variance (2) up to here.
    """

    path: str
    window: Window
    jump: np.ndarray
    support: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """The field of one output pixel.

    Attributes:
        layer: whose output.
        power: p of (2).
        steps: layers on the longest path, from the image up.
        jump: pixels between the fields of neighbouring outputs.
        support: (1), pixels beyond which nothing has influence.
        centre: mean of the field of output 0, in pixels; of output i: centre + jump · i.
        std: root of the variance over all paths, by (4)-(6).
        longest_std: root of the sum (2) along the longest path.
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
            ("layer", "kernel", "stride", "dilation", "radius", "blur", "jump", "support", "width")
        ]
        for step in self.steps:
            w = step.window
            blur = f"{w.blur_variance**0.5:.2f}" if w.radius else "-"
            own = (_pair(w.kernel), _pair(w.stride), _pair(w.dilation), str(w.radius or "-"), blur)
            rows.append((step.path, *own, _pair(step.jump), _pair(step.support), _pair(step.std)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        return "\n".join([*lines, f"all paths: support {_pair(self.support)}, width {_pair(self.std)} pixels"])


def _pair(values: Any) -> str:
    """Two numbers, or one where they look equal."""
    texts = [f"{v:.2f}" if isinstance(v, float) else str(v) for v in np.asarray(values).tolist()]
    return texts[0] if texts[0] == texts[1] else "×".join(texts)


def predict(
    model: Module,
    image_shape: tuple[int, int, int],
    *,
    layer: str | None = None,
    power: int = 2,
    structure: str = "flat",
) -> Prediction:
    """Predict the effective receptive field of a layer's outputs, by (1)-(6).

    The network is run once, on a black image, to see how its layers are joined; it is left as it was.

    Args:
        model: images (N, C, H, W) → anything; what has a window must be a layer, not a function in `forward`.
        image_shape: (C, H, W).
        layer: path of a layer that gives maps; None for the last convolutional stage.
        power: 2 for mean squared gradients and random weights, 1 for mean absolute ones and non-negative kernels.
        structure: "flat": v as in (2), from geometry alone; "weights": v and means as |w|^p lies on a kernel's taps.

    Returns:
        The field, and the layers on the longest path; printed, a table.

    Raises:
        ValueError: there is no such layer, it gives no map, or layers are joined in a way that this does not know.

    Example:
        >>> from minidl import nn
        >>> rng = np.random.default_rng(0)
        >>> convs = [nn.Conv2d(1, 1, 3, stride=2, padding=1, rng=rng), nn.Conv2d(1, 1, 3, padding=1, rng=rng)]
        >>> print(predict(nn.Sequential(*convs), (1, 32, 32)))
        layer  kernel  stride  dilation  radius  blur  jump  support  width
        0           3       2         1       -     -     1        3   0.82
        1           3       1         1       -     -     2        7   1.83
        all paths: support 7, width 1.83 pixels
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
        joints = _joints(y, x, {c.output.grad_fn: c for c in calls if _has_own_graph(c)})
        found = _back(joints, structure, power)
    steps, longest = _forward(found.way)
    return Prediction(
        layer=path,
        power=power,
        steps=steps,
        jump=_jump(found.way),
        support=found.high - found.low + 1,
        centre=found.moments.mean,
        std=np.sqrt(found.moments.variance),
        longest_std=np.sqrt(longest),
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


@dataclass(frozen=True)
class Joint:
    """How a map comes from others: through the layer of `call`, or, if that is None, as their sum or concatenation."""

    map: Tensor
    call: Call | None
    inputs: list[Tensor]


def _joints(y: Tensor, x: Tensor, made_by: dict[Function | None, Call]) -> list[Joint]:
    """All joints between y and x, users before inputs."""
    order: list[Joint] = []
    seen: set[Function | None] = {None}  # x has no grad_fn, and nothing else on the way has none
    stack: list[tuple[Tensor, Joint | None]] = [(y, None)]
    while stack:
        tensor, done = stack.pop()
        if done:
            order.append(done)
        elif tensor.grad_fn not in seen:
            seen.add(tensor.grad_fn)
            call = made_by.get(tensor.grad_fn)
            joint = Joint(tensor, call, [call.inputs[0]] if call else _maps_before(tensor, x))
            stack.append((tensor, joint))
            stack.extend((t, None) for t in joint.inputs)
    return order[::-1]


@dataclass(frozen=True)
class Arrival:
    """What has come back to a map: moments, hull, and the longest way from the output, a window a layer."""

    moments: Moments
    low: np.ndarray
    high: np.ndarray
    way: tuple[tuple[str, Window], ...] = ()

    def __add__(self, other: Arrival) -> Arrival:
        """(6)."""
        longest = max(self, other, key=lambda a: int((a.high - a.low).sum()))
        if (_jump(self.way) != _jump(other.way)).any():
            raise ValueError("predict: branches of different strides meet; what has a window must be a layer")
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Arrival(self.moments + other.moments, low, high, longest.way)  # (6)

    def through(self, path: str, w: Window, factor: float) -> Arrival:
        """What arrives before a layer of this window that multiplies masses by `factor`."""
        return Arrival(
            w.back(self.moments).times(factor),  # (4)
            self.low * w.stride - w.before - w.radius,
            self.high * w.stride + np.array(w.dilation) * (np.array(w.kernel) - 1) - w.before + w.radius,  # (1)
            self.way if w.is_point else (*self.way, (path, w)),
        )


def _jump(way: tuple[tuple[str, Window], ...]) -> np.ndarray:
    return np.prod([(1, 1), *(w.stride for _, w in way)], axis=0)


def _back(joints: list[Joint], structure: str, power: int) -> Arrival:
    """What arrives at the image."""
    arrived = {joints[0].map.grad_fn: Arrival(Moments.of_a_pixel(), np.zeros(2, int), np.zeros(2, int))}
    for joint in joints:
        at = arrived.pop(joint.map.grad_fn)
        if joint.call:
            at = at.through(joint.call.path, window(joint.call, structure, power), passed(joint.call, power))
        for t in joint.inputs:
            share = 1.0 if joint.call else t.shape[1] / joint.map.shape[1]  # (5)
            to = Arrival(at.moments.times(share), at.low, at.high, at.way)
            arrived[t.grad_fn] = arrived[t.grad_fn] + to if t.grad_fn in arrived else to
    return arrived[None]


def _forward(way: tuple[tuple[str, Window], ...]) -> tuple[tuple[Step, ...], np.ndarray]:
    """The steps of a way, from the image up, and its variance by (2)."""
    jump, support, variance = np.ones(2, int), np.ones(2, int), np.zeros(2)
    steps = []
    for path, w in reversed(way):
        support = support + jump * (np.array(w.dilation) * (np.array(w.kernel) - 1) + 2 * w.radius)  # (1)
        variance = variance + jump**2 * (w.variance + w.blur_variance)  # (2)
        steps.append(Step(path, w, jump, support, np.sqrt(variance)))
        jump = jump * w.stride  # (3)
    return tuple(steps), variance


def _maps_before(tensor: Tensor, x: Tensor) -> list[Tensor]:
    """The inputs of what made `tensor` that lie between it and x and have its resolution."""
    fn: Any = tensor.grad_fn
    on_the_way = [t for t in fn.inputs if t is not None and (t.grad_fn is not None or t is x)]
    maps = [t for t in on_the_way if t.ndim == 4 and t.shape[2:] == tensor.shape[2:]]
    if not maps:
        raise ValueError(f"predict: {fn.name} changes the size of a map outside of any layer; make it a layer")
    return maps
