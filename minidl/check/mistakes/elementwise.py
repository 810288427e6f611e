"""Mistakes in elementwise ops, activations and functions in pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minidl.check.mistakes.call import Call, Mistake, run

Gradients = Mapping[str, np.ndarray]


def sum_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A gradient summed over the axes along which its input was broadcast."""
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(a for a, n in enumerate(shape) if n == 1 and g.shape[a] != 1), keepdims=True)


def _x(f: Callable[[Call], Any]) -> Callable[[Call], Gradients]:
    """A wrong gradient gy f for an op of one input."""
    return lambda c: {"x": c.gy * f(c)}


def _both(f: Callable[[Call], tuple[Any, Any]]) -> Callable[[Call], Gradients]:
    """Wrong gradients gy f₁, gy f₂ for an op of two inputs."""

    def gradient(c: Call) -> Gradients:
        return {n: sum_to(np.asarray(c.gy * f_), c[n].shape) for n, f_ in zip("ab", f(c), strict=True)}

    return gradient


def _slope_above(c: Call) -> np.ndarray:
    return np.where(c["x"] > 0, c["negative_slope"] * c["x"], c["x"])


def _constant(c: Call) -> np.ndarray:
    """GELU's tanh form with the constant misremembered."""
    x = c["x"]
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044 * x**3)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return run("sigmoid", x)


def _cdf(x: np.ndarray) -> np.ndarray:
    """Φ, by the op: y = x Φ(x)."""
    x = np.where(x == 0, 1e-300, x)
    return run("gelu", x) / x


def _outside(c: Call) -> np.ndarray:
    x, low, high = c["x"], c["min"], c["max"]
    return (x < (-np.inf if low is None else low)) | (x > (np.inf if high is None else high))


