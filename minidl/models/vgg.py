"""VGG-16 (Simonyan and Zisserman, "Very deep convolutional networks", ICLR 2015), torchvision's parameter names.

features: (3×3 convolution – [batch norm] – relu) ×2, ×2, ×3, ×3, ×3, each group ending in a 2×2 max pool
avgpool to 7×7 – classifier: linear – relu – dropout, twice – linear
"""

from __future__ import annotations

from functools import partial

import numpy as np

from minidl import nn
from minidl.autograd import Tensor
from minidl.models.registry import register
from minidl.nn import init

VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")


class VGG(nn.Module):
    """Convolutions by a list of widths and pools, and three linear layers.

    Args:
        widths: output channels of each convolution, and "pool" between them.
        batch_norm: whether it follows every convolution.
        num_classes: outputs.
        rng: where initial weights and dropout masks come from.
        in_channels: channels of the images.
        dropout: probability in the classifier.
        hidden: width of the classifier.

    Example:
        >>> model = VGG((8, "pool"), False, num_classes=10, hidden=16, rng=np.random.default_rng(0))
        >>> model(Tensor(np.zeros((2, 3, 32, 32), np.float32))).shape
        (2, 10)
    """

    def __init__(
        self,
        widths: tuple[int | str, ...],
        batch_norm: bool,
        *,
        num_classes: int,
        rng: np.random.Generator,
        in_channels: int = 3,
        dropout: float = 0.5,
        hidden: int = 4096,
    ) -> None:
        layers: list[nn.Module] = []
        channels = in_channels
        for width in widths:
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2))
                continue
            he = partial(init.kaiming_normal, mode="fan_out")
            layers.append(nn.Conv2d(channels, width, 3, padding=1, rng=rng, weight_init=he, bias_init=init.zeros))
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers.append(nn.ReLU())
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.flatten = nn.Flatten()
        linear = partial(nn.Linear, rng=rng, weight_init=partial(init.normal, std=0.01), bias_init=init.zeros)
        self.classifier = nn.Sequential(
            linear(channels * 7 * 7, hidden),
            nn.ReLU(),
            nn.Dropout(dropout, rng=rng),
            linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout, rng=rng),
            linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


def vgg16(
    batch_norm: bool,
    *,
    num_classes: int,
    rng: np.random.Generator,
    in_channels: int = 3,
    dropout: float = 0.5,
    hidden: int = 4096,
) -> VGG:
    """VGG-16, with batch norm or without."""
    return VGG(
        VGG16, batch_norm, num_classes=num_classes, rng=rng, in_channels=in_channels, dropout=dropout, hidden=hidden
    )


register("vgg16", image_size=224)(partial(vgg16, False))
register("vgg16_bn", image_size=224)(partial(vgg16, True))
