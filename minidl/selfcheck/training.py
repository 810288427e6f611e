"""Short training runs on images drawn on the spot: the CPU's curve, the same bits twice, memory, mixed precision.

Two runs whose weights differ in their last bits part at an exponential rate, until they agree no more than two runs
of other seeds.  So a device's curve of the loss is held to how fast the CPU's own parts from itself: with L(t) its
loss after t steps, and L'(t) that of a run whose first weights were multiplied by 1 ± 2⁻²² at random,

    |L(device, t) - L(t)|  ≤  30 max over s <= t of |L'(s) - L(s)|  +  10⁻⁵ L(0)                              (1)

Mixed precision is held to the same curve in float32, with 2⁻¹⁰, to which float16 rounds, in place of 2⁻²² and 10⁻⁵.
Where (1) has become wide, what is left to ask is that the loss falls at least half as far as on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from minidl.data import MultiScale
from minidl.device import CPU, Array, Device
from minidl.selfcheck.finding import Finding, Part, Setting, failed, judged
from minidl.train.build import Training, assembled
from minidl.train.loop import Hook, train_epoch
from minidl.train.recipes import resolve

BATCH = 32
AMPLIFIED = 30.0
PERTURBED, FLOOR = 2.0**-22, 1e-5
HALF = 2.0**-10
LONG = 50  # steps in which a run learns something


class Curve(Hook):
    """Keeps the sum of the losses after every step, and waits for none."""

    def __init__(self) -> None:
        self.sums: list[Array] = []

    def on_step(self, run: Training) -> None:
        self.sums.append(run.position.loss_sum)

    @property
    def losses(self) -> np.ndarray:
        """The mean loss of every step's batch."""
        return np.diff([0.0, *map(float, self.sums)]) / BATCH


class Memory(Hook):
    """Notes how many bytes the device holds after every step."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def on_step(self, run: Training) -> None:
        self.bytes.append(run.device.memory())


def training(setting: Setting) -> Iterator[Finding]:
    """Curve, bits and memory of a run in float32, and the curve of one in mixed precision."""
    count = 6 if setting.quick else 100
    images = MultiScale("train", size=count * BATCH), MultiScale("test", size=10)

    def run(device: Device, hook: Hook, off: float = 0.0, precision: str = "float32") -> Training:
        setting.progress(f"{count} steps on the {device}, {precision}")
        config = resolve({"batch_size": BATCH, "epochs": 1, "augment": "none", "log_every": count})
        made = assembled(replace(config, device=device.name, precision=precision), device, *images)
        if off:
            rng = np.random.default_rng(1)
            for p in made.model.parameters():
                p.data = p.data * (1 + off * rng.choice([-1, 1], p.shape)).astype(p.dtype)
        train_epoch(made, [hook])
        return made

    right, moved, here, memory = Curve(), Curve(), Curve(), Memory()
    try:
        run(CPU, right)
        run(CPU, moved, PERTURBED)
        first, second = run(setting.device, here), run(setting.device, memory)
    except Exception as error:  # whatever a device may do wrong
        yield failed("short run", error)
        return
    yield curve("curve", here.losses, right.losses, moved.losses)
    yield repeated(first, second)
    if setting.device.name == "gpu":
        yield steady(memory.bytes)
    far, mixed = Curve(), Curve()
    try:
        run(CPU, far, HALF)
        run(setting.device, mixed, precision="mixed")
    except Exception as error:  # whatever a device may do wrong
        yield failed("mixed precision", error)
        return
    yield curve("mixed precision", mixed.losses, right.losses, far.losses, HALF)


def curve(name: str, losses: np.ndarray, right: np.ndarray, moved: np.ndarray, floor: float = FLOOR) -> Finding:
    """Whether a run follows the CPU's as (1) says, and learns as it does."""
    room = AMPLIFIED * np.maximum.accumulate(np.abs(moved - right)) + floor * right[0]  # (1)
    ratios = np.abs(losses - right) / room
    says = (
        f"{len(right)} steps, loss {losses[0]:.4f} → {losses[-1]:.4f} (CPU {right[0]:.4f} → {right[-1]:.4f}), "
        f"at most {ratios.max():.2g} of what rounding explains"
    )
    if len(right) >= LONG and not fall(losses) >= fall(right) / 2:
        return Finding(name, "wrong", f"does not learn as the CPU does: {says}", {"losses": losses.tolist()})
    return judged(name, float(ratios.max()), says, losses=losses.tolist(), cpu=right.tolist())


def fall(losses: np.ndarray) -> float:
    """How far the loss fell from the first five steps to the last ten."""
    return float(losses[:5].mean() - losses[-10:].mean())


def repeated(first: Training, second: Training) -> Finding:
    """Whether two runs of one seed end with the same bits."""
    a, b = first.model.state_dict(), second.model.state_dict()
    other = [name for name in a if a[name].tobytes() != b[name].tobytes()]
    if other:
        return Finding("determinism", "wrong", f"two runs of one seed end with other bits in {other[0]}")
    return Finding("determinism", "ok", f"two runs of one seed end with the same bits in all {len(a)} arrays")


def steady(memory: list[int]) -> Finding:
    """Whether steps take no more memory as they go on: the most of the last half is that of the first."""
    half = len(memory) // 2
    before, after = max(memory[:half]), max(memory[half:])
    says = f"{after / 2**20:,.1f} MiB of arrays after every step, {before / 2**20:,.1f} MiB in the first half"
    return judged("memory", after / before if before else float(after > 0) * 2, says, bytes=after)


TRAINING = Part("training", training)
