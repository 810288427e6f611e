"""What a layer does to a receptive field: its window along both axes, and how much of a gradient it lets through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import nn
from minidl.autograd import no_grad
from minidl.device import asnumpy
from minidl.explain.watch import Call, is_map
from minidl.nn import Module
from minidl.ops import _check

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Taps of a layer along (vertical, horizontal), their weight to the power of p, and a Gaussian blurring them.

    Attributes:
        kernel, stride, dilation: of the taps.
        before: zeros above and to the left of the map.
        radius: of the Gaussian; 0 if there is none.
        profiles: share of each tap, summed over the other axis; each sums to 1.
        blur: share of each tap of the Gaussian, u = −r … r, likewise.
        gain: Σ g^p over the taps of the Gaussian in two dimensions.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    radius: Pair
    profiles: tuple[np.ndarray, np.ndarray]
    blur: tuple[np.ndarray, np.ndarray]
    gain: float = 1.0

    @property
    def is_point(self) -> bool:
        """Whether it reads one pixel for each of the same map."""
        return self.kernel == self.stride == (1, 1) and self.radius == (0, 0)

    @property
    def mean(self) -> np.ndarray:
        """Where output 0 reads in the mean, in pixels of the layer's input; the Gaussian is even."""
        means = np.array([q @ np.arange(len(q)) for q in self.profiles])
        return means * self.dilation - self.before

    @property
    def variance(self) -> np.ndarray:
        """d² v + m: of the taps' places, and of the Gaussian."""
        places = np.array([spread(q, np.arange(len(q))) for q in self.profiles])
        return places * np.square(self.dilation) + np.square(self.blur_std)

    @property
    def blur_std(self) -> tuple[float, float]:
        """√m of the Gaussian's taps as they are cut, which is not σ."""
        vertical, horizontal = (math.sqrt(spread(g, np.arange(len(g)) - len(g) // 2)) for g in self.blur)
        return vertical, horizontal


def spread(shares: np.ndarray, places: np.ndarray) -> float:
    """Variance of a distribution over places."""
    mean = shares @ places
    return float(shares @ np.square(places - mean))


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
    blur, gain = _gaussian(module, power)
    found = Window(
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        before=_before(module, kernel, dilation),
        radius=(len(blur[0]) // 2, len(blur[1]) // 2),
        profiles=_profiles(module, kernel, structure, power),
        blur=blur,
        gain=gain,
    )
    if found.is_point and x.shape[2:] != y.shape[2:]:
        raise ValueError(f"predict: {call.path} ({type(module).__name__}) has no window, but changes the map's size")
    return found


def passed(call: Call, w: Window, power: int) -> float:
    """Mean |gradient|^p that the layer passes on, summed over its inputs, for a unit cotangent at one output."""
    module: Any = call.module
    x, y = call.inputs[0], call.output
    if _is_convolution(module):
        weight = asnumpy(module.weight.data).astype(np.float64)
        return float((abs(weight) ** power).sum()) / len(weight) * w.gain
    if hasattr(module, "running_var") and module.running_var is not None:
        scale = 1 / np.sqrt(asnumpy(module.running_var.data).astype(np.float64) + module.eps)
        gamma = 1.0 if module.weight is None else abs(asnumpy(module.weight.data))
        return float(((gamma * scale) ** power).mean())
    if isinstance(module, (nn.ReLU, nn.ReLU6)):
        return 0.5
    if isinstance(module, (nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
        return float(math.prod(w.kernel) ** (1 - power))
    return min(1.0, x.shape[1] / y.shape[1])  # new channels that come from nowhere take their share with them


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
def _gaussian(module: Module, power: int) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Shares of the Gaussian's taps to the power of p along both axes, and their sum in two dimensions.

    Channels with a σ each are taken together: the mean of their kernels' p-th powers.
    """
    taps = getattr(module, "taps", None)
    if taps is None:
        return (np.ones(1), np.ones(1)), 1.0
    given = asnumpy(taps().data).astype(np.float64) ** power
    g = np.broadcast_to(given, (2, *given.shape[-2:]) if given.ndim > 1 else (2, 1, *given.shape))  # (2, C or 1, 2r+1)
    mass = g.sum(axis=-1)  # (2, C)
    both = mass[0] * mass[1]
    vertical, horizontal = ((both[:, None] * k / m[:, None]).sum(axis=0) for k, m in zip(g, mass, strict=True))
    return (vertical / both.sum(), horizontal / both.sum()), float(both.mean())
