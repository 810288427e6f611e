"""Grad-CAM: against closed forms and finite differences; and that models are left as they were."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from minidl import Tensor, models, nn
from minidl.explain import bilinear, default_layer, grad_cam, predict, receptive_field
from minidl.explain.gradcam import heat
from minidl.priors import convert
from tests.explain_helpers import Odd, conv, random_resnet


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def resnet(rng: np.random.Generator) -> nn.Module:
    return random_resnet(rng)


# Enlargement


@pytest.mark.parametrize(("size", "to"), [((2, 3), (8, 9)), ((1, 5), (4, 7)), ((4, 4), (4, 4)), ((7, 7), (224, 100))])
def test_bilinear_is_a_mean_of_the_four_pixels_around(rng, size, to) -> None:
    x = rng.normal(size=(2, *size))
    y = bilinear(x, to)
    for i, j in rng.integers(0, to, (20, 2)):
        a, b = (min(max((k + 0.5) * n / m - 0.5, 0), n - 1) for k, n, m in zip((i, j), size, to, strict=True))
        expected = 0
        for p in range(size[0]):
            for q in range(size[1]):
                expected = expected + max(0, 1 - abs(a - p)) * max(0, 1 - abs(b - q)) * x[:, p, q]
        np.testing.assert_allclose(y[:, i, j], expected, rtol=0, atol=1e-14)


def test_bilinear_is_that_of_pytorch(rng) -> None:
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 3, 5, 4))
    theirs = torch.nn.functional.interpolate(torch.tensor(x), (32, 21), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(bilinear(x, (32, 21)), theirs.numpy(), rtol=0, atol=1e-14)


def test_bilinear_refuses_what_is_empty() -> None:
    with pytest.raises(ValueError, match=r"bilinear: .* got \(3, 0\)"):
        bilinear(np.ones((3, 0)), (4, 4))
    with pytest.raises(ValueError, match="bilinear"):
        bilinear(np.ones(3), (4, 4))


# Grad-CAM


def test_under_a_global_mean_and_a_linear_classifier_it_is_the_class_activation_map(resnet, rng) -> None:
    x, target = rng.normal(size=(3, 3, 32, 32)), np.array([4, 0, 2])
    found: list[np.ndarray] = []
    remove = resnet.layer3.register_forward_hook(lambda module, inputs, output: found.append(output.data))
    resnet.eval()(Tensor(x))
    remove()
    a, w = found[0], resnet.fc.weight.data[target]  # (N, K, h, w), (N, K)
    cam = np.maximum(np.einsum("nk,nkij->nij", w, a), 0) / (8 * 8)
    got = grad_cam(resnet, x, target=target)
    assert got.layer == "layer3"
    assert cam.max() > 0
    np.testing.assert_allclose(got.maps, cam, rtol=0, atol=1e-12 * cam.max())


@pytest.mark.parametrize("layer", ["conv1", "layer1.0.relu1", "layer2"])
def test_weights_are_mean_derivatives_of_the_logit(resnet, rng, layer) -> None:
    """α_k by central differences: the logit when A_k moves as a whole is moved by h w α_k."""
    x, c, step = rng.normal(size=(1, 3, 16, 16)), 3, 1e-6
    found: list[np.ndarray] = []

    def shifted(k: int, by: float) -> float:
        def hook(module, inputs, output):
            found.append(output.data)
            change = np.zeros_like(output.data)
            change[:, k] = by
            return output + Tensor(change)

        remove = resnet.get_submodule(layer).register_forward_hook(hook)
        logit = resnet.eval()(Tensor(x)).data[0, c]
        remove()
        return logit

    channels = range(16 if layer != "layer2" else 32)
    slopes = np.array([(shifted(k, step) - shifted(k, -step)) / (2 * step) for k in channels])
    a = found[0][0]
    expected = np.maximum(np.tensordot(slopes / a[0].size, a, axes=1), 0)
    np.testing.assert_allclose(grad_cam(resnet, x, target=c, layer=layer).maps[0], expected, rtol=0, atol=1e-7)


def test_images_of_a_batch_do_not_see_each_other(resnet, rng) -> None:
    x = rng.normal(size=(4, 3, 32, 32))
    together = grad_cam(resnet, x)
    for i in range(4):
        alone = grad_cam(resnet, x[i : i + 1], target=int(together.target[i]))
        np.testing.assert_allclose(alone.heat[0], together.heat[i], rtol=0, atol=1e-12)
    assert together.target.tolist() == together.predicted.tolist()
    np.testing.assert_allclose(together.probabilities.sum(axis=1), 1, atol=1e-15)


def test_each_class_has_its_own_map_between_0_and_1(resnet, rng) -> None:
    x = np.repeat(rng.normal(size=(1, 3, 32, 32)), 5, axis=0)
    cam = grad_cam(resnet, x, target=np.arange(5), layer="layer3")
    assert cam.heat.shape == (5, 32, 32)
    assert cam.heat.min() >= 0
    assert set(cam.heat.max(axis=(1, 2))) <= {0.0, 1.0}
    assert len({m.tobytes() for m in cam.heat}) >= 3


def test_where_nothing_speaks_for_a_class_the_map_is_black(resnet) -> None:
    resnet.fc.weight.data = -abs(resnet.fc.weight.data)
    cam = grad_cam(resnet, np.ones((1, 3, 32, 32)))
    assert not cam.heat.any()
    assert not heat(np.zeros((2, 3, 3)), (6, 6)).any()


def state_of(model: nn.Module) -> Iterator[object]:
    for path, module in model.named_modules():
        yield path, module.training, len(module._forward_hooks)
    for name, p in model.named_parameters():
        yield name, p.requires_grad, p.grad is None or p.grad.tobytes(), p.data.tobytes()
    for name, b in model.named_buffers():
        yield name, b.data.tobytes()


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(resnet, rng, fails) -> None:
    resnet.layer1.eval()
    resnet.conv1.weight.requires_grad = False
    x = rng.normal(size=(2, 3, 32, 32))
    resnet(Tensor(x)).sum().backward()
    before = list(state_of(resnet))
    if fails:
        for look in (grad_cam, receptive_field):
            with pytest.raises(ValueError, match="layer 'fc' must give maps"):
                look(resnet, x, layer="fc", **({} if look is grad_cam else {"rng": rng}))
        with pytest.raises(ValueError, match="layer 'fc' must give maps"):
            predict(resnet, (3, 32, 32), layer="fc")
    else:
        grad_cam(resnet, x)
        receptive_field(resnet, x, rng=rng)
        predict(resnet, (3, 32, 32))
    assert list(state_of(resnet)) == before


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("resnet8", 32, "layer3"),
        ("resnet10", 64, "layer4"),
        ("vgg16", 32, "features.29"),  # the relu before the last pool
        ("mobilenet_v2", 64, "features"),
        ("densenet121", 64, "relu"),
    ],
)
def test_the_default_is_the_end_of_the_last_convolutional_stage(rng, name, size, layer) -> None:
    options = {"hidden": 8} if name == "vgg16" else {}
    model = models.create_model(name, num_classes=2, rng=rng, **options)
    assert default_layer(model, np.zeros((1, 3, size, size))) == layer


def test_the_default_is_the_same_stage_with_and_without_a_prior(rng) -> None:
    """The pool ends the first block of a stage, here the only one: inside, maps are finer."""
    for pool in ("gaussian", "max"):
        model = models.create_model("resnet8", num_classes=2, rng=rng)
        convert(model, pool=pool, conv="basis", rng=rng)
        assert default_layer(model, np.zeros((1, 3, 32, 32))) == "layer3"
        assert grad_cam(model, np.zeros((1, 3, 32, 32))).maps.shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "layer9"}, "Odd has no submodule 'layer9'"),
        ({"layer": "beside"}, "logits do not depend on layer 'beside'"),
        ({"layer": "unused"}, "layer 'unused' took no part"),
        ({"layer": ""}, r"layer '' must give maps \(N, C, h, w\), got \(2, 4\)"),
        ({"target": 4}, "target must be within 0 and 3, got 4"),
        ({"target": [0, -1]}, "target must be within 0 and 3, got -1"),
        ({"target": [0, 1, 2]}, "target must be one class or 2 of them"),
        ({"target": 1.5}, "target must be one class or 2 of them, got 1.5"),
    ],
)
def test_grad_cam_refuses(rng, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        grad_cam(Odd(rng), np.zeros((2, 3, 8, 8)), **arguments)


def test_models_without_maps_or_logits_are_refused(rng) -> None:
    with pytest.raises(ValueError, match=r"images must have shape \(N, C, H, W\), N >= 1, got \(0, 3, 8, 8\)"):
        grad_cam(Odd(rng), np.zeros((0, 3, 8, 8)))
    with pytest.raises(ValueError, match="no layer of Sequential gives maps"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(4, 2, rng=rng)), np.zeros((1, 1, 2, 2)))
    with pytest.raises(ValueError, match=r"the model must give logits \(N, K\), got \(1, 4, 6, 6\)"):
        grad_cam(nn.Sequential(conv(3, 4, 3, rng)), np.zeros((1, 3, 8, 8)))
