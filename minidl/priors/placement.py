r"""Where a pool with a prior goes in each family of models.

A place is data: the convolutions that lose their stride, where the pool is put, and its windows.  Pools take over
the halving of the map from the convolutions around them, so that nothing is thrown away before it is summed up:

    ResNet, ResNeXt   stem 7×7 at stride 1, and in place of the max pool 2×2/2 and 3×3/2
                      first block of stages 2, 3, …: convolution and shortcut at stride 1, 2×2/2 behind the last relu,
                      one pool for the sum of both branches
    DenseNet          stem likewise; transitions: norm, relu and 2×2/2 in place of the 2×2 mean
    VGG               every max pool
    MobileNet         every strided convolution at stride 1, 2×2/2 behind its norm and activation
    any other model   every max and average pool of it, with its own windows; strided convolutions stay

The first three are the authors' (their networks for ImageNet; CIFAR's have no pool in the stem), MobileNet's ours.

Sources: the authors' published code of "Gaussian-based pooling for convolutional neural networks", NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minidl import nn
from minidl.models.count import run_once
from minidl.models.densenet import DenseNet, Transition
from minidl.models.mobilenet import ConvNormActivation, MobileNet
from minidl.models.resnet import ResNet
from minidl.models.vgg import VGG
from minidl.nn.pool import Size

__all__ = ["PLACES", "Place", "Window", "is_strided", "places"]


@dataclass(frozen=True)
class Window:
    """Windows of a pool."""

    kernel_size: Size
    stride: Size
    padding: Size = 0
    ceil_mode: bool = False


HALVES = Window(2, 2)
STEM = (HALVES, Window(3, 2, 1))


@dataclass(frozen=True)
class Place:
    """One place for a pool, or two in a row.

    Attributes:
        path: of the layer that makes room.
        channels: of the map there.
        windows: of the pools.
        unstrided: paths of the layers whose stride becomes 1.
        behind: the layer at `path` stays, and the pool follows it.
        norm_relu: a norm and a relu come before the pool.
    """

    path: str
    channels: int
    windows: tuple[Window, ...]
    unstrided: tuple[str, ...] = ()
    behind: bool = False
    norm_relu: bool = False


def is_strided(module: nn.Module) -> bool:
    """Whether it is a convolution or shortcut that leaves out rows or columns."""
    halves = hasattr(module, "out_channels") and not isinstance(module, nn.ConvTranspose2d)
    return halves and getattr(module, "stride", (1, 1)) != (1, 1)


def strided_in(model: nn.Module, path: str) -> tuple[str, ...]:
    """Paths of the strided layers below `path`."""
    found = model.get_submodule(path).named_modules()
    return tuple(f"{path}.{name}" if name else path for name, module in found if is_strided(module))


def resnet_places(model: ResNet) -> list[Place]:
    """Stem, and the first block of every stage that halves the map."""
    found = []
    if isinstance(model.maxpool, nn.MaxPool2d):
        found.append(Place("maxpool", model.conv1.out_channels, STEM, strided_in(model, "conv1")))
    for path, stage in model.named_children():
        if isinstance(stage, nn.Sequential) and (strided := strided_in(model, f"{path}.0")):
            block: Any = stage[0]
            last = block.conv3 if hasattr(block, "conv3") else block.conv2
            found.append(Place(f"{path}.0.pool", last.out_channels, (HALVES,), strided))
    return found


def densenet_places(model: DenseNet) -> list[Place]:
    """Stem and transitions."""
    features: Any = model.features
    found = []
    if isinstance(features.pool0, nn.MaxPool2d):
        strided = strided_in(model, "features.conv0")
        found.append(Place("features.pool0", features.conv0.out_channels, STEM, strided))
    for name, part in features.named_children():
        transition: Any = part if isinstance(part, Transition) else None
        if transition is not None and isinstance(transition.pool, nn.AvgPool2d):
            path, channels = f"features.{name}.pool", transition.conv.out_channels
            found.append(Place(path, channels, (HALVES,), norm_relu=True))
    return found


def mobilenet_places(model: MobileNet) -> list[Place]:
    """Every convolution, norm and activation that halves the map."""
    found = []
    for path, module in model.named_modules():
        conv: Any = module[0] if isinstance(module, ConvNormActivation) else None
        if conv is not None and is_strided(conv):
            found.append(Place(f"{path}.2", conv.out_channels, (HALVES,), (f"{path}.0",), behind=True))
    return found


def vgg_places(model: VGG) -> list[Place]:
    """Every max pool."""
    found, channels = [], 0
    for name, layer in model.features.named_children():
        if isinstance(layer, nn.MaxPool2d):
            found.append(Place(f"features.{name}", channels, (HALVES,)))
        channels = getattr(layer, "out_channels", channels)
    return found


PLACES: dict[type[nn.Module], Callable[[Any], list[Place]]] = {
    ResNet: resnet_places,
    DenseNet: densenet_places,
    MobileNet: mobilenet_places,
    VGG: vgg_places,
}


def places(model: nn.Module, input_shape: tuple[int, int, int] | None = None) -> list[Place]:
    """The places of a model of `PLACES`, or else those of every max and average pool that is reached.

    Args:
        model: it is left as it is.
        input_shape: (C, H, W) of an image; needed for models that `PLACES` does not know, whose channels are found by
            running one.

    Raises:
        ValueError: it is needed and missing.
    """
    for kind, find in PLACES.items():
        if isinstance(model, kind):
            return find(model)
    pools: dict[str, Any] = {path: module for path, module in model.named_modules() if path and _replaceable(module)}
    if not pools:
        return []
    if input_shape is None:
        raise ValueError(f"convert: input_shape must be given to find the channels at each pool of {_name(model)}")
    channels = channels_at(model, pools, input_shape)
    return [
        Place(path, channels[path], (Window(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode),))
        for path, pool in pools.items()
        if path in channels
    ]


def _replaceable(module: Any) -> bool:
    """Max and average pools, but for those with windows that only a maximum can have."""
    return isinstance(module, nn.AvgPool2d) or (isinstance(module, nn.MaxPool2d) and module.dilation in (1, (1, 1)))


def _name(model: nn.Module) -> str:
    return type(model).__name__


def channels_at(model: nn.Module, layers: dict[str, Any], input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Channels that each of `layers` is given when the model, in evaluation mode, sees one image."""
    found: dict[str, int] = {}

    def watch(path: str, layer: nn.Module) -> Callable[[], None]:
        return layer.register_forward_hook(lambda _, inputs, y: found.__setitem__(path, inputs[0].shape[1]))

    removals = [watch(path, layer) for path, layer in layers.items()]
    try:
        run_once(model, input_shape)
    finally:
        for remove in removals:
            remove()
    return found
