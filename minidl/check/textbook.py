r"""What the textbook's formula loses where ours does not: differences of squares.

The bound of a call rests on the result's sensitivity to the inputs.  Two ops are as a rule written with a difference
that cancels, and an implementation that follows the paper is right to err by what that costs:

    local Gaussian pooling    v = E[x²] - μ²,  s = √max(v, ε)                                                 (1)
    statistical rotation      R = |x|²|w|² - z²                                                               (2)

With q = E[x²] rounding of (1) moves v by (q + μ²) u and s by q/s u at most; its gradient 2x gv - 2μ gv, gv = η gy/2s,
cancels as well.  So M and Mg grow, where v > ε, by

    ΔM   = |η| q/s                                                                                            (3)
    ΔMgx = Σ_w |gy η|/(P s) (|x| + |μ|) (1 + q/s²),        ΔMgη = Σ |gy| q/s                                  (4)

and with A = |x|², B = |w|², e′ the scaled noise, gR = |gy e′|/2√R, rounding of (2) moves R by 2 A B u:

    ΔM   = |e′| A B/√R                                                                                        (5)
    ΔMgx = Σ_k gR (A B/R) 2 (|z||w| + |x| B),   ΔMgw alike                                                    (6)
"""

from __future__ import annotations

import math

import numpy as np

from minidl.check.spec.case import Sample
from minidl.check.truth import Truth, forward, pull_back
from minidl.kernels import use_kernels
from minidl.ops._broadcast import sum_to

OPS = ("gaussian_pool2d", "stat_rot_linear")


def output_size(truth: Truth) -> np.ndarray:
    """ΔM of (3) or (5)."""
    with use_kernels("array"):
        if truth.case.name == "gaussian_pool2d":
            _, q, s, alive = _moments(truth)
            eta = truth.sample.inputs[1]
            assert eta is not None
            return alive * np.abs(eta) * q / s
        a, b, _, root, scaled = _products(truth)
        return np.abs(scaled) * a * b / root


def gradient_size(truth: Truth, i: int, gy: np.ndarray) -> np.ndarray:
    """ΔMg of (4) or (6) for input i."""
    with use_kernels("array"):
        return (_of_pooling if truth.case.name == "gaussian_pool2d" else _of_rotation)(truth, i, np.abs(gy))


def _moments(truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """μ, q, s, and where v > ε."""
    (x, eta), params = truth.sample.inputs, truth.sample.params
    assert x is not None and eta is not None
    flat = np.zeros_like(eta)
    mean, q = (forward(truth.case, (a, flat), params) for a in (x, x * x))
    s = forward(truth.case, (x, np.ones_like(eta)), params) - mean
    return mean, q, s, s * s > params.get("eps", 1e-6) * (1 + 1e-9)


def _of_pooling(truth: Truth, i: int, gy: np.ndarray) -> np.ndarray:
    (x, eta), params = truth.sample.inputs, truth.sample.params
    assert x is not None and eta is not None
    mean, q, s, alive = _moments(truth)
    if i == 1:
        return np.asarray(sum_to(alive * gy * q / s, eta.shape))
    weight = alive * gy * np.abs(eta) / s * (1 + q / (s * s))

    def spread(g: np.ndarray) -> np.ndarray:
        """Σ over the windows of a sample, each over its P."""
        found = pull_back(truth.case, Sample((x, np.zeros_like(eta))).inputs, params, g, [0])[1][0]
        assert found is not None
        return found

    return np.abs(x) * spread(weight) + spread(weight * np.abs(mean))


def _products(truth: Truth) -> tuple[np.ndarray, ...]:
    """A, B, z, √R and e′ sin α, as (2) and the op have them."""
    x, w, noise = truth.sample.inputs
    assert x is not None and w is not None and noise is not None
    z = x @ w.T
    a, b = (x * x).sum(axis=1, keepdims=True), (w * w).sum(axis=1)
    root = np.sqrt(np.maximum(a * b - z * z, 1e-300))
    angle = truth.sample.params.get("angle", math.pi / 4)
    return a, b, z, root, noise * math.sin(angle) / math.sqrt(min(w.shape) - 1)


def _of_rotation(truth: Truth, i: int, gy: np.ndarray) -> np.ndarray:
    x, w, _ = truth.sample.inputs
    assert x is not None and w is not None
    a, b, z, root, scaled = _products(truth)
    gr = gy * np.abs(scaled) / (2 * root) * a * b / (root * root)
    if i == 0:
        return 2 * ((gr * np.abs(z)) @ np.abs(w) + np.abs(x) * (gr @ b)[:, None])
    return 2 * ((gr * np.abs(z)).T @ np.abs(x) + np.abs(w) * (gr.T @ a))
