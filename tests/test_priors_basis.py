"""Convolution on a fixed basis: the bases, both routes, their gradients, the projection of trained filters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import fft

from minidl import Tensor, nn
from minidl.priors import BasisConv2d, filter_basis
from tests import priors_formulas as f

C, O = 4, 6
GEOMETRIES = [(1, 1, 1, 1), (2, 1, 1, 2), (1, 2, 2, 2), ((2, 1), (0, 2), (1, 2), 1)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


X = rng(1).normal(size=(2, C, 8, 9))


def pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize("kind", ["gaussian", "dct"])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (7, 7), (2, 5)])
def test_bases_are_orthonormal_and_complete(kind: str, size: tuple[int, int]) -> None:
    b = filter_basis(size, kind).reshape(-1, math.prod(size))
    assert len(b) == math.prod(size)
    np.testing.assert_allclose(b @ b.T, np.eye(len(b)), atol=1e-13)


def test_the_gaussian_basis_spans_the_derivatives_up_to_its_order() -> None:
    u, sigma = np.arange(-3, 4.0), 1.3
    g = np.exp(-u * u / (2 * sigma**2))
    jets = [g, -u / sigma**2 * g, (u * u / sigma**4 - 1 / sigma**2) * g, (3 * u / sigma**4 - u**3 / sigma**6) * g]
    for order in range(4):
        b = filter_basis((7, 7), order=order, sigma=sigma).reshape(-1, 49)
        assert len(b) == (order + 1) * (order + 2) // 2
        for i in range(4):
            for j in range(4):
                jet = np.outer(jets[i], jets[j]).ravel()
                missing = np.linalg.norm(jet - b.T @ (b @ jet)) / np.linalg.norm(jet)
                assert (missing < 1e-13) == (i + j <= order)
    for filter_, jet in zip(filter_basis((7, 7), order=1, sigma=sigma), [(0, 0), (0, 1), (1, 0)], strict=True):
        derivative = np.outer(jets[jet[0]], jets[jet[1]])
        np.testing.assert_allclose(filter_, derivative / np.linalg.norm(derivative), atol=1e-14)


def test_the_cosine_basis_is_scipys() -> None:
    b = filter_basis((3, 5), "dct")
    np.testing.assert_allclose(b[0], np.full((3, 5), 1 / math.sqrt(15)), rtol=1e-14)
    columns = fft.dct(np.eye(5), norm="ortho", axis=0)
    np.testing.assert_allclose(b[1], np.outer(np.full(3, 1 / math.sqrt(3)), columns[1]), atol=1e-15)


@pytest.mark.parametrize(("s", "p", "d", "groups"), GEOMETRIES)
@pytest.mark.parametrize("order", [None, 1])
def test_both_routes_are_the_composed_convolution(s: Any, p: Any, d: Any, groups: int, order: int | None) -> None:
    for route in ("filter", "composed"):
        layer: Any = BasisConv2d(C, O, 3, s, p, d, groups, order=order, route=route, rng=rng()).astype(np.float64)
        b = layer.basis.reshape(len(layer.basis), 9)
        w = (layer.coefficients.data @ b).reshape(O, C // groups, 3, 3)
        y, gx, gw = f.convolution(X, w, lambda y: rng(5).normal(size=y.shape), pair(s), pair(p), pair(d), groups)
        x = Tensor(X, requires_grad=True)
        found = layer(x)
        gy = rng(5).normal(size=y.shape)
        found.backward(gy)
        assert f.apart(found.data, y + layer.bias.data[:, None, None]) < 1e-12
        assert f.apart(x.grad, gx) < 1e-12
        assert f.apart(layer.coefficients.grad, gw.reshape(O, C // groups, 9) @ b.T) < 1e-12
        assert f.apart(layer.bias.grad, gy.sum((0, 2, 3))) < 1e-12
        np.testing.assert_allclose(layer.weight.data, w, rtol=1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "dct"])
def test_trained_filters_are_projected(kind: str) -> None:
    conv: Any = nn.Conv2d(C, O, 3, 2, 1, groups=2, rng=rng()).astype(np.float64)
    whole = BasisConv2d.from_conv(conv, basis=kind)
    assert whole.bias is conv.bias
    assert f.apart(whole(Tensor(X)).data, conv(Tensor(X)).data) < 1e-15
    part = BasisConv2d.from_conv(conv, basis=kind, order=2)
    rest = (conv.weight.data - part.weight.data).reshape(O, C // 2, 9)
    assert abs(rest @ part.basis.reshape(6, 9).T).max() < 1e-15  # what is lost is orthogonal to the basis
    assert abs(rest).max() > 1e-2
    assert [n for n, _ in part.named_parameters()] == ["coefficients", "bias"]


def test_the_cheaper_route_is_taken_and_counted() -> None:
    x, y = (2, 64, 10, 10), (2, 64, 10, 10)
    layer = BasisConv2d(64, 64, 3, padding=1, order=2, rng=rng())
    assert layer.route == "filter"
    assert layer.multiply_adds(x, y) == 2 * 100 * (64 * 64 * 6 + 64 * 6 * 9)
    assert layer.multiply_adds(x, y) < nn.Conv2d(64, 64, 3, padding=1, rng=rng()).multiply_adds(x, y)
    for whole in (BasisConv2d(64, 64, 3, rng=rng()), BasisConv2d(64, 64, 3, groups=64, order=2, rng=rng())):
        assert whole.route == "composed"
    assert whole.multiply_adds(x, y) == 2 * 100 * 64 * 9


def test_initial_filters_have_the_energy_of_a_plain_convolutions() -> None:
    layer = BasisConv2d(64, 128, 3, order=2, rng=rng(), weight_init=nn.init.kaiming_normal)
    assert (layer.weight.data**2).sum(axis=(2, 3)).mean() == pytest.approx(2 / 64, rel=0.03)
    assert BasisConv2d(C, O, 3, bias=False, rng=rng()).bias is None


def test_float32_stays() -> None:
    for route in ("filter", "composed"):
        layer = BasisConv2d(C, O, 3, order=2, route=route, rng=rng())
        x = Tensor(X.astype(np.float32), requires_grad=True)
        y = layer(x)
        y.backward(np.ones_like(y.data))
        assert y.dtype == x.grad.dtype == layer.coefficients.grad.dtype == np.float32
    assert "4, 6, kernel_size=(3, 3), stride=(1, 1), padding=(0, 0), basis=gaussian, m=6, route=" in repr(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"basis": "wavelet"}, "filter_basis: kind must be one of 'gaussian', 'dct', got 'wavelet'"),
        ({"order": -1}, "filter_basis: order must be an integer >= 0, got -1"),
        ({"sigma": 0.0}, "filter_basis: sigma must be > 0, got 0.0"),
        ({"route": "fft"}, "BasisConv2d: route must be one of 'auto', 'filter', 'composed', got 'fft'"),
        ({"groups": 3}, "groups must divide in_channels"),
    ],
)
def test_what_the_layer_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BasisConv2d(C, O, 3, rng=rng(), **options)


def test_a_basis_narrower_than_a_tap_is_still_one() -> None:
    b = filter_basis((3, 3), sigma=0.01).reshape(9, 9)
    np.testing.assert_allclose(b @ b.T, np.eye(9), atol=1e-13)
