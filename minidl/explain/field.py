"""The effective receptive field, measured: which pixels move the centre of a map, and how much.

Of a layer's output Y (O, h, w), the centre is (i, j) = (⌊h/2⌋, ⌊w/2⌋), and v a unit vector over its channels.  The
gradient of v · Y[:, i, j] in the image x is gx (C, H, W); over many images, each with a v of its own,

    E[a, b] = mean of |gx[c, a, b]|^p over images and channels c,   p = 1 or 2                 (1)

Along each axis, with the other summed out and E divided by its sum (so that it is a distribution of positions u),

    centroid m = Σ_u E_u u,      width s = √(Σ_u E_u (u − m)²)                                 (2)

and the area is the number of pixels where E exceeds 1 − erf(√2) = 4.55 % of its peak, as much of a Gaussian's mass as
lies beyond two standard deviations.

Of a linear layer E is the layer's kernel, to the power of p.  Gates of relu make the map of one image ragged: take
hundreds of images.  A field that reaches the border of the image is cut there, and narrower than on a larger image.

Source: Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", NIPS 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd import Tensor
from minidl.device import Array, asnumpy, get_array_module
from minidl.explain.gradcam import default_layer
from minidl.explain.watch import images_for, inspected, is_map, watched
from minidl.nn import Module

__all__ = ["THRESHOLD", "ReceptiveField", "receptive_field"]

THRESHOLD = 1 - math.erf(math.sqrt(2))  # 0.0455


@dataclass(frozen=True)
class ReceptiveField:
    """E of (1), and what (2) says of it.

    Attributes:
        layer: path of the layer whose centre was looked at.
        map: E, float64 (H, W).
        power: p.
        position: (i, j) in the layer's map.
    """

    layer: str
    map: np.ndarray
    power: int
    position: tuple[int, int]

    @property
    def profiles(self) -> tuple[np.ndarray, np.ndarray]:
        """E summed over the width, then over the height, each divided by its sum: shapes (H,), (W,)."""
        total = self.map.sum()
        return self.map.sum(axis=1) / total, self.map.sum(axis=0) / total

    @property
    def centroid(self) -> np.ndarray:
        """m of (2), vertical and horizontal, in pixels."""
        return np.array([e @ np.arange(len(e)) for e in self.profiles])

    @property
    def std(self) -> np.ndarray:
        """s of (2), vertical and horizontal, in pixels."""
        centred = [np.arange(len(e)) - m for e, m in zip(self.profiles, self.centroid, strict=True)]
        return np.array([math.sqrt(e @ (u * u)) for e, u in zip(self.profiles, centred, strict=True)])

    @property
    def area(self) -> int:
        """Pixels where E exceeds 4.55 % of its peak."""
        return int((self.map > THRESHOLD * self.map.max()).sum())


def receptive_field(
    model: Module,
    images: Any,
    *,
    layer: str | None = None,
    power: int = 2,
    channel: int | None = None,
    rng: np.random.Generator | None = None,
    batch_size: int = 16,
) -> ReceptiveField:
    """Measure the effective receptive field of a layer's centre, in evaluation mode.

    Modes, gradients and parameters of `model` are left as they were.

    Args:
        model: images (N, C, H, W) → anything.
        images: random or real ones, normalised as the model expects them.
        layer: path of a layer that gives maps; None for the last convolutional stage.
        power: p of (1).
        channel: the one output channel to look at; None for a random unit vector over all, another for every image.
        rng: where those vectors come from.
        batch_size: images at a time.

    Returns:
        The field, with its width and area.

    Raises:
        ValueError: there is no such layer or channel, it gives no map, `rng` is missing, or no gradient reaches an
            image.

    Example:
        >>> from minidl import nn
        >>> blur = nn.AvgPool2d(3, stride=1, padding=1)
        >>> field = receptive_field(nn.Sequential(blur), np.ones((1, 1, 9, 9)), layer="0", channel=0)
        >>> field.std.round(4), field.area
        (array([0.8165, 0.8165]), 9)
    """
    if power not in (1, 2):
        raise ValueError(f"receptive_field: power must be 1 or 2, got {power!r}")
    if channel is None and rng is None:
        raise ValueError("receptive_field: rng must be given for random directions; or name a channel")
    x = images_for(model, "receptive_field", images)
    path = default_layer(model, x[:1]) if layer is None else layer
    total, position = np.zeros(x.shape[2:]), (0, 0)
    with inspected(model):
        for start in range(0, len(x), batch_size):
            batch = Tensor(x[start : start + batch_size])
            batch.requires_grad = True
            y = output_of(model, path, batch, "receptive_field")
            position = y.shape[2] // 2, y.shape[3] // 2
            y.backward(_cotangent(y, position, channel, rng))
            if batch.grad is not None:
                total += (abs(asnumpy(batch.grad).astype(np.float64)) ** power).sum(axis=(0, 1))  # (N,C,H,W) → (H,W)
    if not total.sum() > 0:
        raise ValueError(f"receptive_field: no gradient reaches the image from the centre of layer {path!r}")
    return ReceptiveField(path, total / (x.shape[0] * x.shape[1]), power, position)  # (1)


def output_of(model: Module, path: str, x: Tensor, op: str) -> Tensor:
    """What the layer at `path` gives when `model` runs on x, with its graph down to x.

    Raises:
        ValueError: there is no such layer, it was not called, or it gives no map that depends on x.
    """
    with watched([(path, model.get_submodule(path))]) as calls:
        model(x)
    if not calls:
        raise ValueError(f"{op}: layer {path!r} took no part")
    y = calls[-1].output
    if not is_map(y):
        raise ValueError(f"{op}: layer {path!r} must give maps (N, C, h, w), got {getattr(y, 'shape', type(y))}")
    if y.grad_fn is None:
        raise ValueError(f"{op}: layer {path!r} gives a map that does not depend on the image")
    return y


def _cotangent(y: Tensor, position: tuple[int, int], channel: int | None, rng: np.random.Generator | None) -> Array:
    """v at the centre, 0 elsewhere, shape of y."""
    n, o = y.shape[:2]
    v = np.zeros((n, o))
    if channel is not None:
        if not 0 <= channel < o:
            raise ValueError(f"receptive_field: channel must be within 0 and {o - 1}, got {channel}")
        v[:, channel] = 1
    else:
        assert rng is not None
        v = rng.standard_normal((n, o))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
    gy = np.zeros(y.shape, y.dtype)
    gy[:, :, position[0], position[1]] = v
    return get_array_module(y.data).asarray(gy)
