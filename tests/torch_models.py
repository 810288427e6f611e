"""The architectures that torchvision names, written in PyTorch from the papers: what our models are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def conv(i: int, o: int, k: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)


class Pad(nn.Module):
    def __init__(self, new: int) -> None:
        super().__init__()
        self.new = new

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))


class Residual(nn.Module):
    """Basic (two 3×3) or bottleneck (1×1, 3×3, 1×1) block."""

    def __init__(self, i: int, width: int, stride: int, bottleneck: bool, option: str, groups: int, base: int) -> None:
        super().__init__()
        o = width * (4 if bottleneck else 1)
        inner = width * base // 64 * groups if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = conv(i, inner, 1), nn.BatchNorm2d(inner)
            self.conv2, self.bn2 = conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner)
            self.conv3, self.bn3 = conv(inner, o, 1), nn.BatchNorm2d(o)
        else:
            self.conv1, self.bn1 = conv(i, o, 3, stride), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = conv(o, o, 3), nn.BatchNorm2d(o)
        if stride != 1 or i != o:
            projection = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))
            self.downsample = projection if option == "B" else Pad(o - i)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "conv3"):
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(
        self, depths, bottleneck=False, classes=1000, widths=(64, 128, 256, 512), option="B", groups=1, base=64
    ):
        super().__init__()
        self.small = len(depths) == 3
        self.conv1 = conv(3, widths[0], 3) if self.small else conv(3, widths[0], 7, 2)
        self.bn1 = nn.BatchNorm2d(widths[0])
        i, self.stages = widths[0], len(depths)
        for s, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for b in range(depth):
                blocks.append(Residual(i, width, 2 if s and not b else 1, bottleneck, option, groups, base))
                i = width * (4 if bottleneck else 1)
            setattr(self, f"layer{s + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(i, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = x if self.small else F.max_pool2d(x, 3, 2, 1)
        for s in range(self.stages):
            x = getattr(self, f"layer{s + 1}")(x)
        return self.fc(x.mean((2, 3)))


def cifar_resnet(depth: int, option: str = "A") -> ResNet:
    return ResNet(((depth - 2) // 6,) * 3, classes=10, widths=(16, 32, 64), option=option)


class VGG(nn.Module):
    def __init__(self, norm: bool, classes: int, hidden: int) -> None:
        super().__init__()
        layers, i = [], 3
        for width, n in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
            for _ in range(n):
                layers += [nn.Conv2d(i, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU()]
                i = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 49, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class DenseLayer(nn.Module):
    def __init__(self, i: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(i), conv(i, 4 * growth, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), conv(4 * growth, growth, 3)

    def forward(self, x):
        return torch.cat([x, self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))], 1)


class DenseNet(nn.Module):
    def __init__(self, depths, classes: int, growth: int = 32) -> None:
        super().__init__()
        f, i = nn.Sequential(), 64
        f.add_module("conv0", conv(3, i, 7, 2))
        f.add_module("norm0", nn.BatchNorm2d(i))
        f.add_module("relu0", nn.ReLU())
        f.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for b, depth in enumerate(depths, 1):
            block = nn.Sequential()
            for n in range(depth):
                block.add_module(f"denselayer{n + 1}", DenseLayer(i + n * growth, growth))
            f.add_module(f"denseblock{b}", block)
            i += depth * growth
            if b < len(depths):
                t = nn.Sequential()
                t.add_module("norm", nn.BatchNorm2d(i))
                t.add_module("relu", nn.ReLU())
                t.add_module("conv", conv(i, i // 2, 1))
                t.add_module("pool", nn.AvgPool2d(2, 2))
                f.add_module(f"transition{b}", t)
                i //= 2
        f.add_module("norm5", nn.BatchNorm2d(i))
        self.features, self.classifier = f, nn.Linear(i, classes)

    def forward(self, x):
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))


def unit(i: int, o: int, k: int, act, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(i, o, k, stride, groups), nn.BatchNorm2d(o), act())


class Inverted(nn.Module):
    def __init__(self, i: int, o: int, stride: int, t: int) -> None:
        super().__init__()
        h, self.add = i * t, stride == 1 and i == o
        first = [unit(i, h, 1, nn.ReLU6)] if t > 1 else []
        self.conv = nn.Sequential(*first, unit(h, h, 3, nn.ReLU6, stride, h), conv(h, o, 1), nn.BatchNorm2d(o))

    def forward(self, x):
        return x + self.conv(x) if self.add else self.conv(x)


class MobileNet(nn.Module):
    def __init__(self, version: int, classes: int) -> None:
        super().__init__()
        act = nn.ReLU if version == 1 else nn.ReLU6
        layers, i = [unit(3, 32, 3, act, 2)], 32
        if version == 1:
            for o, s in zip(
                [64, 128, 128, 256, 256] + [512] * 6 + [1024] * 2, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1], strict=True
            ):
                layers.append(nn.Sequential(unit(i, i, 3, act, s, i), unit(i, o, 1, act)))
                i = o
        else:
            for t, o, n, s in zip(
                [1, 6, 6, 6, 6, 6, 6],
                [16, 24, 32, 64, 96, 160, 320],
                [1, 2, 3, 4, 3, 3, 1],
                [1, 2, 2, 2, 1, 2, 1],
                strict=True,
            ):
                for b in range(n):
                    layers.append(Inverted(i, o, 1 if b else s, t))
                    i = o
            layers.append(unit(i, 1280, 1, act))
            i = 1280
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(i, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))
