"""Models, losses and optimizers on a GPU: the same steps as on the CPU, and no wait in any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl.autograd import Tensor, no_grad
from minidl.device import CPU, Device, asnumpy
from minidl.models import create_model
from minidl.nn import Module
from minidl.priors import convert
from tests.gpu.comparison import (
    EXACT,
    after_steps,
    assert_agree,
    assert_errs_alike,
    built,
    images_and_labels,
    learner,
    there,
    train_step,
)
from tests.gpu.strict import counts, no_waits

PRIORS: dict[str, dict[str, Any]] = {
    "none": {},
    "gaussian pool": {"pool": "gaussian"},
    "half-Gaussian pool": {"pool": "gaussian", "pool_options": {"prior": "half_gaussian", "noise": "position"}},
    "maximum-entropy pool": {"pool": "maxent"},
    "Gaussian convolution": {"conv": "gaussian"},
    "discrete Gaussian convolution": {
        "conv": "gaussian",
        "conv_options": {"kernel": "discrete", "per": "channel", "border": "crop"},
    },
    "basis": {"conv": "basis", "conv_options": {"order": 2}},
    "statistical rotation": {"classifier": "statrot"},
    "all": {"pool": "gaussian", "conv": "gaussian", "classifier": "statrot"},
}


def network(name: str, prior: str = "none") -> Callable[[np.random.Generator], Module]:
    """A model with a prior, from a generator."""

    options = {"hidden": 16} if name.startswith("vgg") else {}  # 120 million of VGG's weights are of one layer

    def build(rng: np.random.Generator) -> Module:
        model = create_model(name, num_classes=10, rng=rng, **options)
        if PRIORS[prior]:
            convert(model, rng=rng, **PRIORS[prior])
        return model

    return build


@pytest.mark.parametrize("prior", PRIORS)
def test_a_step_of_resnet20_agrees_with_the_cpu(prior: str, device: Device) -> None:
    build = network("resnet20", prior)
    truth = after_steps(build, CPU)
    assert_agree(after_steps(build, device), truth)
    single, on_cpu = (after_steps(build, place, dtype=np.float32) for place in (device, CPU))
    assert_errs_alike(single, on_cpu, truth)


@pytest.mark.parametrize("opt", ["sgd", "adamw"])
def test_optimizers_agree_with_the_cpu_over_steps(opt: str, device: Device) -> None:
    build = network("resnet8", "Gaussian convolution")  # no gradient is 0 but for rounding: AdamW would divide by it
    expected = after_steps(build, CPU, opt=opt, steps=3)
    assert_agree(after_steps(build, device, opt=opt, steps=3), expected, relative=1e3 * EXACT)


@pytest.mark.parametrize(
    "name", ["resnet8", "resnet18", "resnext50_32x4d", "densenet121", "mobilenet_v1", "mobilenet_v2", "vgg16_bn"]
)
def test_models_agree_with_the_cpu(name: str, device: Device) -> None:
    x = images_and_labels(1, 32)[0].astype(np.float32)
    with no_grad():
        right = built(network(name), CPU, np.float32).eval()(Tensor(x)).data
        found = built(network(name), device, np.float32).eval()(Tensor(device.asarray(x))).data
    np.testing.assert_allclose(there(found, device), right, rtol=0, atol=1e-4 * np.abs(right).max())


@pytest.mark.parametrize("opt", ["sgd", "adamw"])
@pytest.mark.parametrize("prior", PRIORS)
def test_no_step_waits_for_the_device(prior: str, opt: str, strict: Device) -> None:
    model = built(network("resnet20", prior), strict, np.float32)
    optimizer = learner(model, opt)
    x, labels = images_and_labels(4, 16)
    batch = strict.asarray(x.astype(np.float32))
    train_step(model, optimizer, batch, labels)  # the first step may allocate and lay out
    with no_waits():
        loss = train_step(model, optimizer, batch, labels)
        assert not counts.waits
    assert np.isfinite(loss.item())
    assert counts.waits == {"item": 1}


@pytest.mark.parametrize("name", ["densenet121", "mobilenet_v2", "vgg16_bn"])
def test_no_step_of_other_models_waits(name: str, strict: Device) -> None:
    model = built(network(name), strict, np.float32).train()
    x, labels = images_and_labels(2, 32)
    optimizer, batch = learner(model, "sgd"), strict.asarray(x.astype(np.float32))
    with no_waits():
        train_step(model, optimizer, batch, labels)


def test_the_state_of_an_optimizer_moves_between_devices(device: Device) -> None:
    build = network("resnet8")
    x, labels = images_and_labels(4, 16)

    def trained(*places: Device) -> dict[str, np.ndarray]:
        state: Any = None
        for place in places:
            model = built(build, place, np.float64)
            optimizer = learner(model, "adamw")
            if state is not None:
                model.load_state_dict(state[0])
                optimizer.load_state_dict(*state[1])
            train_step(model, optimizer, place.asarray(x), labels)
            state = model.state_dict(), optimizer.state_dict()
            assert all(isinstance(a, np.ndarray) for a in (*state[0].values(), *state[1][0].values()))
        return state[0]

    assert_agree(trained(CPU, device, CPU), trained(CPU, CPU, CPU), relative=1e3 * EXACT)


def test_the_same_bits_from_run_to_run(device: Device) -> None:
    build = network("resnet8", "all")
    first, second = (after_steps(build, device, dtype=np.float32, steps=2) for _ in range(2))
    assert all(asnumpy(first[name]).tobytes() == asnumpy(second[name]).tobytes() for name in first)
