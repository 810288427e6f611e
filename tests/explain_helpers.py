"""Networks that the tests of minidl.explain share."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor, models, nn, ops


def random_resnet(rng: np.random.Generator) -> nn.Module:
    """ResNet-8 in float64 whose norms have statistics of their own, in training mode."""
    model = models.create_model("resnet8", num_classes=5, rng=rng).astype(np.float64)
    for name, buffer in model.named_buffers():
        buffer.data = rng.uniform(0.5, 2.0, buffer.shape) if name.endswith("var") else rng.normal(0, 0.3, buffer.shape)
    return model


def conv(c: int, o: int, k: int | tuple[int, int], rng: np.random.Generator, **options: Any) -> nn.Conv2d:
    """A bias-free convolution, He-normal."""
    return nn.Conv2d(c, o, k, bias=False, rng=rng, weight_init=nn.init.kaiming_normal, **options)


class Odd(nn.Module):
    """A layer beside the way to the logits, one that is never called, and a function with a window."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.conv, self.beside, self.unused = conv(3, 4, 3, rng), conv(3, 4, 1, rng), conv(3, 4, 1, rng)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        self.beside(x)
        return ops.mean(self.bn(ops.avg_pool2d(self.conv(x), 2)), axis=(2, 3))
