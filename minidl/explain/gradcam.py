"""Grad-CAM: where in the image the evidence for a class lies.

A (K, h, w) are the activations of a layer for one image, y_c the logit of class c before the softmax:

    α_k  = 1/(h w) Σ_ij ∂y_c/∂A_k,ij                                                           (1)
    M_ij = max(0, Σ_k α_k A_k,ij)                                                              (2)

enlarged bilinearly to the image, and divided by its largest value where that is not 0.

Under a global mean and a linear classifier w, ∂y_c/∂A_k,ij = w_ck/(h w), and (2) is the class activation map
max(0, Σ_k w_ck A_k) of Zhou et al. (CVPR 2016), divided by h w.

The model is in evaluation mode: in training, BatchNorm's statistics would mix the images of a batch into each
other's gradient, and stochastic layers draw noise.  Then an image's logit depends on that image alone, and one
backward pass gives the gradients of a whole batch.

Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd import Tensor, no_grad
from minidl.device import Array, asnumpy, get_array_module
from minidl.explain.resize import bilinear
from minidl.explain.watch import images_for, inspected, is_map, last_stage, watched
from minidl.nn import Module

__all__ = ["GradCam", "default_layer", "grad_cam"]


@dataclass(frozen=True)
class GradCam:
    """The maps of a batch, in NumPy.

    Attributes:
        layer: path of the layer whose activations were weighed.
        maps: (2) as it is, shape (N, h, w) of the layer.
        heat: enlarged to the image, 0 … 1, shape (N, H, W); 0 everywhere where nothing speaks for the class.
        logits: shape (N, K).
        target: the class that each map explains, shape (N,).
    """

    layer: str
    maps: np.ndarray
    heat: np.ndarray
    logits: np.ndarray
    target: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The class with the highest logit, shape (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """softmax(logits), shape (N, K), float64."""
        z = self.logits.astype(np.float64)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


def grad_cam(model: Module, images: Any, *, target: Any = None, layer: str | None = None) -> GradCam:
    """Grad-CAM of every image, each for one class.

    Modes, gradients and parameters of `model` are left as they were.

    Args:
        model: images (N, C, H, W) → logits (N, K).
        images: normalised as the model expects them, shape (N, C, H, W).
        target: a class for all images or one an image; None for the class that the model predicts.
        layer: path of a layer that gives maps, such as "layer4" or "features.29"; None for `default_layer`.  If it is
            called more than once, its last call counts.

    Returns:
        The maps, the logits, and the classes that were explained.

    Raises:
        ValueError: there is no such layer or class, the layer gives no map or has no influence on the logits, or the
            model gives no logits.

    Example:
        >>> from minidl import models
        >>> model = models.create_model("resnet8", num_classes=10, rng=np.random.default_rng(0))
        >>> cam = grad_cam(model, np.random.default_rng(1).normal(size=(2, 3, 32, 32)))
        >>> cam.layer, cam.maps.shape, cam.heat.shape
        ('layer3', (2, 8, 8), (2, 32, 32))
    """
    x = images_for(model, "grad_cam", images)
    path = default_layer(model, x[:1]) if layer is None else layer
    with inspected(model):
        a, y = _activations_and_logits(model, path, x)
        classes = _targets(target, y)
        xp = get_array_module(x)
        one_hot = xp.zeros(y.shape, y.dtype)
        one_hot[xp.arange(len(y.data)), xp.asarray(classes)] = 1
        y.backward(one_hot)
    assert a.grad is not None
    maps = asnumpy(weighed(a.data, a.grad))
    return GradCam(path, maps, heat(maps, x.shape[2:]), y.numpy(), classes)


def weighed(a: Array, ga: Array) -> Array:
    """M of (2) from A and ∂y_c/∂A, both (N, K, h, w)."""
    alpha = ga.mean(axis=(2, 3), keepdims=True)  # (1)
    m = (alpha * a).sum(axis=1)  # (N, K, h, w) → (N, h, w)
    return get_array_module(a).maximum(m, 0)  # (2)


def heat(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`maps` (N, h, w) enlarged to `size`, each divided by its maximum unless that is 0.

    Example:
        >>> heat(np.array([[[0.0, 2.0]], [[0.0, 0.0]]]), (1, 4))
        array([[[0.  , 0.25, 0.75, 1.  ]],
               [[0.  , 0.  , 0.  , 0.  ]]])
    """
    large = bilinear(maps, size)
    highest = large.max(axis=(1, 2), keepdims=True)
    return large / np.where(highest > 0, highest, 1)


@no_grad()
def default_layer(model: Module, images: Any) -> str:
    """The layer that ends the last convolutional stage of `model`, such as "layer4" of a ResNet; see `last_stage`.

    Args:
        model: images (N, C, H, W) → logits.
        images: one image is enough, shape (1, C, H, W).

    Returns:
        Its path.

    Raises:
        ValueError: no layer gives maps.

    Example:
        >>> from minidl import models
        >>> model = models.create_model("resnet8", num_classes=10, rng=np.random.default_rng(0))
        >>> default_layer(model, np.zeros((1, 3, 32, 32), np.float32))
        'layer3'
    """
    x = images_for(model, "grad_cam", images)
    with inspected(model), watched(model.named_modules()) as calls:
        model(Tensor(x))
        path = last_stage(calls)
    if path is None:
        raise ValueError(f"grad_cam: no layer of {type(model).__name__} gives maps (N, C, h, w)")
    return path


def _activations_and_logits(model: Module, path: str, x: Array) -> tuple[Tensor, Tensor]:
    """A, cut from what made it so that gradients end there, and the logits as a function of it."""
    found: list[Tensor] = []

    def cut(module: Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
        if not is_map(output):
            shape = output.shape if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"grad_cam: layer {path!r} must give maps (N, C, h, w), got {shape}")
        found.append(output.detach())
        found[-1].requires_grad = True
        return found[-1]

    remove = model.get_submodule(path).register_forward_hook(cut)
    try:
        y = model(Tensor(x))
    finally:
        remove()
    if not found:
        raise ValueError(f"grad_cam: layer {path!r} took no part")
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != len(x):
        raise ValueError(f"grad_cam: the model must give logits (N, K), got {getattr(y, 'shape', type(y).__name__)}")
    if not y.requires_grad:
        raise ValueError(f"grad_cam: the logits do not depend on layer {path!r}")
    return found[-1], y


def _targets(target: Any, y: Tensor) -> np.ndarray:
    """The class of every image, checked."""
    n, k = y.shape
    if target is None:
        return y.numpy().argmax(axis=1)
    classes = asnumpy(target)
    if classes.dtype.kind not in "iu" or classes.shape not in ((), (n,)):
        raise ValueError(f"grad_cam: target must be one class or {n} of them, got {target!r}")
    if classes.min() < 0 or classes.max() >= k:
        bad = classes.min() if classes.min() < 0 else classes.max()
        raise ValueError(f"grad_cam: target must be within 0 and {k - 1}, got {bad}")
    return np.array(np.broadcast_to(classes, (n,)))
