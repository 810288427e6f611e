"""The networks in terms of a framework's ops, for the frameworks that we are compared with.

One text for all of them: an `Ops` is what a framework provides, written in its own functions; a `Net` holds the
parameters by the names of `minidl.models` and knows the layers, the priors among them.  Nothing here needs more than
Python, so that a framework can run under an interpreter of its own.

The formulas of the priors are those of `minidl.ops.stochastic_pool`, `minidl.ops.gaussian`, `minidl.ops.rotation` and
`minidl.priors`, in the forms that suit a framework with automatic differentiation.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Net", "forward", "wants"]

RADIUS = 6  # of a Gaussian convolution: three times its largest σ, 2

MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


class Net:
    """Layers of one network in one framework.

    Args:
        ops: the framework's functions.
        parameters, buffers: its arrays by name; `ops.batch_norm` may replace entries of `buffers`.
        spec: the parameters of the case: model, and pool, conv, classifier, logits where there is a prior.
        training: training or evaluation.
        constants: "shift", ln π of logit adjustment, and "basis", the filters (m, 3, 3), where the case has them.
    """

    def __init__(
        self,
        ops: Any,
        parameters: dict[str, Any],
        buffers: dict[str, Any],
        spec: dict[str, Any],
        training: bool,
        constants: dict[str, Any],
    ) -> None:
        self.ops, self.p, self.b, self.spec, self.training = ops, parameters, buffers, spec, training
        self.constants = constants

    def conv(self, x: Any, path: str, kernel: int = 3, stride: int = 1, groups: int = 1) -> Any:
        """Bias-free convolution that keeps the size at stride 1, with the prior of the network for its kernel."""
        pad, prior = kernel // 2, self.spec.get("conv") if kernel > 1 else None
        if prior == "basis":
            weight = self.ops.composed(self.p[f"{path}.coefficients"], self.constants["basis"])
        else:
            weight = self.p[f"{path}.weight"]
        if prior == "gaussian":
            taps = self.ops.gaussian_taps(self.ops.exp(self.p[f"{path}.log_sigma"]), RADIUS)
            x, pad = self.ops.separable(x, taps, pad), 0
        return self.ops.conv2d(x, weight, stride=stride, padding=pad, groups=groups)

    def norm(self, x: Any, path: str) -> Any:
        weight, bias = self.p[f"{path}.weight"], self.p[f"{path}.bias"]
        return self.ops.batch_norm(x, weight, bias, self.b, path, self.training)

    def linear(self, x: Any, path: str) -> Any:
        return self.ops.linear(x, self.p[f"{path}.weight"], self.p[f"{path}.bias"])

    def pool(self, x: Any, path: str) -> Any:
        """2×2 windows of the network's kind of pool."""
        kind = self.spec["pool"]
        if kind == "average":
            return self.ops.avg_pool(x, 2, 2, 0)
        if kind == "max":
            return self.ops.max_pool(x, 2, 2, 0)
        if kind == "maxent":
            (lam,) = self.guidance(x, path, ["lam"])
            return self.ops.maxent_pool(x, self.ops.sigmoid(lam)[:, :, None, None], 2, 2, 0)
        if self.training:
            mu, sigma = self.guidance(x, path, ["mu", "sigma"])
            eta = self.ops.softplus(mu + self.ops.sigmoid(sigma) * self.ops.noise_like(mu))
        else:
            (mu,) = self.guidance(x, path, ["mu"])
            eta = self.ops.softplus(mu)
        return self.ops.gaussian_pool(x, eta[:, :, None, None], 2, 2, 0)

    def guidance(self, x: Any, path: str, heads: list[str]) -> list[Any]:
        """Numbers of the map as a whole, (N, C) each."""
        path = f"{path}.guidance"
        h = self.ops.relu(self.norm(self.linear(self.ops.mean(x), f"{path}.reduce"), f"{path}.norm"))
        return [self.norm(self.linear(h, f"{path}.{head}.linear"), f"{path}.{head}.norm") for head in heads]

    def classifier(self, features: Any, path: str) -> Any:
        """Logits (N, K) of features (N, D)."""
        if self.spec.get("classifier") == "statrot" and self.training:
            logits = self.stat_rot(features, self.p[f"{path}.weight"]) + self.p[f"{path}.bias"]
        else:
            logits = self.linear(features, path)
        return logits + self.constants["shift"] if self.training and "shift" in self.constants else logits

    def stat_rot(self, x: Any, weight: Any, angle: float = math.pi / 4) -> Any:
        z = self.ops.linear(x, weight, None)
        rest = (x * x).sum(1)[:, None] * (weight * weight).sum(1)[None, :] - z * z
        scale = math.sin(angle) / math.sqrt(min(weight.shape) - 1)
        return z * math.cos(angle) + self.ops.noise_like(z) * self.ops.root(rest) * scale

    def basic_block(self, x: Any, path: str, channels: tuple[int, int], stride: int, option: str) -> Any:
        """Two 3×3 convolutions and a shortcut; a pool behind both in place of their stride."""
        pooled = stride > 1 and bool(self.spec.get("pool"))
        step = 1 if pooled else stride
        y = self.ops.relu(self.norm(self.conv(x, f"{path}.conv1", stride=step), f"{path}.bn1"))
        y = self.norm(self.conv(y, f"{path}.conv2"), f"{path}.bn2")
        if stride > 1 or channels[0] != channels[1]:
            if option == "A":
                x = self.ops.pad_shortcut(x, step, channels[1] - channels[0])
            else:
                x = self.norm(self.conv(x, f"{path}.downsample.0", 1, step), f"{path}.downsample.1")
        y = self.ops.relu(y + x)
        return self.pool(y, f"{path}.pool") if pooled else y


