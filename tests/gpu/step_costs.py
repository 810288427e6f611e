"""What a training step asks of a GPU: launches, products, copies, waits.

`python -m tests.gpu.cupy_on_cpu -m tests.gpu.step_costs` prints the table of docs/gpu.md.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minidl.device import Device, get_device
from minidl.kernels.cuda.launch import counted
from minidl.models import create_model
from minidl.nn import Module
from minidl.priors import convert
from tests.gpu.comparison import built, images_and_labels, learner, train_step
from tests.gpu.cupy_on_cpu import build
from tests.gpu.cupy_on_cpu.install import device as on_cpu

MODELS = ("resnet8", "resnet20")
PRIORS: dict[str, dict[str, Any]] = {
    "none": {},
    "Gaussian pooling": {"pool": "gaussian"},
    "maximum-entropy pooling": {"pool": "maxent"},
    "Gaussian convolution": {"conv": "gaussian"},
}


class Cost(NamedTuple):
    """What one step does.

    Attributes:
        ours: launches of our kernels.
        cupys: launches of kernels that CuPy generates.
        products: calls of cuBLAS.
        copies: from device to device, and fills, that are no kernel's.
        uploads: copies to the device, of the labels for one.
        waits: times that the host waited for the device, copies from it among them.
        bytes: of arrays that are there between steps.
    """

    ours: int
    cupys: int
    products: int
    copies: int
    uploads: int
    waits: int
    bytes: int

    @property
    def launches(self) -> int:
        """Everything that the host asks of the device."""
        return self.ours + self.cupys + self.products + self.copies


def network(model: str, prior: str) -> Callable[[np.random.Generator], Module]:
    """A network with a prior, from a generator."""

    def build(rng: np.random.Generator) -> Module:
        made = create_model(model, num_classes=10, rng=rng)
        if PRIORS[prior]:
            convert(made, rng=rng, **PRIORS[prior])
        return made

    return build


def costs(device: Device, model: str, prior: str) -> Iterator[Cost]:
    """Of each step of a training run in float32, one after the other, without end."""
    trained = built(network(model, prior), device, np.float32).train()
    optimizer = learner(trained, "sgd")
    x, labels = images_and_labels(2, 8)
    batch = device.asarray(x.astype(np.float32))
    products = ctypes.CDLL(str(build.cublas())).cublasCallsOnCpu
    while True:
        before, calls = on_cpu().counts(), products()
        with counted() as ours:
            train_step(trained, optimizer, batch, labels)
        after = on_cpu().counts()
        did = {key: after[key] - before[key] for key in after}
        yield Cost(
            ours=ours.total(),
            cupys=did["launches"] - ours.total(),
            products=products() - calls,
            copies=did["copies"] + did["fills"],
            uploads=did["uploads"],
            waits=did["waits"] + did["downloads"],
            bytes=after["used"],
        )


def later_step(device: Device, model: str, prior: str) -> Cost:
    """Of a step that is not the first one, which lays out the parameters."""
    steps = costs(device, model, prior)
    next(steps)
    return next(steps)


def row(device: Device, model: str, prior: str) -> tuple[Cost, str]:
    """What a step takes, and its row in the table."""
    c = later_step(device, model, prior)
    numbers = (c.ours, c.cupys, c.products, c.copies, c.launches, c.uploads, c.waits)
    return c, f"| {model} | {prior} | {' | '.join(map(str, numbers))} |"


def table(device: Device) -> str:
    """A row for each network and prior, in Markdown."""
    head = ["| network | prior | our kernels | CuPy's | cuBLAS | copies | in all | uploads | waits |"]
    head += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    return "\n".join(head + [row(device, model, prior)[1] for model in MODELS for prior in PRIORS])


if __name__ == "__main__":
    sys.stdout.write(table(get_device("gpu")) + "\n")
