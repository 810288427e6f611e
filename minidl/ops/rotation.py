r"""Statistical rotation: logits of a classifier whose features are turned by a fixed angle in a random direction.

Turn x by α towards a direction u, uniform among the unit vectors orthogonal to x:  x′ = x cos α + |x| u sin α.  Then
w·x′ = z cos α + |x| w·u sin α with z = w·x, and w·u has mean 0 and variance |w⊥|²/(D − 1), w⊥ the part of w orthogonal
to x.  So the logit varies as (2) does, without any rotation; the Gaussian e stands for the exact law, independent
from class to class, and D′ = min(D, K) for D.  With x (N, D), W (K, D), e (N, K) of variance 1:

    Z = x Wᵀ,    A_n = |x_n|²,    B_k = |w_k|²,    R = A Bᵀ − Z²                             (1)
    z̃ = z cos α + e √R sin α / √(D′ − 1)                                                     (2)
    gR  = [R > 0] gz̃ e sin α / (2 √R √(D′ − 1))                                              (3)
    gz  = gz̃ cos α − 2 z gR                                                                  (4)
    gx_n = Σ_k gz_nk w_k + 2 x_n Σ_k gR_nk B_k                                               (5)
    gw_k = Σ_n gz_nk x_n + 2 w_k Σ_n gR_nk A_n                                               (6)

R is |x|²|w⊥|² ≥ 0, but rounding makes it negative where x and w are parallel: the root is taken of max(R, 0), and
there (3) is 0.  At evaluation the logits are Z, without cos α.

Source: T. Kobayashi, "Rotation regularization without rotation", ECCV 2022.
"""

from __future__ import annotations

import math
from typing import Any

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops import _check

__all__ = ["stat_rot_linear"]


class StatRotLinear(Function):
    """z̃ = z cos α + e √R sin α / √(D′ − 1); see (1)-(6)."""

    def forward(self, x: Array, weight: Array, noise: Array, *, angle: float) -> Array:
        xp = self.xp
        self.x, self.weight = x, weight
        self.cos = math.cos(angle)
        self.noise = noise * (math.sin(angle) / math.sqrt(min(weight.shape) - 1))  # e sin α / √(D′ − 1)
        self.z = x @ weight.T  # (1)  (N,D)(D,K)
        self.a, self.b = (x * x).sum(axis=1, keepdims=True), (weight * weight).sum(axis=1)  # (N,1), (K,)
        r = self.a * self.b - self.z * self.z
        self.alive = r.real > 0
        self.root = xp.sqrt(xp.where(self.alive, r, 0))
        return self.cos * self.z + self.noise * self.root  # (2)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        xp, x, w = self.xp, self.x, self.weight
        needs_gx, needs_gw, _ = self.needs_grad
        gr = self.alive * (gy * self.noise / (2 * xp.where(self.alive, self.root, 1)))  # (3)
        gz = self.cos * gy - 2 * self.z * gr  # (4)
        gx = gz @ w + 2 * x * (gr @ self.b)[:, None] if needs_gx else None  # (5)
        gw = gz.T @ x + 2 * w * (gr.T @ self.a) if needs_gw else None  # (6)
        return gx, gw, None


def stat_rot_linear(x: Any, weight: Any, noise: Any, angle: float = math.pi / 4) -> Tensor:
    """Logits x Wᵀ as they vary when x is turned by `angle` in a random direction; for training only.

    Args:
        x: features, shape (N, D).
        weight: shape (K, D), a row a class, K ≥ 2 and D ≥ 2.
        noise: e, standard normal, shape (N, K); a constant.  It is divided by √(min(D, K) − 1) here.
        angle: α in radians; 0 gives the plain linear layer.

    Returns:
        Tensor of shape (N, K).  A bias, if any, is added afterwards.  Scaling x scales the logits alike.

    Raises:
        ValueError: the shapes do not fit, K or D is 1, or `angle` is no finite number.

    Example:
        >>> stat_rot_linear([[3.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]], angle=math.pi / 2).data.round(4)
        array([[0., 3.]], dtype=float32)
    """
    x = as_tensor(x)
    weight, noise = as_tensor(weight, like=x), as_tensor(noise, like=x)
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"stat_rot_linear: x (N, D) and weight (K, D) must share D, got {x.shape} and {weight.shape}")
    if min(weight.shape) < 2:
        raise ValueError(f"stat_rot_linear: weight (K, D) must have K >= 2 and D >= 2, got {weight.shape}")
    if noise.shape != (len(x), len(weight)):
        raise ValueError(f"stat_rot_linear: noise must have shape {(len(x), len(weight))}, got {noise.shape}")
    angle = _check.number("stat_rot_linear", "angle", angle)
    if math.isinf(angle):
        raise ValueError(f"stat_rot_linear: angle must be finite, got {angle}")
    return StatRotLinear.apply(x, weight, noise, angle=angle)
