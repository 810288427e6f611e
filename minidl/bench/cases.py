"""What is timed: a case is one op, or one step of a network, with its sizes.

An op is counted by its arithmetic: multiply-adds twice, as additions and multiplications, and by the bytes it cannot
do without, every input read and every output written once.  The counts of ops without matrix products are those of
their formulas, to a few operations a value; for them the bytes decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

__all__ = ["FORWARD", "NETWORKS", "Case", "headline", "kernels", "network", "op_case", "plain", "priors", "tiny"]

Shape = tuple[int, ...]

FORWARD = ":forward"  # how the name of a case ends that leaves out the backward
NETWORKS = ("train", "infer")
PRIORS: dict[str, dict[str, str]] = {  # the prior models, and in `average` and `max` what their layout alone costs
    "average": {"pool": "average"},
    "max": {"pool": "max"},
    "gaussian-pool": {"pool": "gaussian"},
    "maxent-pool": {"pool": "maxent"},
    "gaussian-conv": {"conv": "gaussian"},
    "basis-conv": {"conv": "basis"},
    "statrot": {"classifier": "statrot"},
    "logit-adjustment": {"logits": "adjusted"},
}


@dataclass(frozen=True)
class Case:
    """One thing to time; everything in it can be written as JSON.

    Attributes:
        name: by which it is chosen, and under which it is reported.
        op: a function of the peers, such as "conv2d"; or "train" or "infer" for a network's step.
        text: sizes in words.
        shapes: of the differentiable inputs of an op, in the order of its arguments.
        output: shape of its result.
        params: keyword arguments of the op; or what network it is.
        backward: whether the gradients of all inputs are computed too.
        flops: additions and multiplications.
        bytes: that must be moved in float32; 0 where nobody knows a minimum (networks).
    """

    name: str
    op: str
    text: str
    shapes: dict[str, Shape] = field(default_factory=dict)
    output: Shape = ()
    params: dict[str, Any] = field(default_factory=dict)
    backward: bool = True
    flops: float = 0.0
    bytes: float = 0.0

    @property
    def is_network(self) -> bool:
        return self.op in NETWORKS

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Case:
        shapes = {name: tuple(shape) for name, shape in values["shapes"].items()}
        return cls(**{**values, "shapes": shapes, "output": tuple(values["output"])})


def op_case(
    name: str,
    op: str,
    text: str,
    shapes: dict[str, Shape],
    output: Shape,
    params: dict[str, Any] | None = None,
    *,
    flops: tuple[float, float],
    backward: bool = True,
) -> Case:
    """A case of one op.

    Args:
        name, op, text, shapes, output, params, backward: as in `Case`; `:forward` is put behind the name.
        flops: of the forward, and of the backward.
    """
    inputs, result = sum(prod(s) for s in shapes.values()), prod(output)
    values = inputs + result + (result + 2 * inputs if backward else 0)  # x → y; gy, x → gx
    return Case(
        name=name if backward else name + FORWARD,
        op=op,
        text=text,
        shapes=shapes,
        output=output,
        params=params or {},
        backward=backward,
        flops=float(sum(flops) if backward else flops[0]),
        bytes=4.0 * values,
    )


def conv_case(name: str, x: Shape, o: int, k: int, stride: int = 1, groups: int = 1, *, backward: bool = True) -> Case:
    """A convolution that keeps the size, or halves it with stride 2."""
    n, c, h, w = x
    output = (n, o, (h + 2 * (k // 2) - k) // stride + 1, (w + 2 * (k // 2) - k) // stride + 1)
    forward = 2.0 * prod(output) * c // groups * k * k
    extra = (f", stride {stride}" if stride > 1 else "") + (f", {groups} groups" if groups > 1 else "")
    return op_case(
        name,
        "conv2d",
        f"{n}×{c}×{h}×{w} → {o}, {k}×{k}{extra}",
        {"x": x, "weight": (o, c // groups, k, k)},
        output,
        {"stride": stride, "padding": k // 2, "groups": groups},
        flops=(forward, 2 * forward),
        backward=backward,
    )


# name, shape of x, output channels, kernel, stride, groups
CONVOLUTIONS: tuple[tuple[str, Shape, int, int, int, int], ...] = (
    ("conv3x3-3c-32px", (128, 3, 32, 32), 16, 3, 1, 1),  # ResNet-20
    ("conv3x3-16c-32px", (128, 16, 32, 32), 16, 3, 1, 1),
    ("conv3x3-32c-16px", (128, 32, 16, 16), 32, 3, 1, 1),
    ("conv3x3-64c-8px", (128, 64, 8, 8), 64, 3, 1, 1),
    ("conv3x3-16c-32px-s2", (128, 16, 32, 32), 32, 3, 2, 1),
    ("conv3x3-32c-16px-s2", (128, 32, 16, 16), 64, 3, 2, 1),
    ("conv7x7-3c-64px-s2", (64, 3, 64, 64), 64, 7, 2, 1),  # ResNet-18, images of 64 pixels
    ("conv3x3-64c-16px", (64, 64, 16, 16), 64, 3, 1, 1),
    ("conv3x3-128c-8px", (64, 128, 8, 8), 128, 3, 1, 1),
    ("conv3x3-256c-4px", (64, 256, 4, 4), 256, 3, 1, 1),
    ("conv3x3-512c-2px", (64, 512, 2, 2), 512, 3, 1, 1),
    ("conv3x3-64c-16px-s2", (64, 64, 16, 16), 128, 3, 2, 1),
    ("conv1x1-64c-16px-s2", (64, 64, 16, 16), 128, 1, 2, 1),
    ("conv1x1-32c-32px", (64, 32, 32, 32), 64, 1, 1, 1),  # MobileNet, images of 64 pixels
    ("conv1x1-128c-16px", (64, 128, 16, 16), 128, 1, 1, 1),
    ("conv1x1-512c-4px", (64, 512, 4, 4), 512, 1, 1, 1),
    ("depthwise3x3-32c-32px", (64, 32, 32, 32), 32, 3, 1, 32),
    ("depthwise3x3-64c-32px-s2", (64, 64, 32, 32), 64, 3, 2, 64),
    ("depthwise3x3-128c-16px", (64, 128, 16, 16), 128, 3, 1, 128),
    ("depthwise3x3-512c-4px", (64, 512, 4, 4), 512, 3, 1, 512),
    ("grouped3x3-128c-16px", (64, 128, 16, 16), 128, 3, 1, 32),  # ResNeXt
)


def pool_case(op: str, name: str, x: Shape, k: int, stride: int, padding: int = 0, *, backward: bool = True) -> Case:
    """A pooling; Gaussian and maximum-entropy pooling have a second input, one number a sample and channel.

    For "gaussian_pool" others may take the variance as mean(x²) − μ²; for "gaussian_pool_exact" they must subtract μ
    first, as ours does for both.
    """
    n, c, h, w = x
    output = (n, c, (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1)
    law = {"gaussian_pool": "eta", "gaussian_pool_exact": "eta", "maxent_pool": "lam"}.get(op)
    a_tap = {"max_pool": (1, 1), "avg_pool": (1, 1), "maxent_pool": (8, 8)}.get(op, (4, 4))
    return op_case(
        name,
        op,
        f"{n}×{c}×{h}×{w}, {k}×{k}, stride {stride}",
        {"x": x, **({law: (n, c, 1, 1)} if law else {})},
        output,
        {"kernel_size": k, "stride": stride, "padding": padding},
        flops=(a_tap[0] * k * k * prod(output), a_tap[1] * k * k * prod(output)),
        backward=backward,
    )


def filter_case(name: str, x: Shape, radius: int, sigmas: int = 1, *, backward: bool = True) -> Case:
    """A Gaussian filter with a gradient for its width."""
    taps = 2 * 2 * (2 * radius + 1) * prod(x)  # both axes
    what = "one σ" if sigmas == 1 else "a σ a channel"
    text = f"{'×'.join(map(str, x))}, radius {radius}, {what}"
    shapes = {"x": x, "sigma": (sigmas,)}
    return op_case(
        name, "gaussian_filter", text, shapes, x, {"radius": radius}, flops=(taps, 2 * taps), backward=backward
    )


def _others(backward: bool) -> Iterator[Case]:
    """Kernels that are no convolutions."""
    for op, name, x, a_value in (
        ("relu", "relu-16c-32px", (128, 16, 32, 32), (1, 1)),
        ("batch_norm", "batchnorm-16c-32px", (128, 16, 32, 32), (6, 8)),
        ("batch_norm", "batchnorm-64c-8px", (128, 64, 8, 8), (6, 8)),
        ("batch_norm_relu", "batchnorm-relu-16c-32px", (128, 16, 32, 32), (7, 9)),
    ):
        shapes: dict[str, Shape] = {"x": x}
        if op != "relu":
            shapes |= {"weight": (x[1],), "bias": (x[1],)}
        flops = (a_value[0] * prod(x), a_value[1] * prod(x))
        yield op_case(name, op, "×".join(map(str, x)), shapes, x, flops=flops, backward=backward)
    yield pool_case("max_pool", "maxpool3x3-64c-32px", (64, 64, 32, 32), 3, 2, 1, backward=backward)
    yield pool_case("avg_pool", "avgpool2x2-32c-32px", (128, 32, 32, 32), 2, 2, backward=backward)
    for op, ending in (("gaussian_pool", ""), ("gaussian_pool_exact", "-exact")):
        yield pool_case(op, f"gaussian-pool2x2{ending}", (128, 32, 32, 32), 2, 2, backward=backward)
        yield pool_case(op, f"gaussian-pool3x3{ending}", (64, 64, 32, 32), 3, 2, 1, backward=backward)
    yield pool_case("maxent_pool", "maxent-pool2x2", (128, 32, 32, 32), 2, 2, backward=backward)
    yield filter_case("gaussian-filter", (128, 16, 32, 32), 6, backward=backward)
    yield filter_case("gaussian-filter-channels", (64, 64, 16, 16), 6, sigmas=64, backward=backward)
    for k in (10, 1000):
        flops = (5 * 128 * k, 2 * 128 * k)
        yield op_case(
            f"cross-entropy-{k}", "cross_entropy", f"128×{k}", {"z": (128, k)}, (), flops=flops, backward=backward
        )


def kernels() -> list[Case]:
    """Every op at the sizes of the networks, with its backward and without, and the update of SGD."""
    found = []
    for backward in (True, False):
        found += [conv_case(*sizes, backward=backward) for sizes in CONVOLUTIONS]
        found += _others(backward)
    return [*found, sgd_case("sgd-resnet18", "resnet18", 11_689_512)]


def sgd_case(name: str, model: str, count: int) -> Case:
    """An update of all parameters of a model by SGD with momentum and weight decay."""
    text = f"{model}, {count / 1e6:.1f} M parameters"
    return Case(name, "sgd", text, params={"model": model}, flops=6.0 * count, bytes=5 * 4.0 * count)


def network(
    name: str, model: str, *, batch: int, image: int, classes: int, train: bool = True, prior: str | None = None
) -> Case:
    """A step of a network: training (forward, loss, backward, SGD with momentum) or inference.

    Args:
        name: of the case.
        model: "resnet8" … "resnet56", "resnet18" or "mobilenet_v1".
        batch, image, classes: sizes; image is the side in pixels.
        train: or inference.
        prior: one of `PRIORS`, for CIFAR's ResNets.
    """
    params = {"model": model, "batch": batch, "image": image, "classes": classes, **(PRIORS[prior] if prior else {})}
    text = (
        f"{model}{f' with {prior}' if prior else ''}, {batch}×3×{image}×{image}, {'training' if train else 'inference'}"
    )
    return Case(name, "train" if train else "infer", text, params=params, backward=train)


def plain() -> list[Case]:
    """Whole steps of networks without priors."""
    return [
        network("resnet20-infer", "resnet20", batch=128, image=32, classes=10, train=False),
        network("resnet18-64px-train", "resnet18", batch=64, image=64, classes=10),
        network("mobilenet-64px-train", "mobilenet_v1", batch=64, image=64, classes=10),
        network("resnet20-train", "resnet20", batch=128, image=32, classes=10),
    ]


def priors(model: str = "resnet20", batch: int = 128) -> list[Case]:
    """Training steps of a CIFAR ResNet with each prior."""
    return [network(f"{model}-{name}-train", model, batch=batch, image=32, classes=10, prior=name) for name in PRIORS]


def headline() -> list[Case]:
    """The claims of the project: what comes last may use the time that the others left."""
    known = {case.name: case for case in [*kernels(), *plain()]}
    pools = [f"gaussian-pool{size}{ending}" for size in ("2x2", "3x3") for ending in ("", "-exact")]
    names = ("gaussian-filter", "gaussian-filter-channels", *pools)
    return [known[n] for n in (*names, "resnet20-infer", "resnet18-64px-train", "resnet20-train")]


def tiny(case: Case) -> Case:
    """`case` with few images: to see that everything works."""
    if case.op == "sgd":
        return sgd_case(case.name, "resnet8", 75_290)
    if case.is_network:
        model = {"resnet20": "resnet8"}.get(case.params["model"], case.params["model"])
        params = {**case.params, "model": model, "batch": 4}
        return Case(**{**case.as_dict(), "params": params, "text": f"{model}, 4 images, {case.op}"})
    fewer = {name: (2, *s[1:]) if name in ("x", "eta", "lam", "z") else s for name, s in case.shapes.items()}
    share, output = 2 / case.shapes[next(iter(case.shapes))][0], (2, *case.output[1:]) if case.output else ()
    smaller = {"shapes": fewer, "output": output, "flops": case.flops * share, "bytes": case.bytes * share}
    return Case(**{**case.as_dict(), **smaller, "text": f"{case.text}, of which 2 images"})