MISTAKES = [
    Mistake(
        "approximation taken for the other",
        ("gelu",),
        "the exact and the tanh form are taken for each other",
        lambda c: c(approximate="tanh" if c["approximate"] == "none" else "none"),
    ),
    Mistake(
        "always the tanh form", ("gelu",), "the output is that of approximate='tanh'", lambda c: c(approximate="tanh")
    ),
    Mistake(
        "always the exact form", ("gelu",), "the output is that of approximate='none'", lambda c: c(approximate="none")
    ),
    Mistake(
        "wrong constant",
        ("gelu",),
        "0.044 stands for 0.044715",
        lambda c: _constant(c) if c["approximate"] == "tanh" else c.y,
    ),
    Mistake("slope on the wrong side", ("leaky_relu",), "the slope is that of x > 0", _slope_above),
    Mistake(
        "slope ignored",
        ("leaky_relu",),
        "the output is that of the default slope, 0.01",
        lambda c: c(negative_slope=0.01),
    ),
    Mistake("β ignored", ("softplus",), "the output is that of beta=1", lambda c: c(beta=1.0)),
    Mistake(
        "not divided by β", ("softplus",), "the output is ln(1 + e^{βx}); it is divided by β", lambda c: c.y * c["beta"]
    ),
    Mistake(
        "logarithm to base 2",
        ("log", "softplus"),
        "the logarithm is to base 2; it is the natural one",
        lambda c: c.y / np.log(2),
    ),
    Mistake(
        "logarithm to base 10",
        ("log",),
        "the logarithm is to base 10; it is the natural one",
        lambda c: c.y / np.log(10),
    ),
    Mistake("operands swapped", ("sub",), "the output is b − a", lambda c: -c.y),
    Mistake("operands swapped", ("div",), "the output is b / a", lambda c: 1 / c.y),
    Mistake(
        "branches swapped",
        ("where",),
        "where the condition holds b is taken; it is a",
        lambda c: c(condition=~c["condition"]),
    ),
    Mistake(
        "bounds not both applied",
        ("clip",),
        "only the lower bound acts",
        lambda c: c(max=None) if c["min"] is not None else c["x"],
    ),
    Mistake(
        "bounds not both applied",
        ("clip",),
        "only the upper bound acts",
        lambda c: c(min=None) if c["max"] is not None else c["x"],
    ),
    Mistake("mask forgotten", ("relu", "leaky_relu"), "the gradient passes where x < 0", gradient=_x(lambda c: 1.0)),
    Mistake(
        "slope ignored",
        ("leaky_relu",),
        "the gradient is 0 where x < 0; it is the slope",
        gradient=_x(lambda c: c["x"] > 0),
    ),
    Mistake(
        "clamp not masked", ("clip",), "the gradient passes where x is outside the bounds", gradient=_x(lambda c: 1.0)
    ),
    Mistake("mask inverted", ("clip",), "the gradient passes outside the bounds, not inside", gradient=_x(_outside)),
    Mistake("sign forgotten", ("abs",), "the gradient is gy; it is gy sign(x)", gradient=_x(lambda c: 1.0)),
    Mistake("square forgotten", ("tanh",), "the derivative is 1 − y; it is 1 − y²", gradient=_x(lambda c: 1 - c.y)),
    Mistake(
        "input taken for the output",
        ("tanh",),
        "the derivative is 1 − x²; it is 1 − y²",
        gradient=_x(lambda c: 1 - c["x"] ** 2),
    ),
    Mistake("1 − y forgotten", ("sigmoid",), "the derivative is y; it is y (1 − y)", gradient=_x(lambda c: c.y)),
    Mistake(
        "input taken for the output",
        ("sigmoid",),
        "the derivative is x (1 − x); it is y (1 − y)",
        gradient=_x(lambda c: c["x"] * (1 - c["x"])),
    ),
    Mistake(
        "output taken for the input",
        ("sigmoid",),
        "the derivative is σ(y) (1 − σ(y)); it is y (1 − y)",
        gradient=_x(lambda c: _sigmoid(c.y) * (1 - _sigmoid(c.y))),
    ),
    Mistake(
        "product rule forgotten",
        ("silu",),
        "the derivative is σ(x); x σ′(x) is missing",
        gradient=_x(lambda c: _sigmoid(c["x"])),
    ),
    Mistake(
        "product rule forgotten",
        ("gelu",),
        "the derivative is Φ(x); x φ(x) is missing",
        gradient=_x(lambda c: _cdf(c["x"]) if c["approximate"] == "none" else np.nan),
    ),
    Mistake("β in the gradient", ("softplus",), "the gradient is that of beta=1", gradient=lambda c: c.pull(beta=1.0)),
    Mistake(
        "β in the gradient",
        ("softplus",),
        "the gradient is multiplied by β; the β of the exponent cancels the divisor",
        gradient=_x(lambda c: c["beta"] * _sigmoid(c["beta"] * c["x"])),
    ),
    Mistake(
        "root forgotten", ("sqrt",), "the derivative is 1/2x; it is 1/2√x", gradient=_x(lambda c: 1 / (2 * c["x"]))
    ),
    Mistake(
        "derivative of the other",
        ("exp", "log"),
        "the derivatives of exp and log are taken for each other",
        gradient=_x(lambda c: 1 / c["x"] if c.case.name == "exp" else np.exp(c["x"])),
    ),
    Mistake(
        "own factor instead of the other",
        ("mul",),
        "ga = gy b and gb = gy a; here each is multiplied by itself",
        gradient=_both(lambda c: (c["a"], c["b"])),
    ),
    Mistake(
        "sign",
        ("sub", "div"),
        "the second gradient lacks its minus sign",
        gradient=lambda c: {"a": c.pull()["a"], "b": -c.pull()["b"]},
    ),
    Mistake(
        "square forgotten",
        ("div",),
        "the gradient of b is −gy a/b; it is −gy a/b²",
        gradient=_both(lambda c: (1 / c["b"], -c["a"] / c["b"])),
    ),
    Mistake(
        "exponent forgotten",
        ("pow",),
        "the gradient of a is gy a^(b−1); the factor b is missing",
        gradient=_both(lambda c: (c["a"] ** (c["b"] - 1), c.y * np.log(c["a"]))),
    ),
    Mistake(
        "logarithm forgotten",
        ("pow",),
        "the gradient of b is gy y; the factor ln a is missing",
        gradient=_both(lambda c: (c["b"] * c["a"] ** (c["b"] - 1), c.y)),
    ),
    Mistake(
        "given to both",
        ("maximum", "minimum", "where"),
        "both inputs get the whole cotangent",
        gradient=_both(lambda c: (1.0, 1.0)),
    ),
    Mistake(
        "branches swapped",
        ("maximum", "minimum"),
        "the smaller and the greater get each other's gradient",
        gradient=_both(
            lambda c: (
                ((c["a"] < c["b"]), (c["a"] > c["b"]))
                if c.case.name == "maximum"
                else ((c["a"] > c["b"]), (c["a"] < c["b"]))
            )
        ),
    ),
    Mistake(
        "branches swapped",
        ("where",),
        "a gets the gradient where the condition does not hold",
        gradient=_both(lambda c: (~c["condition"], c["condition"])),
    ),
    Mistake(
        "not summed over broadcast axes",
        ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "where"),
        "the gradient is that of one of the places an element was broadcast to; it is their sum",
        gradient=lambda c: _of_one_place(c, 0),
    ),
    Mistake(
        "not summed over broadcast axes",
        ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "where"),
        "the gradient is averaged over the places an element was broadcast to; it is their sum",
        gradient=lambda c: {n: g * g.size / max(c.gy.size, 1) for n, g in c.pull().items()},
    ),
]


def _of_one_place(c: Call, at: int) -> Gradients:
    """Each input's gradient from the first place alone along its broadcast axes."""
    found = {}
    for name in "ab":
        shape = (1,) * (c.gy.ndim - c[name].ndim) + c[name].shape
        gy = np.zeros_like(c.gy)
        here = tuple(slice(at, at + 1) if n == 1 else slice(None) for n in shape)
        gy[here] = c.gy[here]
        found[name] = c.pull(gy)[name]
    return found