def resnet(net: Net, x: Any, depths: tuple[int, ...], widths: tuple[int, ...], stem: int, option: str) -> Any:
    """CIFAR's and ImageNet's ResNets of basic blocks."""
    x = net.ops.relu(net.norm(net.conv(x, "conv1", stem, 1 if stem == 3 else 2), "bn1"))
    x = x if stem == 3 else net.ops.max_pool(x, 3, 2, 1)
    channels = widths[0]
    for s, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        for i in range(depth):
            stride = 2 if s > 1 and i == 0 else 1
            x = net.basic_block(x, f"layer{s}.{i}", (channels, width), stride, option)
            channels = width
    return net.classifier(net.ops.mean(x), "fc")


def mobilenet(net: Net, x: Any) -> Any:
    """MobileNet v1."""

    def unit(x: Any, path: str, kernel: int, stride: int = 1, groups: int = 1) -> Any:
        return net.ops.relu(net.norm(net.conv(x, f"{path}.0", kernel, stride, groups), f"{path}.1"))

    x, channels = unit(x, "features.0", 3, 2), 32
    for i, (width, stride) in enumerate(MOBILENET, 1):
        x = unit(x, f"features.{i}.0", 3, stride, channels)
        x = unit(x, f"features.{i}.1", 1)
        channels = width
    return net.classifier(net.ops.mean(x), "classifier.1")


def forward(net: Net, x: Any) -> Any:
    """Logits (N, K) of images (N, 3, H, W)."""
    model = net.spec["model"]
    if model == "mobilenet_v1":
        return mobilenet(net, x)
    if model == "resnet18":
        return resnet(net, x, (2, 2, 2, 2), (64, 128, 256, 512), 7, "B")
    n = (int(model[len("resnet") :]) - 2) // 6
    return resnet(net, x, (n, n, n), (16, 32, 64), 3, "A")


def wants(spec: dict[str, Any]) -> set[str]:
    """Names of the ops, beyond those of every network, that a case's network calls."""
    found = {"gaussian": {"gaussian_pool"}, "maxent": {"maxent_pool"}}.get(spec.get("pool", ""), set())
    found = found | {"gaussian": {"separable"}, "basis": {"composed"}}.get(spec.get("conv", ""), set())
    return found | ({"root"} if spec.get("classifier") == "statrot" else set())
