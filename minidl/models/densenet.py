"""DenseNet-BC (Huang et al., "Densely connected convolutional networks", CVPR 2017), torchvision's parameter names.

    conv0 7×7/2 – norm0 – relu0 – pool0 – denseblock1 – transition1 – … – denseblock4 – norm5 – relu – mean – classifier

Layer l of a block sees the concatenation of the block's input and the outputs of its layers before l.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor
from minidl.models.registry import register
from minidl.nn import init


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, rng: np.random.Generator, stride: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=False,
        rng=rng,
        weight_init=init.kaiming_normal,
    )


class DenseLayer(nn.Module):
    """`growth` new maps: norm – relu – 1×1 – norm – relu – 3×3."""

    def __init__(self, in_channels: int, growth: int, bottleneck: int, rng: np.random.Generator) -> None:
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = _conv(in_channels, bottleneck * growth, 1, rng)
        self.norm2 = nn.BatchNorm2d(bottleneck * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = _conv(bottleneck * growth, growth, 3, rng)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(nn.after_norm(self.relu1, self.norm1, x))
        return self.conv2(nn.after_norm(self.relu2, self.norm2, x))


class DenseBlock(nn.Module):
    """Layers called denselayer1, denselayer2, …, each on all maps before it."""

    def __init__(self, layers: int, in_channels: int, growth: int, bottleneck: int, rng: np.random.Generator) -> None:
        for i in range(layers):
            setattr(self, f"denselayer{i + 1}", DenseLayer(in_channels + i * growth, growth, bottleneck, rng))

    def forward(self, x: Tensor) -> Tensor:
        for _, layer in self.named_children():
            x = ops.concat([x, layer(x)], axis=1)  # (N, C, H, W), (N, growth, H, W) → (N, C + growth, H, W)
        return x


class Transition(nn.Sequential):
    """norm – relu – 1×1 convolution to half the channels – 2×2 mean: `pool` is what a prior replaces."""

    def __init__(self, in_channels: int, out_channels: int, rng: np.random.Generator) -> None:
        super().__init__(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(),
            conv=_conv(in_channels, out_channels, 1, rng),
            pool=nn.AvgPool2d(2),
        )


class DenseNet(nn.Module):
    """Dense blocks with transitions between them.

    Args:
        layers: layers of each block.
        num_classes: outputs.
        rng: where the initial weights come from.
        growth: maps that a layer adds.
        width: channels of the stem.
        bottleneck: width of a layer's 1×1 convolution, in units of `growth`.
        in_channels: channels of the images.

    Example:
        >>> model = DenseNet((1, 1), growth=4, width=8, num_classes=10, rng=np.random.default_rng(0))
        >>> model(Tensor(np.zeros((2, 3, 32, 32), np.float32))).shape
        (2, 10)
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        *,
        num_classes: int,
        rng: np.random.Generator,
        growth: int = 32,
        width: int = 64,
        bottleneck: int = 4,
        in_channels: int = 3,
    ) -> None:
        parts: dict[str, nn.Module] = {
            "conv0": _conv(in_channels, width, 7, rng, stride=2),
            "norm0": nn.BatchNorm2d(width),
            "relu0": nn.ReLU(),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        channels = width
        for i, depth in enumerate(layers, start=1):
            parts[f"denseblock{i}"] = DenseBlock(depth, channels, growth, bottleneck, rng)
            channels += depth * growth
            if i < len(layers):
                parts[f"transition{i}"] = Transition(channels, channels // 2, rng)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(**parts)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, num_classes, rng=rng, bias_init=init.zeros)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.avgpool(self.relu(self.features(x)))))


def densenet(
    layers: tuple[int, ...], *, num_classes: int, rng: np.random.Generator, growth: int = 32, in_channels: int = 3
) -> DenseNet:
    """A DenseNet-BC for 224×224 images."""
    return DenseNet(layers, num_classes=num_classes, rng=rng, growth=growth, in_channels=in_channels)


register("densenet121", image_size=224)(partial(densenet, (6, 12, 24, 16)))
register("densenet169", image_size=224)(partial(densenet, (6, 12, 32, 32)))
