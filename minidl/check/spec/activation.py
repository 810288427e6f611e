"""Specification of the activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample
from minidl.check.spec.elementwise import ANY, binary, one_by_one, unary, unary_samples

ZERO = np.zeros(3)


def reference_gelu(x: float, approximate: str = "none") -> float:
    if approximate == "tanh":
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * math.erfc(-x / math.sqrt(2))


def with_parameters(name: str, f: Any, equations: str, *params: dict[str, Any], **rest: Any) -> OpCase:
    """The case of an activation that has parameters."""
    return OpCase(
        name=name,
        op=getattr(ops, name),
        samples=unary_samples(ANY, *params),
        reference=one_by_one(f),
        equations=equations,
        **rest,
    )


def refused(name: str, params: dict[str, Any], message: str) -> ErrorCase:
    return ErrorCase(Sample((np.ones(2),), params), ValueError, f"{name}: {message}")


CASES = [
    unary("tanh", math.tanh, "y = tanh x"),
    unary("sigmoid", lambda x: 1 / (1 + math.exp(-x)), "y = 1 / (1 + e⁻ˣ)"),
    with_parameters(
        "softplus",
        lambda x, beta=1.0: math.log1p(math.exp(beta * x)) / beta,
        "y = ln(1 + e^{βx}) / β",
        {},
        {"beta": 2.5},
        errors=(
            refused("softplus", {"beta": 0}, r"beta must be > 0, got 0\.0"),
            refused("softplus", {"beta": math.nan}, "beta must be a number, got nan"),
        ),
    ),
    unary("relu", lambda x: x if x > 0 else 0.0, "y = max(x, 0)", kinks=(Kink("x = 0: 0", Sample((ZERO,)), (ZERO,)),)),
    binary(
        "add_relu",
        lambda a, b: max(a + b, 0.0),
        "y = max(a + b, 0)",
        kinks=(Kink("a + b = 0: 0", Sample((np.ones(3), -np.ones(3))), (ZERO, ZERO)),),
    ),
    with_parameters(
        "leaky_relu",
        lambda x, negative_slope=0.01: x if x > 0 else negative_slope * x,
        "y = x if x > 0, else a x",
        {},
        {"negative_slope": 0.3},
        kinks=(Kink("x = 0: a", Sample((ZERO,), {"negative_slope": 0.25}), (np.full(3, 0.25),)),),
        errors=(refused("leaky_relu", {"negative_slope": "a"}, "negative_slope must be a number, got 'a'"),),
    ),
    unary(
        "silu",
        lambda x: x / (1 + math.exp(-x)) if x > -math.inf else 0.0,
        "y = x σ(x)",
        kinks=(Kink("x = ±∞: the limits 0, 1", Sample((np.array([-np.inf, np.inf]),)), (np.array([0.0, 1.0]),)),),
    ),
    with_parameters(
        "gelu",
        reference_gelu,
        "y = x Φ(x)",
        {},
        {"approximate": "tanh"},
        errors=(refused("gelu", {"approximate": "erf"}, "approximate must be one of 'none', 'tanh', got 'erf'"),),
    ),
]
