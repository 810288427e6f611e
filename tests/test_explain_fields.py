"""Receptive fields: measured, and predicted from geometry and σ."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import Tensor, models, nn
from minidl.explain import ReceptiveField, predict, receptive_field
from minidl.explain.field import THRESHOLD
from minidl.priors import GaussianConv2d, convert
from tests.explain_helpers import Odd, conv, random_resnet


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def resnet(rng: np.random.Generator) -> nn.Module:
    return random_resnet(rng)


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


def test_expected_squares_are_predicted_exactly(rng) -> None:
    """The gradient is linear in the weights of each layer, so its mean square over independent weights of mean 0 and
    variance 1 is the sum of its squares for all combinations of one weight that is 1 among zeros."""
    upper = GaussianConv2d(1, 1, 3, stride=(2, 1), padding=1, sigma0=1.0, radius=3, rng=rng)
    lower = GaussianConv2d(1, 1, (3, 2), padding=(1, 0), sigma0=0.7, radius=2, kernel="discrete", rng=rng)
    model = nn.Sequential(lower, nn.AvgPool2d(2, stride=(1, 2)), Sum(nn.AvgPool2d((2, 1)), upper)).astype(np.float64)
    bare = nn.Sequential(lower, model[1], model[2].branches[0])  # what comes through the other branch is added, (6)
    images, total = np.zeros((1, 1, 45, 46)), np.zeros((45, 46))
    for w1 in np.eye(6).reshape(6, 1, 1, 3, 2):
        lower.weight.data = w1
        total += receptive_field(bare, images, layer="2", channel=0).map
        chain = nn.Sequential(lower, model[1], upper)
        for w2 in np.eye(9).reshape(9, 1, 1, 3, 3):
            upper.weight.data = w2
            one = receptive_field(chain, images, layer="2", channel=0)
            total += one.map
    lower.weight.data, upper.weight.data = np.ones((1, 1, 3, 2)), np.ones((1, 1, 3, 3))  # variance 1, for the masses
    field = ReceptiveField("2", total, 2, one.position)
    predicted = predict(model, (1, 45, 46), layer="2")
    np.testing.assert_allclose(predicted.std, field.std, rtol=1e-12)
    np.testing.assert_allclose(predicted.centre + predicted.jump * field.position, field.centroid, rtol=1e-12)


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
    moments = [step.window.blur_variance for step in predicted.steps]
    np.testing.assert_allclose(moments, [layer.second_moment()[0] for layer in chain], rtol=1e-12)


BUILDERS = {
    "gaussian": lambda rng: [
        GaussianConv2d(2, 8, 3, padding=1, sigma0=[0.5, 1.5], per="channel", rng=rng),
        GaussianConv2d(8, 8, 3, padding=1, sigma0=1.0, rng=rng),
    ],
    "chain": lambda rng: [conv(2, 8, 5, rng, stride=2, padding=2), conv(8, 8, 3, rng, dilation=2, padding=2)],
    "branches of blurs": lambda rng: [
        GaussianConv2d(2, 6, 3, padding=1, sigma0=1.0, radius=3, rng=rng),
        Sum(
            nn.AvgPool2d(2),
            nn.Sequential(
                GaussianConv2d(6, 6, 3, stride=2, padding=1, sigma0=1.0, radius=3, rng=rng),
                GaussianConv2d(6, 6, 3, padding=1, sigma0=0.7, radius=2, rng=rng),
            ),
        ),
        nn.AvgPool2d(2, stride=1),
    ],
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
    images = rng.normal(size=(1, 2, 46, 46))
    u = np.arange(46.0)[:, None]
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
    predicted = float(np.square(predict(model, (2, 46, 46), layer=layer).std).sum())
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


@pytest.mark.parametrize("pool", ["gaussian", "maxent", "max", "average"])
def test_networks_with_priors_are_followed(rng, pool) -> None:
    """Pools of two in place of strides: the same jumps, and a wider support; σ comes on top.  Guidance is left out."""
    total = np.zeros((64, 64))
    for _ in range(6):
        model = models.create_model("resnet8", num_classes=2, rng=rng)
        before = predict(model, (3, 64, 64))
        convert(model, pool=pool, conv="gaussian", rng=rng, conv_options={"sigma0": 1.0, "radius": 2})
        after = predict(model, (3, 64, 64), layer="layer3")
        field = receptive_field(model, rng.normal(size=(2, 3, 64, 64)), layer="layer3", rng=rng)
        total += field.map
    assert after.jump.tolist() == before.jump.tolist() == [4, 4]
    # seven convolutions, of which those of a stage's first block now run before its pool, which adds a tap
    assert before.support.tolist() == [1 + 2 * (1 + 1 + 1 + 1 + 2 + 2 + 4)] * 2
    assert after.support.tolist() == [1 + (2 + 4) * (1 + 1 + 1 + 1 + 1 + 2 + 2) + 1 + 2] * 2
    if pool in ("max", "average"):  # guidance reaches every pixel
        assert max(extent(field)) <= 58
    width = ReceptiveField("layer3", total, 2, field.position).std.mean()
    assert abs(width / after.std.mean() - 1) < 0.2  # relu's gates and these pools are approximated


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
