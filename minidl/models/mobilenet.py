"""MobileNet v1 (Howard et al., 2017) and v2 (Sandler et al., CVPR 2018); v2 with torchvision's parameter names.

v1: a 3×3/2 stem, then pairs of a depthwise 3×3 and a pointwise 1×1 convolution, batch norm and relu after each.
v2: inverted residuals, 1×1 up – depthwise 3×3 – 1×1 down, the last without activation, a shortcut where shapes agree.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from minidl import nn
from minidl.autograd import Tensor
from minidl.models.registry import register
from minidl.nn import init

# (output channels, stride) of the pairs
V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# (expansion, output channels, blocks, stride of the first)
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class ConvNormActivation(nn.Sequential):
    """A bias-free convolution ("0"), batch norm ("1") and an activation ("2")."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        activation: type[nn.Module],
        rng: np.random.Generator,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=kernel_size // 2,
                groups=groups,
                bias=False,
                rng=rng,
                weight_init=partial(init.kaiming_normal, mode="fan_out"),
            ),
            nn.BatchNorm2d(out_channels),
            activation(),
        )


class DepthwiseSeparable(nn.Sequential):
    """Depthwise 3×3 ("0") and pointwise 1×1 ("1"), each with batch norm and relu."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, rng: np.random.Generator) -> None:
        super().__init__(
            ConvNormActivation(in_channels, in_channels, 3, nn.ReLU, rng, stride=stride, groups=in_channels),
            ConvNormActivation(in_channels, out_channels, 1, nn.ReLU, rng),
        )


class InvertedResidual(nn.Module):
    """1×1 to `expansion` times the channels, depthwise 3×3, 1×1 back; the input is added where shapes agree."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, rng: np.random.Generator
    ) -> None:
        inner = in_channels * expansion
        expand = [ConvNormActivation(in_channels, inner, 1, nn.ReLU6, rng)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            ConvNormActivation(inner, inner, 3, nn.ReLU6, rng, stride=stride, groups=inner),
            nn.Conv2d(
                inner,
                out_channels,
                1,
                bias=False,
                rng=rng,
                weight_init=partial(init.kaiming_normal, mode="fan_out"),
            ),
            nn.BatchNorm2d(out_channels),
        )
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNet(nn.Module):
    """Features, global average, dropout and a linear classifier: both versions.

    Args:
        features: the convolutions.
        channels: of the last map.
        dropout: probability before the classifier.
        num_classes: outputs.
        rng: where the classifier's weights and dropout masks come from.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> model = MobileNet(nn.Sequential(nn.Conv2d(3, 8, 3, rng=rng)), 8, 0.0, 10, rng)
        >>> model(Tensor(np.zeros((2, 3, 16, 16), np.float32))).shape
        (2, 10)
    """

    def __init__(
        self, features: nn.Sequential, channels: int, dropout: float, num_classes: int, rng: np.random.Generator
    ) -> None:
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, rng=rng),
            nn.Linear(channels, num_classes, rng=rng, weight_init=partial(init.normal, std=0.01), bias_init=init.zeros),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


@register("mobilenet_v1", image_size=224)
def mobilenet_v1(
    *, num_classes: int, rng: np.random.Generator, in_channels: int = 3, dropout: float = 0.001
) -> MobileNet:
    """MobileNet v1, width 1; the paper's classifier has next to no dropout."""
    layers: list[nn.Module] = [ConvNormActivation(in_channels, 32, 3, nn.ReLU, rng, stride=2)]
    channels = 32
    for width, stride in V1:
        layers.append(DepthwiseSeparable(channels, width, stride, rng))
        channels = width
    return MobileNet(nn.Sequential(*layers), channels, dropout, num_classes, rng)


@register("mobilenet_v2", image_size=224)
def mobilenet_v2(
    *, num_classes: int, rng: np.random.Generator, in_channels: int = 3, dropout: float = 0.2
) -> MobileNet:
    """MobileNet v2, width 1."""
    layers: list[nn.Module] = [ConvNormActivation(in_channels, 32, 3, nn.ReLU6, rng, stride=2)]
    channels = 32
    for expansion, width, blocks, first_stride in V2:
        for i in range(blocks):
            layers.append(InvertedResidual(channels, width, first_stride if i == 0 else 1, expansion, rng))
            channels = width
    layers.append(ConvNormActivation(channels, 1280, 1, nn.ReLU6, rng))
    return MobileNet(nn.Sequential(*layers), 1280, dropout, num_classes, rng)
