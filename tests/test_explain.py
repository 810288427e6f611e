"""Grad-CAM and receptive fields: against closed forms, finite differences and counting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from minidl import Tensor, models, nn, ops
from minidl.explain import ReceptiveField, bilinear, default_layer, grad_cam, predict, receptive_field
from minidl.explain.field import THRESHOLD
from minidl.explain.gradcam import heat
from minidl.priors import GaussianConv2d


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def resnet(rng: np.random.Generator) -> nn.Module:
    """ResNet-8 in float64 whose norms have statistics of their own, in training mode."""
    model = models.create_model("resnet8", num_classes=5, rng=rng).astype(np.float64)
    for name, buffer in model.named_buffers():
        buffer.data = rng.uniform(0.5, 2.0, buffer.shape) if name.endswith("var") else rng.normal(0, 0.3, buffer.shape)
    return model


def conv(c: int, o: int, k: int, rng: np.random.Generator, **options) -> nn.Conv2d:
    return nn.Conv2d(c, o, k, bias=False, rng=rng, weight_init=nn.init.kaiming_normal, **options)


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


class Odd(nn.Module):
    """A layer beside the way to the logits, one that is never called, and a function with a window."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.conv, self.beside, self.unused = conv(3, 4, 3, rng), conv(3, 4, 1, rng), conv(3, 4, 1, rng)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        self.beside(x)
        return ops.mean(self.bn(ops.avg_pool2d(self.conv(x), 2)), axis=(2, 3))


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


# Receptive fields, measured


def test_the_field_of_one_linear_layer_is_its_kernel(rng) -> None:
    model = nn.Sequential(conv(1, 3, (3, 5), rng, padding=(1, 2))).astype(np.float64)
    for power in (1, 2):
        field = receptive_field(model, np.zeros((2, 1, 11, 13)), layer="0", channel=1, power=power)
        expected = np.zeros((11, 13))
        expected[4:7, 4:9] = abs(model[0].weight.data[1, 0]) ** power
        np.testing.assert_allclose(field.map, expected, rtol=0, atol=1e-15)
        assert field.position == (5, 6)
        assert field.area == (expected > THRESHOLD * expected.max()).sum()


def test_width_and_centroid_are_moments_of_the_map() -> None:
    u, v = np.arange(41.0)[:, None] - 17, np.arange(61.0) - 33
    e = np.exp(-(u**2) / (2 * 3.0**2) - v**2 / (2 * 4.0**2))
    field = ReceptiveField("", e, 2, (0, 0))
    np.testing.assert_allclose(field.centroid, [17, 33], atol=1e-4)
    np.testing.assert_allclose(field.std, [3, 4], rtol=1e-4)
    assert abs(field.area / (np.pi * 3 * 4 * -2 * np.log(THRESHOLD)) - 1) < 0.01  # inside of an ellipse


def test_the_number_of_images_at_a_time_changes_nothing(resnet, rng) -> None:
    x = rng.normal(size=(5, 3, 32, 32))
    fields = [receptive_field(resnet, x, rng=np.random.default_rng(1), batch_size=n).map for n in (2, 5)]
    np.testing.assert_allclose(fields[0], fields[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"power": 3}, "power must be 1 or 2, got 3"),
        ({"rng": None}, "rng must be given for random directions"),
        ({"channel": 16, "layer": "conv1"}, "channel must be within 0 and 15, got 16"),
    ],
)
def test_receptive_field_refuses(resnet, rng, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        receptive_field(resnet, np.zeros((1, 3, 32, 32)), **{"rng": rng, **arguments})


def test_a_dead_centre_is_no_field(rng) -> None:
    model = nn.Sequential(conv(1, 1, 3, rng), nn.ReLU())
    with pytest.raises(ValueError, match="no gradient reaches the image"):
        receptive_field(model, np.zeros((1, 1, 8, 8)), layer="1", rng=rng)
    with pytest.raises(ValueError, match="'unused' took no part"):
        receptive_field(Odd(rng), np.zeros((1, 3, 8, 8)), layer="unused", rng=rng)


# Receptive fields, predicted


class Sum(nn.Module):
    """x + f(x), or any other sum of branches."""

    def __init__(self, *branches: nn.Module) -> None:
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (branch(x) for branch in self.branches)
        for y in others:
            first = first + y
        return first


def positive(model: nn.Module) -> nn.Module:
    for _, p in model.named_parameters():
        p.data = abs(p.data)
    return model.astype(np.float64)


def extent(field: ReceptiveField) -> list[int]:
    """Rows and columns from the first to the last pixel with any influence."""
    rows, columns = (np.flatnonzero(e) for e in field.profiles)
    return [int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)]


