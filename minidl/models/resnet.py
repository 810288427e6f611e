"""Residual networks (He et al., "Deep residual learning for image recognition", CVPR 2016) and ResNeXt.

For ImageNet (224×224), with torchvision's parameter names, stride in the 3×3 convolution:

    conv1 7×7/2 – bn1 – relu – maxpool 3×3/2 – layer1 … layer4 – avgpool – fc

For CIFAR (32×32), the paper's section 4.2; depth 6n + 2, widths 16, 32, 64:

    conv1 3×3 – bn1 – relu – layer1 … layer3 – avgpool – fc

What a prior replaces stands in a place of its own: `conv1`, `maxpool`, every block's strided convolutions, and every
block's `pool` after the residual sum and the last ReLU, which is an Identity at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor
from minidl.models.registry import register

_he_fan_out = partial(nn.init.kaiming_normal, mode="fan_out")


def conv(in_channels: int, out_channels: int, kernel_size: int, rng: np.random.Generator, **options: Any) -> nn.Conv2d:
    """A bias-free convolution that keeps the size at stride 1, He-normal by fan-out."""
    padding = kernel_size // 2
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, padding=padding, bias=False, rng=rng, weight_init=_he_fan_out, **options
    )


class PadShortcut(nn.Module):
    """Shortcut of option A: every stride-th row and column, and zeros for the channels that are not there yet.

    Attributes:
        out_channels: channels of the output; the new ones are half before, half after the old.
        stride: of the subsampling.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, (stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        vertical, horizontal = self.stride
        x = ops.getitem(x, (..., slice(None, None, vertical), slice(None, None, horizontal)))
        before = (self.out_channels - self.in_channels) // 2
        after = self.out_channels - self.in_channels - before
        return ops.pad(x, ((0, 0), (before, after), (0, 0), (0, 0)))  # (N,C,H,W) → (N,O,H,W)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}"


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: y = pool(relu(F(x) + shortcut(x)))."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        downsample: nn.Module | None,
        rng: np.random.Generator,
        groups: int = 1,
        width_per_group: int = 64,
    ) -> None:
        if groups != 1 or width_per_group != 64:
            raise ValueError(
                f"resnet: basic blocks have groups=1 and width_per_group=64, got {groups}, {width_per_group}"
            )
        self.conv1 = conv(in_channels, width, 3, rng, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(width, width, 3, rng)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample
        self.relu2 = nn.ReLU()
        self.pool: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = nn.after_norm(self.relu1, self.bn1, self.conv1(x))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.pool(nn.after_sum(self.relu2, y, shortcut))


class Bottleneck(nn.Module):
    """1×1, 3×3 (strided, grouped) and 1×1 convolutions and a shortcut: y = pool(relu(F(x) + shortcut(x)))."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        downsample: nn.Module | None,
        rng: np.random.Generator,
        groups: int = 1,
        width_per_group: int = 64,
    ) -> None:
        inner, out_channels = width * width_per_group // 64 * groups, width * self.expansion
        self.conv1 = conv(in_channels, inner, 1, rng)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(inner, inner, 3, rng, stride=stride, groups=groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = conv(inner, out_channels, 1, rng)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = downsample
        self.relu3 = nn.ReLU()
        self.pool: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = nn.after_norm(self.relu1, self.bn1, self.conv1(x))
        y = nn.after_norm(self.relu2, self.bn2, self.conv2(y))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.pool(nn.after_sum(self.relu3, y, shortcut))


class ResNet(nn.Module):
    """A stem, stages of residual blocks, and a linear classifier on the mean of the last map.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks in each stage; every stage but the first halves the map in its first block.
        num_classes: outputs.
        rng: where the initial weights come from.
        widths: width of each stage.
        stem: "imagenet" (7×7/2, max-pooling) or "cifar" (3×3).
        shortcut: "A" (zero-padded identity, no parameters) or "B" (1×1 convolution), where the shape changes.
        in_channels: channels of the images.
        block_options: groups and width_per_group, for each block.

    Raises:
        ValueError: the shortcut is neither "A" nor "B", or a block takes no such options.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> model = ResNet(BasicBlock, (1, 1), widths=(8, 16), stem="cifar", num_classes=10, rng=rng)
        >>> model(Tensor(np.zeros((2, 3, 16, 16), np.float32))).shape
        (2, 10)
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, ...],
        *,
        num_classes: int,
        rng: np.random.Generator,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        stem: str = "imagenet",
        shortcut: str = "B",
        in_channels: int = 3,
        block_options: Mapping[str, int] | None = None,
    ) -> None:
        if shortcut not in ("A", "B"):
            raise ValueError(f"resnet: shortcut must be 'A' or 'B', got {shortcut!r}")
        self.block, self.shortcut = block, shortcut
        large = stem == "imagenet"
        self.conv1 = conv(in_channels, widths[0], 7 if large else 3, rng, stride=2 if large else 1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.maxpool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        channels = widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            stage = self._stage(channels, width, depth, 1 if i == 1 else 2, rng, block_options or {})
            setattr(self, f"layer{i}", stage)
            channels = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes, rng=rng)

    def _stage(
        self,
        in_channels: int,
        width: int,
        depth: int,
        stride: int,
        rng: np.random.Generator,
        options: Mapping[str, int],
    ) -> nn.Sequential:
        blocks, out_channels = [], width * self.block.expansion
        for i in range(depth):
            downsample = None
            if i == 0 and (stride != 1 or in_channels != out_channels):
                downsample = self._downsample(in_channels, out_channels, stride, rng)
            blocks.append(self.block(in_channels, width, stride if i == 0 else 1, downsample, rng, **options))
            in_channels = out_channels
        return nn.Sequential(*blocks)

    def _downsample(self, in_channels: int, out_channels: int, stride: int, rng: np.random.Generator) -> nn.Module:
        if self.shortcut == "A":
            return PadShortcut(in_channels, out_channels, stride)
        return nn.Sequential(conv(in_channels, out_channels, 1, rng, stride=stride), nn.BatchNorm2d(out_channels))

    def stages(self) -> list[nn.Sequential]:
        """layer1, layer2, …"""
        return [child for name, child in self.named_children() if name.startswith("layer")]  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(nn.after_norm(self.relu, self.bn1, self.conv1(x)))
        for stage in self.stages():
            x = stage(x)
        return self.fc(self.flatten(self.avgpool(x)))


