"""How long a training step takes, beside PyTorch where it is installed and sees the same device.

A step is what `minidl.bench` times: images copied to the device, forward, backward, update, the loss read.  The host
is waited for once more between steps than in training; "in a row" is without that.  PyTorch computes in true float32
(no TF32), so that both compute the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from statistics import median
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.bench.cases import Case, network
from minidl.bench.inputs import build_model, inputs
from minidl.bench.peers.base import LR, MOMENTUM, WEIGHT_DECAY
from minidl.bench.peers.torch import Torch
from minidl.device import Device
from minidl.kernels.cpu.threads import num_threads
from minidl.optim import SGD
from minidl.precision import LossScale, mixed_precision
from minidl.selfcheck.finding import Finding, Part, Setting, failed

SECONDS = 3.0  # for each case and framework


def cases() -> list[Case]:
    """Networks small enough for every card, and one that keeps a large one busy."""
    return [
        network("resnet20", "resnet20", batch=128, image=32, classes=10),
        network("resnet20-gaussian-pool", "resnet20", batch=128, image=32, classes=10, prior="gaussian-pool"),
        network("resnet20-gaussian-conv", "resnet20", batch=128, image=32, classes=10, prior="gaussian-conv"),
        network("resnet18-64px", "resnet18", batch=64, image=64, classes=100),
    ]


def speed(setting: Setting) -> Iterator[Finding]:
    """Times of every case."""
    if setting.quick:
        yield Finding("times", "skipped", "not in a quick check")
        return
    precisions = (False, True) if setting.device.name == "gpu" else (False,)  # on a CPU mixed precision is slow
    for case, mixed in ((case, mixed) for case in cases() for mixed in precisions):
        name = f"{case.name}{', mixed precision' if mixed else ''}"
        setting.progress(f"time of {case.text}{', mixed precision' if mixed else ''}")
        arrays = inputs(case)
        try:
            step, row = ours(case, arrays, setting.device, mixed)
            waited, in_a_row = milliseconds(step), milliseconds(row, setting.device.synchronize)
        except Exception as error:  # whatever a device may do wrong
            yield failed(name, error)
            continue
        figures = {"ms": waited, "ms_in_a_row": in_a_row, "images_per_second": 1000 * case.params["batch"] / in_a_row}
        says = f"{waited:.1f} ms a step, {in_a_row:.1f} ms in a row ({figures['images_per_second']:,.0f} images/s)"
        if mixed:
            yield Finding(name, "ok", says, figures)
            continue
        setting.progress(f"PyTorch's time of {case.text}")
        theirs, version = pytorch(case, arrays, setting.device)
        if theirs is not None:
            figures |= {"pytorch_ms": theirs, "pytorch": version}
            says += f"; PyTorch {theirs:.1f} ms"
        yield Finding(name, "ok", says if theirs is not None else f"{says}; {version}", figures)


def ours(
    case: Case, arrays: dict[str, np.ndarray], device: Device, mixed: bool = False
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A training step that reads its loss, and one that does not."""
    model = build_model(case.params, np.random.default_rng(0)).to(device).train()
    optimizer = SGD(list(model.named_parameters()), LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    scale = LossScale(device) if mixed else None

    def row() -> Tensor:
        with mixed_precision() if mixed else nullcontext():
            logits = ops.astype(model(Tensor(device.asarray(arrays["x"]))), np.float32)
        loss = ops.cross_entropy(logits, arrays["labels"])
        optimizer.zero_grad()
        loss.backward(None if scale is None else scale.cotangent)
        optimizer.step(scale)
        return loss

    return lambda: row().item(), row


def milliseconds(step: Callable[[], Any], wait: Callable[[], None] = lambda: None) -> float:
    """The median time of a step, over runs of ten after which `wait` is called."""
    for _ in range(3):
        step()
    wait()
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or not times:
        began = time.perf_counter()
        for _ in range(10):
            step()
        wait()
        times.append((time.perf_counter() - began) * 100)  # of ten steps, in seconds → of one, in ms
    return median(times)


class TorchOnCard(Torch):
    """PyTorch on the same card."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.torch.backends.cuda.matmul.allow_tf32 = self.torch.backends.cudnn.allow_tf32 = False
        self.torch.backends.cudnn.benchmark = True

    def _placed(self, array: np.ndarray) -> Any:
        return super()._placed(array).cuda()

    def values(self, x: Any) -> np.ndarray:
        return x.detach().cpu().numpy()


def pytorch(case: Case, arrays: dict[str, np.ndarray], device: Device) -> tuple[float | None, str]:
    """PyTorch's time of a step, and its version; or None, and why there is none."""
    try:
        peer = (TorchOnCard if device.name == "gpu" else Torch)(num_threads())
        if device.name == "gpu" and not peer.torch.cuda.is_available():
            return None, "PyTorch is installed without CUDA"
        return milliseconds(peer.task(case, arrays, "channels_last").run), peer.version
    except ImportError:
        return None, "PyTorch is not installed"
    except Exception as error:  # of PyTorch's, not of ours
        return None, f"PyTorch failed: {failed('', error).says}"


SPEED = Part("speed", speed)
