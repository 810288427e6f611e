r"""Matrix products.

Matrix product, leading axes broadcast (… is a batch).  With A (…, M, K), B (…, K, N), gy = ∂L/∂Y (…, M, N):

    Y  = A B                                                            (1)
    gA = gy Bᵀ,   summed over A's broadcast axes                        (2)
    gB = Aᵀ gy,   summed over B's broadcast axes                        (3)

Linear layer.  With x (…, K), W (O, K), b (O,), rows flattened to M = Π(…):

    y  = x Wᵀ + b                                                       (4)
    gx = gy W                                                           (5)
    gW = gyᵀ x,   summed over the M rows                                (6)
    gb = Σ_m gy_m                                                       (7)

(2), (3): L changes by ⟨gy, dA B + A dB⟩ = ⟨gy Bᵀ, dA⟩ + ⟨Aᵀ gy, dB⟩.
"""

from __future__ import annotations

from typing import Any

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.ops._broadcast import sum_to

__all__ = ["linear", "matmul"]


class MatMul(Function):
    """Y = A B; see (1)-(3)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return a @ b  # (1)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_ga, needs_gb = self.needs_grad
        ga = sum_to(gy @ self.b.swapaxes(-1, -2), self.a.shape) if needs_ga else None  # (2)  (…,M,N)(…,N,K)
        gb = sum_to(self.a.swapaxes(-1, -2) @ gy, self.b.shape) if needs_gb else None  # (3)  (…,K,M)(…,M,N)
        return ga, gb


def matmul(a: Any, b: Any) -> Tensor:
    """Matrix product of the last two axes, the axes before them broadcast.

    Args:
        a: shape (…, M, K).
        b: shape (…, K, N), same dtype.

    Returns:
        Tensor of shape (…, M, N).

    Raises:
        ValueError: fewer than two axes, or the inner lengths differ.

    Example:
        >>> matmul([[1.0, 2.0]], [[3.0], [4.0]]).data
        array([[11.]], dtype=float32)
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes must be (…, M, K) and (…, K, N), got {a.shape} and {b.shape}")
    return MatMul.apply(a, b)


class Linear(Function):
    """y = x Wᵀ + b; see (4)-(7)."""

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        self.x, self.weight = x, weight
        y = x @ weight.T  # (4)  (…,K)(K,O)
        return y if bias is None else y + bias

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gw, needs_gb = self.needs_grad
        rows = gy.reshape(-1, gy.shape[-1])  # (…,O) → (M,O)
        gx = gy @ self.weight if needs_gx else None  # (5)
        gw = rows.T @ self.x.reshape(-1, self.x.shape[-1]) if needs_gw else None  # (6)  (O,M)(M,K)
        gb = rows.sum(axis=0) if needs_gb else None  # (7)
        return gx, gw, gb


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """Affine map of the last axis, as in `torch.nn.functional.linear`.

    Args:
        x: shape (…, K).
        weight: shape (O, K).
        bias: shape (O,), or None.

    Returns:
        Tensor of shape (…, O).

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> linear([[1.0, 2.0]], [[3.0, 4.0]], [0.5]).data
        array([[11.5]], dtype=float32)
    """
    x, weight = as_tensor(x), as_tensor(weight)
    bias = None if bias is None else as_tensor(bias)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x (…, K) and weight (O, K) must share K, got {x.shape} and {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias must have shape {weight.shape[:1]}, got {bias.shape}")
    return Linear.apply(x, weight, bias)