def test_a_chain_of_non_negative_kernels_is_predicted_exactly(rng) -> None:
    chain = positive(
        nn.Sequential(
            conv(1, 1, (3, 2), rng, stride=(2, 1), padding=(1, 0)),
            conv(1, 1, 3, rng, dilation=(1, 2), padding="same"),
            nn.AvgPool2d(2, stride=(1, 2)),
            conv(1, 1, (1, 3), rng, padding=(0, 1)),
            nn.AvgPool2d((3, 2), stride=1),
        )
    )
    field = receptive_field(chain, np.zeros((1, 1, 60, 70)), layer="4", channel=0, power=1)
    predicted = predict(chain, (1, 60, 70), layer="4", power=1, structure="weights")
    np.testing.assert_allclose(predicted.std, field.std, rtol=1e-12)
    np.testing.assert_allclose(predicted.longest_std, predicted.std, rtol=1e-12)
    np.testing.assert_allclose(predicted.centre + predicted.jump * field.position, field.centroid, rtol=1e-12)
    assert predicted.support.tolist() == extent(field)
    assert predicted.jump.tolist() == [2, 2]
    assert [step.path for step in predicted.steps] == list("01234")


def test_a_sum_of_non_negative_branches_is_predicted_exactly(rng) -> None:
    """Of different lengths and masses, off centre, strided alike, over an identity."""
    model = positive(
        nn.Sequential(
            Sum(nn.Identity(), conv(1, 1, 5, rng, padding=2)),
            Sum(
                nn.Sequential(conv(1, 1, 3, rng, stride=2, padding=1), conv(1, 1, (3, 5), rng, padding=(1, 2))),
                conv(1, 1, 1, rng, stride=2),
            ),
        )
    )
    field = receptive_field(model, np.zeros((1, 1, 40, 40)), layer="1", channel=0, power=1)
    predicted = predict(model, (1, 40, 40), layer="1", power=1, structure="weights")
    np.testing.assert_allclose(predicted.std, field.std, rtol=1e-12)
    np.testing.assert_allclose(predicted.centre + predicted.jump * field.position, field.centroid, rtol=1e-12)
    assert predicted.support.tolist() == extent(field)
    assert (predicted.longest_std > predicted.std).all()
    paths = ["0.branches.1", "1.branches.0.0", "1.branches.0.1"]
    assert [step.path for step in predicted.steps] == paths


def residual(c: int, rng: np.random.Generator) -> nn.Module:
    return Sum(nn.Identity(), nn.Sequential(conv(c, c, 3, rng, padding=1), conv(c, c, 3, rng, padding=1)))


@pytest.mark.parametrize("structure", ["weights", "flat"])
@pytest.mark.parametrize("kernel", ["sampled", "discrete"])
def test_gaussians_widen_a_field_by_the_moments_of_their_taps(rng, structure, kernel) -> None:
    """Not by σ²: at σ = 0.4 a sampled kernel has half of it."""
    widths = {"stride": (1, 2), "padding": 1, "radius": 3, "kernel": kernel, "rng": rng}
    layers = [GaussianConv2d(1, 1, 3, sigma0=sigma, **widths) for sigma in (0.4, 1.1)]
    chain = positive(nn.Sequential(*layers, GaussianConv2d(1, 1, (5, 3), dilation=2, sigma0=0.7, radius=2, rng=rng)))
    if structure == "flat":
        for layer in chain:
            layer.weight.data = np.ones(layer.weight.shape)
    field = receptive_field(chain, np.zeros((1, 1, 61, 91)), layer="2", channel=0, power=1)
    predicted = predict(chain, (1, 61, 91), layer="2", power=1, structure=structure)
    np.testing.assert_allclose(predicted.std, field.std, rtol=1e-12)
    np.testing.assert_allclose(predicted.centre + predicted.jump * field.position, field.centroid, rtol=1e-12)
    assert predicted.support.tolist() == extent(field)
    moments = [m**2 for m in predicted.steps[0].window.blur_std]
    np.testing.assert_allclose(moments, chain[0].second_moment().repeat(2), rtol=1e-12)


