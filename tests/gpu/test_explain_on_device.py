"""Looking into networks that live on a GPU: the same maps and fields, in NumPy's memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minidl.device import CPU, Device
from minidl.explain import grad_cam, predict, receptive_field
from minidl.models import create_model
from minidl.nn import Module
from minidl.priors import convert
from tests.gpu.comparison import assert_agree, built, images_and_labels

IMAGES = images_and_labels(2, 16)[0]


def network(rng: np.random.Generator) -> Module:
    """ResNet-8 with every prior."""
    model = create_model("resnet8", num_classes=10, rng=rng)
    convert(model, pool="gaussian", conv="gaussian", classifier="statrot", rng=rng)
    return model


def cam(model: Module, device: Device) -> dict[str, np.ndarray]:
    found = grad_cam(model, device.asarray(IMAGES), target=device.asarray(np.array([3, 4])))
    return {"maps": found.maps, "heat": found.heat, "logits": found.logits, "target": found.target}


def of_the_likeliest(model: Module, device: Device) -> dict[str, np.ndarray]:
    found = grad_cam(model, IMAGES)  # images of the host go where the model is
    return {"maps": found.maps, "heat": found.heat, "probabilities": found.probabilities, "target": found.predicted}


def field(model: Module, device: Device) -> dict[str, np.ndarray]:
    found = receptive_field(model, device.asarray(IMAGES), rng=np.random.default_rng(0))
    return {"map": found.map, "width": found.std}


def predicted(model: Module, device: Device) -> dict[str, np.ndarray]:
    flat, weights = (predict(model, (3, 16, 16), structure=structure) for structure in ("flat", "weights"))
    return {"flat": flat.std, "weights": weights.std, "centre": weights.centre}


@pytest.mark.parametrize("look", [cam, of_the_likeliest, field, predicted], ids=lambda look: look.__name__)
def test_what_is_seen_there_is_what_is_seen_here(
    look: Callable[[Module, Device], dict[str, np.ndarray]], device: Device
) -> None:
    found, expected = (look(built(network, place, np.float64), place) for place in (device, CPU))
    assert all(isinstance(a, np.ndarray) for a in found.values())
    assert_agree(found, expected)


def test_images_of_a_gpu_are_taken_to_a_model_of_the_host(device: Device) -> None:
    model = built(network, CPU, np.float64)
    np.testing.assert_array_equal(grad_cam(model, device.asarray(IMAGES)).maps, grad_cam(model, IMAGES).maps)
