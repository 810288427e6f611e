"""What a layer does to a receptive field: its window along both axes, and how much of a gradient it lets through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import nn
from minidl.autograd import no_grad
from minidl.device import asnumpy
from minidl.explain.moments import Moments
from minidl.explain.watch import Call, is_map
from minidl.nn import Module
from minidl.ops import _check
from minidl.priors import GaussianPool2d, MaxEntPool2d

Pair = tuple[int, int]
AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, GaussianPool2d, MaxEntPool2d)


@dataclass(frozen=True)
class Window:
    """Where the taps of a layer lie, by (vertical, horizontal), and the Gaussian that blurs them.

    Attributes:
        kernel, stride, dilation: of the taps.
        before: zeros above and to the left of the map.
        profiles: share of each tap in Σ |w|^p, summed over the other axis.
        blur: taps of the Gaussian, a row a channel or one for all, the same along both axes; [[1]] if there is none.
        averages: whether the taps are given and equal, 1/k each, not random weights.
        gates: whether it is a relu.
        power: p.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    profiles: tuple[np.ndarray, np.ndarray]
    blur: np.ndarray
    averages: bool
    gates: bool
    power: int

    @property
    def radius(self) -> int:
        """Of the Gaussian; 0 if there is none."""
        return self.blur.shape[1] // 2

    @property
    def is_point(self) -> bool:
        """Whether it reads one pixel for each of the same map."""
        return self.kernel == self.stride == (1, 1) and self.radius == 0

    @property
    def mean(self) -> np.ndarray:
        """Mean place of the taps, from the pixel that output 0 begins at; a Gaussian is even and moves nothing."""
        means = np.array([q @ np.arange(len(q)) for q in self.profiles])
        return means * self.dilation - self.before

    @property
    def variance(self) -> np.ndarray:
        """d² v, of the taps' places: d² (k² − 1)/12 if all are alike."""
        places = [np.arange(len(q)) - q @ np.arange(len(q)) for q in self.profiles]
        return np.array([q @ (u * u) for q, u in zip(self.profiles, places, strict=True)]) * np.square(self.dilation)

    @property
    def blur_variance(self) -> float:
        """m = Σ u² k^p / Σ k^p of the Gaussian, over its channels: of the taps as they are cut, which is not σ²."""
        u, k = np.arange(-self.radius, self.radius + 1), self.blur**self.power
        along_the_other_axis = k.sum(axis=1)
        return float(along_the_other_axis @ k @ (u * u) / (along_the_other_axis @ k.sum(axis=1)))

    def back(self, at: Moments) -> Moments:
        """What a gradient at the layer's output, of these moments, becomes at its input, up to its mass."""
        if self.gates:
            return at.gated()
        at = at.strided(self.stride)
        if self.averages and self.power == 2:
            boxes = [np.full((1, k), 1 / k) for k in self.kernel]
            at = at.filtered(boxes[0], boxes[1], -np.array(self.before))
        else:
            at = at.scattered(self.mean, self.variance)
        if self.radius == 0:
            return at
        if self.power == 1:  # non-negative taps: each share of the gradient moves by itself
            return at.scattered(np.zeros(2), np.full(2, self.blur_variance))
        return at.filtered(self.blur, self.blur, np.full(2, -self.radius))


def is_atom(module: Module) -> bool:
    """Whether a layer is to be seen as a whole: it has a window, or no layers inside."""
    return hasattr(module, "kernel_size") or next(module.named_children(), None) is None


def window(call: Call, structure: str, power: int) -> Window:
    """The window of the layer that was called: one pixel, where it acts on each alone.

    Args:
        call: of a layer from maps to maps.
        structure: "flat": all taps alike; "weights": as |w|^power is distributed over them.
        power: 1 or 2.

    Raises:
        ValueError: it is a kind of layer whose window is not known.
    """
    module, x, y = call.module, call.inputs[0], call.output
    if not (is_map(x) and is_map(y)):
        raise ValueError(f"predict: {call.path} ({type(module).__name__}) must take and give maps (N, C, h, w)")
    if hasattr(module, "output_size"):
        kernel = stride = _regions(call.path, x.shape[2:], y.shape[2:])
    elif hasattr(module, "kernel_size"):
        kernel = _pair(module, "kernel_size", 1)
        stride = _pair(module, "stride", 1) if getattr(module, "stride", None) is not None else kernel
    else:
        kernel, stride = (1, 1), _pair(module, "stride", 1)
    if hasattr(module, "output_padding"):
        raise ValueError(f"predict: {call.path} ({type(module).__name__}) enlarges its map, which has no field here")
    dilation = _pair(module, "dilation", 1)
    found = Window(
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        before=_before(module, kernel, dilation),
        profiles=_profiles(module, kernel, structure, power),
        blur=_blur(module),
        averages=isinstance(module, AVERAGES),
        gates=isinstance(module, (nn.ReLU, nn.ReLU6)),
        power=power,
    )
    if found.is_point and x.shape[2:] != y.shape[2:]:
        raise ValueError(f"predict: {call.path} ({type(module).__name__}) has no window, but changes the map's size")
    return found


def passed(call: Call, power: int) -> float:
    """By how much the layer multiplies the sum of |gradient|^p in the mean, but for what `Window.back` does."""
    module: Any = call.module
    x, y = call.inputs[0], call.output
    if _is_convolution(module):
        weight = asnumpy(module.weight.data).astype(np.float64)
        return float((abs(weight) ** power).sum()) / len(weight)
    if getattr(module, "running_var", None) is not None:
        scale = 1 / np.sqrt(asnumpy(module.running_var.data).astype(np.float64) + module.eps)
        gamma = 1.0 if module.weight is None else abs(asnumpy(module.weight.data))
        return float(((gamma * scale) ** power).mean())
    return min(1.0, x.shape[1] / y.shape[1])  # channels that come from nowhere take their share with them


def _is_convolution(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim == 4


def _pair(module: Module, name: str, default: int) -> Pair:
    return _check.pair(type(module).__name__, name, getattr(module, name, default), minimum=0)


def _regions(path: str, size: tuple[int, ...], to: tuple[int, ...]) -> Pair:
    """Kernel and stride of an adaptive pool, whose regions must be alike."""
    if any(n % m for n, m in zip(size, to, strict=True)):
        raise ValueError(f"predict: {path} divides {size[0]}×{size[1]} into regions of different sizes")
    return size[0] // to[0], size[1] // to[1]


def _before(module: Module, kernel: Pair, dilation: Pair) -> Pair:
    padding: Any = getattr(module, "padding", 0)
    if padding == "same":
        vertical, horizontal = (d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
        return vertical, horizontal
    return (0, 0) if padding == "valid" else _pair(module, "padding", 0)


def _profiles(module: Any, kernel: Pair, structure: str, power: int) -> tuple[np.ndarray, np.ndarray]:
    if structure == "weights" and _is_convolution(module):
        mass = (abs(asnumpy(module.weight.data).astype(np.float64)) ** power).sum(axis=(0, 1))  # (O,C/G,kh,kw)→(kh,kw)
        if mass.sum() > 0:
            return mass.sum(axis=1) / mass.sum(), mass.sum(axis=0) / mass.sum()
    return np.full(kernel[0], 1 / kernel[0]), np.full(kernel[1], 1 / kernel[1])


@no_grad()
def _blur(module: Any) -> np.ndarray:
    """Taps of the layer's Gaussian, float64 (1 or C, 2r + 1); [[1]] if it has none."""
    return asnumpy(module.taps().data).astype(np.float64) if hasattr(module, "taps") else np.ones((1, 1))
