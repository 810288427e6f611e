"""One training step of a network with each prior, against the CPU: the logits, the loss, every gradient.

The truth is the step in float64 by the readable kernels on the CPU.  How far rounding carries a gradient through a
whole network, past ReLUs that it may flip, no simple formula says; steps with weights and images a little off show it.
For every array a (logits, loss, each gradient), with ‖·‖ its Euclidean norm, ⟨·⟩ the root mean square over all arrays
and u the unit roundoff of a dtype,

    e(a; step)  =  ‖a(step) - a(truth)‖ / (‖a(truth)‖ + ⟨‖a(truth)‖⟩/100)                                     (1)
    E(a)        =  max of e(a; weights and images times 1 ± 2⁻¹⁶ = 1 ± 256 u₃₂) over three draws of signs      (2)
    e(a; device, float32)  ≤  4 max(E(a), median of E)                                                        (3)
    e(a; device, float64)  ≤  4 max(E(a), median of E) · u₆₄/u₃₂                                              (4)

The mean in (1) is for gradients that vanish by cancellation, as those of a bias in front of a norm do; 4 for flips
that three draws did not meet, and 256 for sums of many roundings, and kernels that transform before they multiply.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.bench.cases import PRIORS
from minidl.device import CPU, Device, asnumpy
from minidl.kernels import use_kernels
from minidl.priors import LogitAdjustment
from minidl.selfcheck.finding import Finding, Part, Setting, failed, judged
from minidl.train.build import network
from minidl.train.config import Config

OFF, ROOM = 2.0**-16, 4.0
DRAWS = (1, 2, 3)
UNITS = 2.0 ** (24 - 53)  # (4)
CLASSES = 10
QUICK = ("gaussian-pool", "gaussian-conv", "statrot")  # priors in a quick check


def steps(setting: Setting) -> Iterator[Finding]:
    """A finding for each prior and precision."""
    model, batch = ("resnet8", 8) if setting.quick else ("resnet20", 16)
    chosen = QUICK if setting.quick else tuple(PRIORS)
    priors: dict[str, dict[str, str]] = {"no prior": {}} | {name: PRIORS[name] for name in chosen}
    for name, spec in priors.items():
        setting.progress(f"a step of {model} with {name}")
        try:
            with use_kernels("array"):
                exact = step(spec, model, batch, CPU, np.float64)
                moved = [distances(step(spec, model, batch, CPU, np.float64, signs), exact) for signs in DRAWS]
            off = {key: max(m[key] for m in moved) for key in exact}  # (2)
            room = {key: ROOM * max(off[key], float(np.median(list(off.values())))) for key in off}  # (3)
            for dtype, units in ((np.float64, UNITS), (np.float32, 1.0)):
                errors = distances(step(spec, model, batch, setting.device, dtype), exact)
                ratios = {key: errors[key] / (room[key] * units) for key in errors}
                worst = max(ratios, key=lambda key: ratios[key] if ratios[key] == ratios[key] else np.inf)
                says = f"{ratios[worst]:.2g} of its bound, {worst}: differs by {errors[worst]:.1e} of its norm"
                yield judged(f"{model} with {name}, {np.dtype(dtype).name}", ratios[worst], says)
        except Exception as error:  # whatever a device may do wrong
            yield failed(f"{model} with {name}", error)


def step(
    spec: dict[str, str], model: str, batch: int, device: Device, dtype: type, signs: int | None = None
) -> dict[str, np.ndarray]:
    """Logits, loss and gradients of a step from fixed weights, images and noise; those of (2) with a draw of signs."""
    fields: dict[str, Any] = {key: spec[key] for key in ("pool", "conv", "classifier") if key in spec}
    net = network(Config(model=model, **fields), CLASSES).astype(dtype)
    rng = np.random.default_rng(7)
    images: np.ndarray = rng.normal(size=(batch, 3, 32, 32)).astype(dtype)
    labels = rng.integers(0, CLASSES, batch)
    if signs is not None:
        rng = np.random.default_rng(signs)
        images = images * (1 + OFF * rng.choice([-1, 1], images.shape))
        for p in net.parameters():
            p.data = p.data * (1 + OFF * rng.choice([-1, 1], p.shape))
    logits = net.to(device).train()(Tensor(device.asarray(images)))
    if spec.get("logits"):
        logits = LogitAdjustment(1 + np.arange(CLASSES)).astype(dtype).to(device)(logits)
    loss = ops.cross_entropy(logits, labels)
    loss.backward()
    gradients = {f"gradient of {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    return {name: asnumpy(a) for name, a in {"logits": logits.data, "loss": loss.data, **gradients}.items()}


def distances(found: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> dict[str, float]:
    """(1) for every array; infinite where a gradient is missing, or has another shape."""
    small = float(np.sqrt(np.mean([_norm(a) ** 2 for a in exact.values()]))) / 100
    return {
        key: _norm(found[key] - a) / (_norm(a) + small) if key in found and found[key].shape == a.shape else np.inf
        for key, a in exact.items()
    }


def _norm(a: np.ndarray) -> float:
    return float(np.sqrt((a * a).sum()))


STEPS = Part("steps", steps)
