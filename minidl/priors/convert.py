"""Put priors into a model: `convert(model, pool="gaussian", conv="gaussian", classifier="statrot", rng=rng)`.

Trained weights stay, the very Parameters: where a prior is without effect at first, the converted network gives the
logits of the original one.  That holds for conv="gaussian" with kernel="discrete", sigma0=0; for conv="basis" with
order=None; and for the classifier, which differs in training alone.  Pools that take over a stride change them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import nn
from minidl.autograd import Tensor
from minidl.models.count import count
from minidl.ops import _check
from minidl.priors.basis_conv import BasisConv2d
from minidl.priors.gaussian_conv import GaussianConv2d
from minidl.priors.gaussian_pool import GaussianPool2d
from minidl.priors.guidance import GlobalGuidance
from minidl.priors.like import like
from minidl.priors.maxent_pool import MaxEntPool2d
from minidl.priors.placement import Place, Window, is_strided, places
from minidl.priors.rotation import StatRotLinear

__all__ = ["CLASSIFIERS", "CONVS", "POOLS", "Change", "Conversion", "convert", "sigma_parameters", "sigmas"]

Options = Mapping[str, Any]


def _average(channels: int, w: Window, rng: np.random.Generator, **options: Any) -> nn.Module:
    options = {"count_include_pad": False, **options}  # the mean of Gaussian pooling
    return nn.AvgPool2d(w.kernel_size, w.stride, w.padding, w.ceil_mode, **options)


def _max(channels: int, w: Window, rng: np.random.Generator, **options: Any) -> nn.Module:
    return nn.MaxPool2d(w.kernel_size, w.stride, w.padding, ceil_mode=w.ceil_mode, **options)


def _gaussian(channels: int, w: Window, rng: np.random.Generator, **options: Any) -> nn.Module:
    return GaussianPool2d(channels, w.kernel_size, w.stride, w.padding, ceil_mode=w.ceil_mode, rng=rng, **options)


def _maxent(channels: int, w: Window, rng: np.random.Generator, **options: Any) -> nn.Module:
    return MaxEntPool2d(channels, w.kernel_size, w.stride, w.padding, ceil_mode=w.ceil_mode, rng=rng, **options)


POOLS: dict[str, Callable[..., nn.Module] | None] = {
    "gaussian": _gaussian,
    "maxent": _maxent,
    "average": _average,
    "max": _max,
    "skip": None,
}
CONVS: dict[str, Callable[..., nn.Module]] = {"gaussian": GaussianConv2d.from_conv, "basis": BasisConv2d.from_conv}
CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {"statrot": StatRotLinear.from_linear}


@dataclass(frozen=True)
class Change:
    """A layer before and after, in words.

    Attributes:
        path: in the model.
        before, after: the layer's class, or its stride.
    """

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Conversion:
    """What `convert` did; printed as a table.

    Attributes:
        changes: in the order of the model.
        left: paths of strided convolutions that stay, for pool priors in models without places of their own.
        parameters: before and after.
        multiply_adds: before and after, for one image; None without `input_shape`.
    """

    changes: tuple[Change, ...]
    left: tuple[str, ...]
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int] | None

    def __str__(self) -> str:
        rows = [("layer", "before", "after"), *((c.path, c.before, c.after) for c in self.changes)]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        lines = [f"{a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows]
        lines += [f"{path}  keeps its stride" for path in self.left]
        lines.append(_growth("parameters", self.parameters))
        if self.multiply_adds is not None:
            lines.append(_growth("multiply-adds", self.multiply_adds))
        return "\n".join(lines)


def _growth(what: str, numbers: tuple[int, int]) -> str:
    before, after = numbers
    return f"{what}  {before:,} → {after:,} (×{after / max(before, 1):.3f})"


def convert(
    model: nn.Module,
    *,
    pool: str | None = None,
    conv: str | None = None,
    classifier: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    rng: np.random.Generator,
    pool_options: Options | None = None,
    conv_options: Options | None = None,
    classifier_options: Options | None = None,
) -> Conversion:
    """Put priors into `model`, in place of its layers; everything is made before anything is changed.

    Args:
        model: any built from the layers of `minidl.nn`.  Where pools go is said in `priors.placement`.
        pool: "gaussian" or "maxent"; for comparison "average" and "max" in the same places, with the same strides
            taken away, or "skip", the strided layout as it is; None for no change.
        conv: "gaussian" or "basis", in place of every convolution with a kernel larger than 1×1.
        classifier: "statrot", in place of the last linear layer.
        input_shape: (C, H, W) of an image: to count multiply-adds, and for pools in models of other families.
        rng: where initial values come from, and parent of every new layer's generator of noise.
        pool_options, conv_options, classifier_options: keyword arguments of the new layers.

    Returns:
        What was changed, and what it costs.

    Raises:
        ValueError: there is nothing to replace (the model was converted already, say), or an option is impossible.
        TypeError: `model` is no Module, `rng` no Generator, or a layer has no such option.

    Example:
        >>> from minidl.models import create_model
        >>> rng = np.random.default_rng(0)
        >>> model = create_model("resnet8", num_classes=10, rng=rng)
        >>> print(convert(model, pool="gaussian", input_shape=(3, 32, 32), rng=rng, pool_options={"noise": "none"}))
        layer                before    after
        layer2.0.conv1       stride 2  stride 1
        layer2.0.downsample  stride 2  stride 1
        layer2.0.pool        Identity  GaussianPool2d
        layer3.0.conv1       stride 2  stride 1
        layer3.0.downsample  stride 2  stride 1
        layer3.0.pool        Identity  GaussianPool2d
        parameters  75,290 → 80,842 (×1.074)
        multiply-adds  12,239,488 → 33,478,272 (×2.735)
    """
    for name, value, known in (("pool", pool, POOLS), ("conv", conv, CONVS), ("classifier", classifier, CLASSIFIERS)):
        _check.choice("convert", name, value, (*known, None))
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert: model must be an nn.Module, got {type(model).__name__}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"convert: rng must be a numpy.random.Generator, got {type(rng).__name__}")
    before = _cost(model, input_shape)
    edits: list[_Edit] = []
    left: tuple[str, ...] = ()
    if conv is not None:
        edits += _convolutions(model, conv, conv_options or {})
    if pool is not None and POOLS[pool] is not None:
        edits += _pools(model, pool, input_shape, rng, pool_options or {})
        unstrided = {edit.path for edit in edits if edit.new is None}
        left = tuple(path for path, m in model.named_modules() if path and is_strided(m) and path not in unstrided)
    if classifier is not None:
        edits += _classifier(model, classifier, rng, classifier_options or {})
    _apply(model, edits)
    order = {path: i for i, (path, _) in enumerate(model.named_modules())}
    edits.sort(key=lambda edit: order.get(edit.path, 0))
    after = _cost(model, input_shape)
    return Conversion(
        changes=tuple(edit.change for edit in edits),
        left=left,
        parameters=(before[0], after[0]),
        multiply_adds=None if input_shape is None else (before[1], after[1]),
    )


@dataclass(frozen=True)
class _Edit:
    """A layer to be replaced by `new`, or to lose its stride if that is None."""

    path: str
    old: Any
    new: nn.Module | None
    change: Change


def _apply(model: nn.Module, edits: list[_Edit]) -> None:
    """Replace layers, a shared one in all its places, then take strides away."""
    new = {id(edit.old): edit.new.train(edit.old.training) for edit in edits if edit.new is not None}
    for _, parent in model.named_modules():
        for name, child in list(parent.named_children()):
            if id(child) in new:
                setattr(parent, name, new[id(child)])
    for edit in edits:
        if edit.new is None:
            layer: Any = model.get_submodule(edit.path)  # `old`, or what has replaced it
            layer.stride = (1, 1)


def _replacement(path: str, old: nn.Module, new: nn.Module) -> _Edit:
    return _Edit(path, old, new, Change(path, _kind(old), _kind(new)))


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Sequential):
        return " + ".join(_kind(child) for child in module)
    return type(module).__name__


def _convolutions(model: nn.Module, conv: str, options: Options) -> list[_Edit]:
    found = [
        _replacement(path, module, CONVS[conv](module, **options))
        for path, module in model.named_modules()
        if path and isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and type(module) is nn.Conv2d
    ]
    if not found:
        raise ValueError(f"convert: {type(model).__name__} has no plain convolution with a kernel larger than 1×1")
    return found


def _pools(
    model: nn.Module, pool: str, input_shape: tuple[int, int, int] | None, rng: np.random.Generator, options: Options
) -> list[_Edit]:
    edits = []
    for place in places(model, input_shape):
        for path in place.unstrided:
            module: Any = model.get_submodule(path)
            stride = module.stride[0] if module.stride[0] == module.stride[1] else module.stride
            edits.append(_Edit(path, module, None, Change(path, f"stride {stride}", "stride 1")))
        old = model.get_submodule(place.path)
        edits.append(_replacement(place.path, old, _pooling(model, old, place, pool, rng, options)))
    if not edits:
        raise ValueError(f"convert: {type(model).__name__} has no place for a pool, or has one there already")
    return edits


def _pooling(
    model: nn.Module, old: nn.Module, place: Place, pool: str, rng: np.random.Generator, options: Options
) -> nn.Module:
    """What goes to a place: the pool, or several layers of which it is the last."""
    make = POOLS[pool]
    assert make is not None
    added: list[nn.Module] = [nn.BatchNorm2d(place.channels), nn.ReLU()] if place.norm_relu else []
    added += [make(place.channels, window, rng, **options) for window in place.windows]
    weight = next(model.parameters(), Tensor([0.0]))
    for layer in added:
        like(layer, weight)
    layers = [old, *added] if place.behind else added
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _classifier(model: nn.Module, classifier: str, rng: np.random.Generator, options: Options) -> list[_Edit]:
    guiding = {
        id(layer)
        for _, module in model.named_modules()
        if isinstance(module, GlobalGuidance)
        for _, layer in module.named_modules()
    }
    linear = [(path, m) for path, m in model.named_modules() if path and type(m) is nn.Linear and id(m) not in guiding]
    if not linear:
        raise ValueError(f"convert: {type(model).__name__} has no plain linear layer for a classifier")
    path, last = linear[-1]
    return [_replacement(path, last, CLASSIFIERS[classifier](last, rng=rng, **options))]


def _cost(model: nn.Module, input_shape: tuple[int, int, int] | None) -> tuple[int, int]:
    if input_shape is None:
        return sum(p.size for p in model.parameters()), 0
    cost = count(model, input_shape)
    return cost.parameters, cost.multiply_adds


def sigma_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters from which the σ of every `GaussianConv2d` derive, by name.

    Args:
        model: any.

    Returns:
        Name → Parameter, in the order of the model: ln σ of sampled kernels, σ² of discrete ones.

    Example:
        >>> layer = GaussianConv2d(3, 8, 3, rng=np.random.default_rng(0))
        >>> sigma_parameters(nn.Sequential(layer))
        {'0.log_sigma': Parameter([-0.6931472], float32, requires_grad=True)}
    """
    return {
        f"{path}.{name}" if path else name: parameter
        for path, module in model.named_modules()
        if isinstance(module, GaussianConv2d)
        for name, parameter in vars(module).items()
        if name in ("log_sigma", "variance")
    }


def sigmas(model: nn.Module) -> dict[str, np.ndarray]:
    """σ of every `GaussianConv2d` by path: shape (1,), or (C,) for one an input channel; in samples of its input.

    Args:
        model: any.

    Returns:
        Path → array, in the order of the model.

    Example:
        >>> layer = GaussianConv2d(3, 8, 3, sigma0=1, rng=np.random.default_rng(0))
        >>> sigmas(nn.Sequential(layer))
        {'0': array([1.], dtype=float32)}
    """
    return {path: module.sigma for path, module in model.named_modules() if isinstance(module, GaussianConv2d)}