def cifar_resnet(
    depth: int, *, num_classes: int, rng: np.random.Generator, shortcut: str = "A", in_channels: int = 3
) -> ResNet:
    """The paper's ResNet for 32×32 images, depth 6n + 2: 16, 32 and 64 channels, n basic blocks each."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"resnet: depth must be 6n + 2 with n >= 1, got {depth}")
    n = (depth - 2) // 6
    return ResNet(
        BasicBlock,
        (n, n, n),
        num_classes=num_classes,
        rng=rng,
        widths=(16, 32, 64),
        stem="cifar",
        shortcut=shortcut,
        in_channels=in_channels,
    )


def imagenet_resnet(
    block: type[BasicBlock] | type[Bottleneck],
    depths: tuple[int, ...],
    block_options: Mapping[str, int] | None = None,
    *,
    num_classes: int,
    rng: np.random.Generator,
    shortcut: str = "B",
    in_channels: int = 3,
) -> ResNet:
    """A ResNet for 224×224 images, as torchvision builds it."""
    return ResNet(
        block,
        depths,
        num_classes=num_classes,
        rng=rng,
        shortcut=shortcut,
        in_channels=in_channels,
        block_options=block_options,
    )


for _depth in (8, 14, 20, 32, 44, 56):
    register(f"resnet{_depth}", image_size=32)(partial(cifar_resnet, _depth))

for _name, _depths in {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}.items():
    register(_name, image_size=224)(partial(imagenet_resnet, BasicBlock, _depths))

for _name, _depths in {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}.items():
    register(_name, image_size=224)(partial(imagenet_resnet, Bottleneck, _depths))

_32x4d = {"groups": 32, "width_per_group": 4}
register("resnext50_32x4d", image_size=224)(partial(imagenet_resnet, Bottleneck, (3, 4, 6, 3), _32x4d))
