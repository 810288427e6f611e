"""The same network on the CPU and on a device: what comes out, what is learned, and how far apart they may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.device import CPU, Device
from minidl.nn import Module
from minidl.optim import Optimizer, create_optimizer, parameter_groups

EXACT = 1e-12  # of the largest element, in float64
ORDER = 4  # the same roundings in another order may add up to so many times the error

Results = dict[str, np.ndarray]
Build = Callable[[np.random.Generator], Module]


def there(array: Any, device: Device) -> np.ndarray:
    """An array that must be on `device`, in NumPy's memory."""
    assert isinstance(array, device.xp.ndarray), f"on {device}: {type(array)}"
    return array if device.xp is np else array.get()


def built(build: Build, device: Device, dtype: Any) -> Module:
    """A module with the same values wherever it is."""
    return build(np.random.default_rng(5)).astype(dtype).to(device)


def forward_and_back(build: Build, x: np.ndarray, device: Device, *, dtype: Any = np.float64, train: bool) -> Results:
    """Output, gradients of the input and of every parameter, and buffers, of one layer for one input."""
    module = built(build, device, dtype).train(train)
    given = Tensor(device.asarray(x.astype(dtype)), requires_grad=True)
    y = module(given)
    gy = np.random.default_rng(6).normal(size=y.shape).astype(dtype)
    y.backward(device.asarray(gy))
    found = {"output": y.data, "gradient of the input": given.grad}
    found |= {f"gradient of {n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    found |= {name: buffer.data for name, buffer in module.named_buffers()}
    return {name: there(array, device) for name, array in found.items()}


def images_and_labels(n: int, size: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """A batch that tells its classes apart by brightness."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(n, 3, size, size)) + labels[:, None, None, None] / classes, labels


def learner(model: Module, name: str, **options: Any) -> Optimizer:
    """An optimizer of all of a model's parameters, with everything switched on."""
    options = {"sgd": {"momentum": 0.9, "nesterov": True}, "adamw": {}}[name] | options
    return create_optimizer(name, parameter_groups(model, 1e-2), lr=0.05, **options)


def train_step(model: Module, optimizer: Optimizer, x: Any, labels: np.ndarray) -> Tensor:
    """One update as training makes it; the loss before it, not waited for."""
    loss = ops.cross_entropy(model(Tensor(x)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def after_steps(
    build: Build, device: Device, *, opt: str = "sgd", dtype: Any = np.float64, size: int = 16, steps: int = 1
) -> Results:
    """Loss, gradients, parameters and buffers after steps of training."""
    model = built(build, device, dtype)
    optimizer = learner(model, opt)
    x, labels = images_and_labels(4, size)
    batch = device.asarray(x.astype(dtype))
    for _ in range(steps):
        loss = train_step(model, optimizer, batch, labels)
    found = {"loss": loss.data} | {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    found |= {name: tensor.data for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    return {name: there(array, device) for name, array in found.items() if array is not None}


def scales(truth: Results) -> dict[str, float]:
    """The size that errors of each array are relative to: its largest element.

    A gradient that is 0 but for rounding (of a bias that a norm behind it takes away) is a sum of terms that cancel:
    its errors are relative to the largest gradient there is.
    """
    found = {name: float(np.abs(right).max(initial=0)) for name, right in truth.items()}
    largest = max((size for name, size in found.items() if name.startswith("gradient")), default=0.0)
    return {n: largest if n.startswith("gradient") and s < 1e-10 * largest else s for n, s in found.items()}


def assert_agree(actual: Results, expected: Results, relative: float = EXACT) -> None:
    """The same arrays by name, each within `relative` of its scale."""
    assert actual.keys() == expected.keys()
    for name, scale in scales(expected).items():
        assert actual[name].dtype == expected[name].dtype, name
        assert actual[name].shape == expected[name].shape, name
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=relative * scale, err_msg=name)


def largest_error(actual: Results, truth: Results) -> float:
    """The largest departure of any array from the truth, relative to its scale."""
    sizes = scales(truth)
    return max(float(np.abs(actual[name] - truth[name]).max(initial=0) / size) for name, size in sizes.items() if size)


def assert_errs_alike(single: Results, on_cpu: Results, truth: Results) -> None:
    """Results in float32 are as near to those in float64 as the CPU's, but for the order of roundings."""
    own = max(largest_error(on_cpu, truth), float(np.finfo(np.float32).eps))
    assert largest_error(single, truth) <= ORDER * own


def assert_layer_agrees(build: Build, x: np.ndarray, device: Device, *, train: bool) -> None:
    """A layer in float64 to rounding; in float32 all stays float32, and errs as it does on the CPU."""
    truth = forward_and_back(build, x, CPU, train=train)
    assert_agree(forward_and_back(build, x, device, train=train), truth)
    single = forward_and_back(build, x, device, dtype=np.float32, train=train)
    assert {a.dtype for a in single.values()} == {np.dtype(np.float32)}
    on_cpu = forward_and_back(build, x, CPU, dtype=np.float32, train=train)
    assert_errs_alike(single, on_cpu, truth)
