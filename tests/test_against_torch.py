"""Whole models and training runs against PyTorch's, in float64: same weights, same batches, same numbers."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_models as theirs  # noqa: E402

from minidl import Tensor, nn, ops  # noqa: E402
from minidl.models import create_model  # noqa: E402
from minidl.optim import SGD  # noqa: E402

CLASSES = 7
PAIRS = {
    "resnet20": lambda: theirs.cifar_resnet(20),
    "resnet8-B": lambda: theirs.cifar_resnet(8, "B"),
    "resnet18": lambda: theirs.ResNet((2, 2, 2, 2), classes=CLASSES),
    "resnet34": lambda: theirs.ResNet((3, 4, 6, 3), classes=CLASSES),
    "resnet50": lambda: theirs.ResNet((3, 4, 6, 3), True, CLASSES),
    "resnext50_32x4d": lambda: theirs.ResNet((3, 4, 6, 3), True, CLASSES, groups=32, base=4),
    "vgg16": lambda: theirs.VGG(False, CLASSES, 16),
    "vgg16_bn": lambda: theirs.VGG(True, CLASSES, 16),
    "densenet121": lambda: theirs.DenseNet((6, 12, 24, 16), CLASSES),
    "mobilenet_v1": lambda: theirs.MobileNet(1, CLASSES),
    "mobilenet_v2": lambda: theirs.MobileNet(2, CLASSES),
}
OPTIONS = {"resnet8-B": {"shortcut": "B"}, "vgg16": {"hidden": 16}, "vgg16_bn": {"hidden": 16}}


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's threads wait for each other by spinning, which is slow on a machine that does something else too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytorchs(name: str):
    """PyTorch's model in float64, every parameter and running statistic drawn so that all of them matter."""
    torch.manual_seed(0)
    model = PAIRS[name]().double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in [
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ]:
                torch.nn.init.uniform_(tensor, low, high)
    return model


def ours(name: str, state) -> nn.Module:
    base = name.partition("-")[0]
    classes = 10 if base in ("resnet8", "resnet20") else CLASSES
    with nn.init.skip():
        model = create_model(base, num_classes=classes, rng=np.random.default_rng(0), **OPTIONS.get(name, {}))
    model.astype(np.float64).load_state_dict({key: value.detach().numpy() for key, value in state.items()})
    return model


@pytest.mark.parametrize("name", PAIRS)
def test_a_pytorch_state_dict_loads_strictly_and_gives_its_logits(name: str) -> None:
    reference = pytorchs(name).eval()
    model = ours(name, reference.state_dict()).eval()
    x = np.random.default_rng(1).normal(size=(2, 3, 40, 64))
    with torch.no_grad():
        expected = reference(torch.tensor(x)).numpy()
    scale = np.abs(expected).max()
    assert scale > 1e-3  # the logits say something
    np.testing.assert_allclose(model(Tensor(x)).data, expected, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("name", ["resnet8-B", "resnet18", "mobilenet_v2"])
def test_gradients_of_every_parameter_equal_pytorchs(name: str) -> None:
    """In training mode: through the batch statistics, the shortcuts, max pooling and ReLU6.

    The floor of the scale is for a bias that a later BatchNorm cancels: its gradient is 0, a sum of terms near 1 that
    cancel to their rounding errors, 1e-15.
    """
    reference = pytorchs(name).train()
    model = ours(name, reference.state_dict())
    for module in (m for _, m in model.named_modules() if isinstance(m, nn.Dropout)):
        module.p = 0.0
    for module in reference.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x, labels = np.random.default_rng(1).normal(size=(3, 3, 64, 96)), np.array([3, 0, 6])
    torch.nn.functional.cross_entropy(reference(torch.tensor(x)), torch.tensor(labels)).backward()
    ops.cross_entropy(model(Tensor(x)), labels).backward()
    expected = dict(reference.named_parameters())
    for key, parameter in model.named_parameters():
        gradient = expected[key].grad.numpy()
        scale = max(np.abs(gradient).max(), 1e-5)
        np.testing.assert_allclose(parameter.grad, gradient, rtol=0, atol=1e-9 * scale, err_msg=key)


def test_the_first_20_steps_of_resnet20_follow_pytorchs() -> None:
    """Loss of each step, and the state after all of them: SGD with momentum, and weight decay on everything.

    At this rate both stay within 1e-12.  At 0.1, without a warm-up, the steps themselves amplify rounding: PyTorch's
    losses then differ by up to 1e-7 from its own when its first weights change in their last bit.
    """
    torch.manual_seed(0)
    reference = theirs.cifar_resnet(20).double().train()
    model = ours("resnet20", reference.state_dict()).train()
    sgd = SGD(model.named_parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    their_sgd = torch.optim.SGD(reference.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    rng, losses, expected = np.random.default_rng(2), [], []
    for _ in range(20):
        x, labels = rng.normal(size=(8, 3, 32, 32)), rng.integers(10, size=8)
        loss = ops.cross_entropy(model(Tensor(x)), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())

        their_loss = torch.nn.functional.cross_entropy(reference(torch.tensor(x)), torch.tensor(labels))
        their_sgd.zero_grad()
        their_loss.backward()
        their_sgd.step()
        expected.append(their_loss.item())
    assert losses[-1] != losses[0]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-9)
    state = reference.state_dict()
    for key, array in model.state_dict().items():
        np.testing.assert_allclose(array, state[key].numpy(), rtol=1e-6, atol=1e-8, err_msg=key)
