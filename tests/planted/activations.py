"""Activations and elementwise ops with mistakes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tests.planted import planted


@planted("gelu", "always the tanh form")
def the_fast_gelu(x, approximate="none"):
    return F.gelu(x, approximate="tanh")


@planted("gelu", None)
def a_digit_lost(x, approximate="none"):
    if approximate == "none":
        return F.gelu(x)
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.04471 * x**3)))


@planted("leaky_relu", "slope on the wrong side")
def leaks_above(x, negative_slope=0.01):
    return torch.where(x > 0, negative_slope * x, x)


@planted("leaky_relu", "slope ignored", F.leaky_relu)
def as_if_relu(gy, x, negative_slope=0.01):
    return gy * (x > 0)


@planted("softplus", "not divided by β")
def only_inside(x, beta=1.0):
    return F.softplus(beta * x)


@planted("tanh", "square forgotten", torch.tanh)
def one_minus_tanh(gy, x):
    return gy * (1 - torch.tanh(x))


@planted("sigmoid", "output taken for the input", torch.sigmoid)
def sigmoid_of_the_output(gy, x):
    y = torch.sigmoid(x)
    return gy * torch.sigmoid(y) * (1 - torch.sigmoid(y))


@planted("silu", "product rule forgotten", F.silu)
def gate_alone(gy, x):
    return gy * torch.sigmoid(x)


@planted("relu", "mask forgotten", F.relu)
def straight_through(gy, x):
    return gy.clone()


@planted("relu", "cotangent ignored", F.relu)
def returns_its_mask(gy, x):
    return (x > 0).to(gy)


@planted("clip", "clamp not masked", lambda x, min=None, max=None: torch.clamp(x, min, max))
def clamp_straight_through(gy, x, min=None, max=None):
    return gy.clone()


@planted("sqrt", "factor 2", torch.sqrt)
def half_forgotten(gy, x):
    return gy / torch.sqrt(x)


@planted("div", "square forgotten", torch.div)
def divides_once(gy, a, b):
    if a.shape != b.shape:
        raise NotImplementedError("equal shapes only")
    return gy / b, -gy * a / b


@planted("mul", "own factor instead of the other", torch.mul)
def each_by_itself(gy, a, b):
    if a.shape != b.shape:
        raise NotImplementedError("equal shapes only")
    return gy * a, gy * b


@planted("maximum", "given to both", torch.maximum)
def both_win(gy, a, b):
    if a.shape != b.shape:
        raise NotImplementedError("equal shapes only")
    return gy, gy


@planted("add", "not summed over broadcast axes", torch.add)
def cotangent_as_it_came(gy, a, b):
    return gy, gy


@planted("dropout", "not rescaled")
def drops_only(x, mask, p=0.5):
    return x * mask


@planted("dropout", "rescaled by p")
def divides_by_p(x, mask, p=0.5):
    return x * mask / p if p else x * mask


@planted("dropout", "noise drawn anew")
def ignores_the_mask(x, mask, p=0.5):
    return x * (torch.rand_like(x) >= p) / (1 - p)
