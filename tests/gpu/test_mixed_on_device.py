"""Mixed precision on a GPU: the steps of the CPU, the same bits twice, and copies of batches on the real CuPy."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.device import CPU, Device
from minidl.models import create_model
from minidl.precision import LossScale, mixed_precision
from tests.gpu.comparison import Results, built, images_and_labels, learner, there


def step(device: Device, mixed: bool) -> Results:
    """Loss and gradients of a training step of ResNet-8, and its parameters after it."""
    model = built(lambda rng: create_model("resnet8", num_classes=10, rng=rng), device, np.float32).train()
    optimizer, scale = learner(model, "sgd"), LossScale(device, first=1024.0)
    x, labels = images_and_labels(8, 16)
    with mixed_precision() if mixed else nullcontext():
        logits = model(Tensor(device.asarray(x.astype(np.float32))))
    assert logits.dtype == (np.float16 if mixed else np.float32)
    loss = ops.cross_entropy(ops.astype(logits, np.float32), labels)
    loss.backward(scale.cotangent)
    optimizer.step(scale)
    found = {"loss": loss.data} | {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    found |= {name: p.data for name, p in model.named_parameters()}
    return {name: there(array, device) for name, array in found.items()}


def test_a_mixed_step_errs_as_the_cpus_does_and_repeats(device: Device) -> None:
    """Both round to float16 in the same places; sums of another order round another way now and then."""
    found, again = step(device, mixed=True), step(device, mixed=True)
    assert {array.dtype.name for array in found.values()} == {"float32"}
    assert all(found[name].tobytes() == again[name].tobytes() for name in found)
    on_device, on_cpu, single = map(gradients, (found, step(CPU, mixed=True), step(CPU, mixed=False)))
    assert 0 < np.linalg.norm(on_device - single) <= 2 * np.linalg.norm(on_cpu - single)


def gradients(result: Results) -> np.ndarray:
    """All of them, end to end."""
    return np.concatenate([array.ravel() for name, array in result.items() if name.startswith("gradient")])


def test_an_overflow_leaves_the_step_out(device: Device) -> None:
    weights = []
    model = built(lambda rng: create_model("resnet8", num_classes=10, rng=rng), device, np.float32)
    optimizer, scale = learner(model, "adamw"), LossScale(device, first=1024.0)
    for value in (1.0, np.inf, 1.0):
        for p in model.parameters():
            p.grad = device.xp.full(p.shape, 1024.0, np.float32)
        next(iter(model.parameters())).grad[0, 0, 0, 0] = 1024 * value
        optimizer.step(scale)
        weights.append({name: there(p.data, device).copy() for name, p in model.named_parameters()})
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    assert any((weights[1][name] != weights[2][name]).any() for name in weights[0])
    assert scale.state() == {"scale": 512.0, "good_steps": 1}
    assert set(optimizer.state_dict()[1]["steps"].values()) == {2}


def test_batches_are_copied_whole_and_in_order(device: Device) -> None:
    rng = np.random.default_rng(0)
    made = [(rng.normal(size=(n, 3, 4, 4)).astype(np.float32), np.arange(n)) for n in (4, 4, 4, 2)]
    for (images, labels), (x, same) in zip(made, device.ahead(iter(made)), strict=True):
        assert same is labels
        np.testing.assert_array_equal(there(x, device), images)