BUILDERS = {
    "gaussian": lambda rng: [
        GaussianConv2d(2, 8, 3, padding=1, sigma0=[0.5, 1.5], per="channel", rng=rng),
        GaussianConv2d(8, 8, 3, padding=1, sigma0=1.0, rng=rng),
    ],
    "chain": lambda rng: [conv(2, 8, 5, rng, stride=2, padding=2), conv(8, 8, 3, rng, dilation=2, padding=2)],
    "residual": lambda rng: [conv(2, 6, 3, rng, padding=1), residual(6, rng), residual(6, rng)],
    "relu": lambda rng: [
        conv(2, 16, 3, rng, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        conv(16, 16, 3, rng, padding=1),
    ],
}


@pytest.mark.parametrize("name", BUILDERS)
def test_random_weights_are_predicted_in_the_mean(name, rng) -> None:
    """Squared widths over draws of the weights, against the prediction, within four standard errors of their mean.

    E sums over draws before it is divided by its sum: it is E[W²] whose variance is predicted, not the mean ratio.
    """
    images = rng.normal(size=(1, 2, 31, 31))
    u = np.arange(31.0)[:, None]
    moments = []
    for _ in range(120):
        model = nn.Sequential(*BUILDERS[name](rng))
        layer = str(len(model) - 1)
        e = receptive_field(model, images, layer=layer, rng=rng).map
        moments.append([e.sum(), (e * u).sum(), (e * u * u).sum(), (e * u.T).sum(), (e * u.T**2).sum()])
    sums = np.array(moments)

    def variance(m: np.ndarray) -> float:
        return float(m[2] / m[0] - (m[1] / m[0]) ** 2 + m[4] / m[0] - (m[3] / m[0]) ** 2)

    measured = variance(sums.mean(axis=0))
    leave_one_out = np.array([variance(np.delete(sums, i, axis=0).mean(axis=0)) for i in range(len(sums))])
    error = np.sqrt((len(sums) - 1) * np.square(leave_one_out - leave_one_out.mean()).mean())  # the jackknife's
    predicted = float(np.square(predict(model, (2, 31, 31), layer=layer).std).sum())
    assert error < 0.05 * measured
    assert abs(measured - predicted) < 4 * error


@pytest.mark.parametrize(
    ("name", "size", "support"),
    [("resnet18", 64, 435), ("resnet50", 64, 427), ("vgg16", 32, 196), ("mobilenet_v1", 64, 315)],
)
def test_supports_are_the_known_ones(rng, name, size, support) -> None:
    """Those of Araujo et al., "Computing receptive fields of convolutional neural networks", Distill 2019."""
    options = {"hidden": 8} if name == "vgg16" else {}
    predicted = predict(models.create_model(name, num_classes=2, rng=rng, **options), (3, size, size))
    assert predicted.support.tolist() == [support, support]


def test_concatenated_branches_meet(rng) -> None:
    predicted = predict(models.create_model("densenet121", num_classes=2, rng=rng), (3, 64, 64))
    assert predicted.support.tolist() == [2071, 2071]
    assert (predicted.std < predicted.longest_std).all()
    assert len(predicted.steps) == 1 + 1 + 58 + 3  # conv0, pool0, a 3×3 a layer, the transitions' pools


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "bn"}, "AvgPool2d changes the size of a map outside of any layer"),
        ({"power": 0}, "power must be 1 or 2, got 0"),
        ({"structure": "round"}, "structure must be 'flat' or 'weights', got 'round'"),
        ({"layer": "conv9"}, "has no submodule 'conv9'"),
    ],
)
def test_predict_refuses(rng, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        predict(Odd(rng), (3, 8, 8), **{"layer": "conv", **arguments})


def test_layers_that_enlarge_or_divide_unevenly_have_no_prediction(rng) -> None:
    up = nn.Sequential(nn.ConvTranspose2d(1, 1, 2, stride=2, rng=rng))
    with pytest.raises(ValueError, match=r"0 \(ConvTranspose2d\) enlarges its map"):
        predict(up, (1, 4, 4), layer="0")
    with pytest.raises(ValueError, match="divides 5×5 into regions of different sizes"):
        predict(nn.Sequential(conv(1, 1, 1, rng), nn.AdaptiveAvgPool2d(2)), (1, 5, 5), layer="1")
    with pytest.raises(ValueError, match="branches of different strides meet"):
        strided = conv(1, 1, 1, rng, stride=3)
        predict(nn.Sequential(Sum(strided, nn.AdaptiveAvgPool2d(1))), (1, 2, 2), layer="0")
