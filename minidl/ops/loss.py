r"""Losses.

Every loss is computed for each element (or row) i, ℓ_i, and then reduced with divisor D, the number of ℓ_i unless
stated otherwise; gL is the cotangent of what is returned.

    none  L_i = ℓ_i          sum  L = Σ ℓ_i          mean  L = Σ ℓ_i / D                   (1)
          gℓ_i = gL_i             gℓ_i = gL               gℓ_i = gL / D                    (2)

Cross-entropy of logits z, rows i (the batch and any axes after the classes), classes c of C.  q is the target, one-hot
for a label; w the class weights, s the label smoothing, k_i = 0 for a row that is ignored and 1 otherwise:

    log p = log softmax(z) over c                                                          (3)
    t_ic  = k_i w_c [(1 - s) q_ic + s/C]                                                   (4)
    ℓ_i   = -Σ_c t_ic log p_ic                                                             (5)
    D     = Σ_ic k_i w_c q_ic   for labels; the number of rows for probabilities           (6)
    gz_ic = gℓ_i [p_ic Σ_k t_ik - t_ic]                                                    (7)
    gq_ic = -gℓ_i k_i w_c (1 - s) log p_ic                                                 (8)

(7) is (4) of softmax.py with gℓ ← -gℓ_i t_ic.  Unweighted, Σ_k t_ik = 1 and it is the well known p - t.

Squared error:

    ℓ  = (x - t)²                                                                          (9)
    gx = 2 gℓ (x - t) = -gt                                                               (10)

Binary cross-entropy -w [p t log σ(x) + (1 - t) log(1 - σ(x))] of a logit x, target t, weight w, weight p of the
positive class.  -log σ(x) = softplus(-x) and -log(1 - σ(x)) = softplus(x), which keep their digits where σ rounds to 0
or 1:

    softplus(±x) = max(±x, 0) + log(1 + e),   e = exp(-|x|)                               (11)
    ℓ  = w [(1 - t) softplus(x) + p t softplus(-x)]                                       (12)
    gx = gℓ w [(1 - t) σ(x) - p t σ(-x)],   σ(±x) = {1 if ±x ≥ 0, e otherwise} / (1 + e)  (13)
    gt = gℓ w [p softplus(-x) - softplus(x)]                                              (14)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array, asnumpy, get_array_module
from minidl.ops import _check

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "mse_loss"]

REDUCTIONS = ("mean", "sum", "none")


class Loss(Function):
    """What the losses share: their reduction."""

    def reduce(self, losses: Array, reduction: str, divisor: Array | int) -> Array:
        self.divisor = divisor if reduction == "mean" else 1
        return losses if reduction == "none" else losses.sum() / self.divisor  # (1)

    def unreduce(self, gy: Array) -> Array:
        return gy / self.divisor  # (2)


class CrossEntropy(Loss):
    """ℓ = -Σ t log softmax(z); see (3)-(8).  `kept` is k, with an axis of length 1 for c, or None for probabilities."""

    def forward(
        self,
        z: Array,
        q: Array,
        weight: Array | None,
        *,
        kept: Array | None,
        axis: int,
        label_smoothing: float,
        reduction: str,
    ) -> Array:
        xp, self.axis, self.smoothing = self.xp, axis, label_smoothing
        columns = (-1, *(1,) * (z.ndim - axis - 1))
        self.weight = xp.ones_like(q) if weight is None else weight.reshape(columns)  # (C,) → (C, 1, …)
        if kept is not None:
            self.weight = kept * self.weight  # k_i w_c
        self.t = self.weight * ((1 - label_smoothing) * q + label_smoothing / z.shape[axis])  # (4)
        losses, self.logp = self.kernels.cross_entropy(z, self.t, axis)  # (3), (5)
        return self.reduce(losses, reduction, losses.size if kept is None else (self.weight * q).sum())  # (6)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gz, needs_gq, _ = self.needs_grad
        gl = self.unreduce(gy)
        gl = gl if gl.ndim == 0 else self.xp.expand_dims(gl, self.axis)  # (rows) → (rows, with 1 for c)
        gz = gq = None
        if needs_gz:
            gz = self.kernels.cross_entropy_adjoint(gl, self.logp, self.t, self.axis)  # (7)
        if needs_gq:
            gq = -gl * self.weight * (1 - self.smoothing) * self.logp  # (8)
        return gz, gq, None


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of softmax(logits), as in `torch.nn.functional.cross_entropy`.

    Args:
        logits: shape (N, C), (C,) or (N, C, d1, …); the classes are axis 1, or 0 of a single row.
        target: integer labels in [0, C), the shape of `logits` without its classes; or probabilities, the shape of
            `logits`.  Gradients flow to probabilities given as a Tensor that requires them.
        weight: weight of each class, shape (C,), a constant.
        ignore_index: rows with this label add nothing to the loss, the gradient or the mean's divisor.
        reduction: "mean", "sum" or "none".  The mean divides by the total weight of the labels that are not ignored;
            for probabilities, by the number of rows.
        label_smoothing: s in [0, 1]: the target becomes (1 - s) target + s/C.

    Returns:
        Tensor of shape (), or of the labels' shape if `reduction` is "none".

    Raises:
        ValueError: a label is outside [0, C) (the message names the first and its row), every label is ignored (the
            mean would be 0/0), a probability is negative or NaN, the batch is empty, a shape does not fit, or an
            argument is out of its range.
        TypeError: `target` is neither integers nor floating point.

    Labels that live on a GPU are read back to be checked; labels in NumPy's memory cost no such wait.

    Example:
        >>> cross_entropy([[0.0, 0.0], [0.0, 0.0]], [0, 1]).item()  # log 2
        0.6931471824645996
        >>> cross_entropy([[0.0, 0.0]], [2])
        Traceback (most recent call last):
        ValueError: cross_entropy: labels must be in [0, 2), got 2 at row 0
    """
    z = as_tensor(logits)
    weight = None if weight is None else as_tensor(weight, z)
    _check_loss("cross_entropy", z, reduction)
    if z.ndim == 0:
        raise ValueError("cross_entropy: logits must have shape (N, C), (C,) or (N, C, …), got ()")
    axis = min(1, z.ndim - 1)
    if weight is not None and weight.shape != (z.shape[axis],):
        raise ValueError(f"cross_entropy: weight must have shape ({z.shape[axis]},), got {weight.shape}")
    label_smoothing = _check.number("cross_entropy", "label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing!r}")
    kept = None
    if isinstance(target, Tensor) or get_array_module(target).asarray(target).dtype.kind == "f":
        q = _probabilities(z, target, axis, ignore_index)
    else:
        q, kept = _one_hot(z, target, axis, ignore_index, reduction)
    return CrossEntropy.apply(z, q, weight, kept=kept, axis=axis, label_smoothing=label_smoothing, reduction=reduction)


def _probabilities(z: Tensor, target: Any, axis: int, ignore_index: int) -> Tensor:
    """Soft targets as a Tensor."""
    q = as_tensor(target, z)
    if q.shape != z.shape:
        rows = z.shape[:axis] + z.shape[axis + 1 :]
        raise ValueError(
            f"cross_entropy: target must be integers of shape {rows} or probabilities of shape {z.shape}, "
            f"got {q.dtype} of shape {q.shape}"
        )
    _check.not_negative("cross_entropy", "target", q)
    if ignore_index >= 0:
        raise ValueError(f"cross_entropy: ignore_index needs integer labels, got ignore_index={ignore_index}")
    return q


def _one_hot(z: Tensor, target: Any, axis: int, ignore_index: int, reduction: str) -> tuple[Tensor, Array]:
    """q and k of (4) for integer labels, once they are known to be classes."""
    classes, rows = z.shape[axis], z.shape[:axis] + z.shape[axis + 1 :]
    labels = asnumpy(_check.integers("cross_entropy", "target", target, rows))
    kept = labels != ignore_index
    wrong = np.argwhere(kept & ((labels < 0) | (labels >= classes)))
    if len(wrong):
        at = tuple(wrong[0].tolist())
        row = f" at row {at[0] if len(at) == 1 else at}" if at else ""
        raise ValueError(f"cross_entropy: labels must be in [0, {classes}), got {labels[at]}{row}")
    if reduction == "mean" and not kept.any():
        raise ValueError(f"cross_entropy: every label is ignore_index={ignore_index}, so there is nothing to average")
    xp, dtype = get_array_module(z.data), z.data.real.dtype
    column = xp.arange(classes).reshape(-1, *(1,) * (z.ndim - axis - 1))  # (C, 1, …)
    q = xp.expand_dims(xp.asarray(labels), axis) == column  # (rows, with 1 for c) → z's shape
    return Tensor(q.astype(dtype)), xp.expand_dims(xp.asarray(kept), axis).astype(dtype)


class SquaredError(Loss):
    """ℓ = (x - t)²; see (9), (10)."""

    def forward(self, x: Array, target: Array, *, reduction: str) -> Array:
        self.difference = x - target
        return self.reduce(self.difference * self.difference, reduction, x.size)  # (9)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gt = self.needs_grad
        gx = 2 * self.unreduce(gy) * self.difference  # (10)
        return gx if needs_gx else None, -gx if needs_gt else None


def mse_loss(x: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Squared error (x - target)², as in `torch.nn.functional.mse_loss`.

    Args:
        x: any shape.
        target: the shape of x: a broadcast would hide a forgotten axis.  Gradients flow to it too.
        reduction: "mean" over all elements, "sum" or "none".

    Returns:
        Tensor of shape (), or of x's shape if `reduction` is "none".

    Raises:
        ValueError: the shapes differ, x is empty, or `reduction` is not one of the three.

    Example:
        >>> mse_loss([1.0, 2.0], [1.0, 4.0]).item()
        2.0
    """
    x = as_tensor(x)
    target = as_tensor(target, x)
    _check_loss("mse_loss", x, reduction, target)
    return SquaredError.apply(x, target, reduction=reduction)


class BinaryCrossEntropy(Loss):
    """ℓ = w [(1 - t) softplus(x) + p t softplus(-x)]; see (11)-(14)."""

    def forward(
        self, x: Array, target: Array, weight: Array | None, pos_weight: Array | None, *, reduction: str
    ) -> Array:
        xp, self.target = self.xp, target
        self.weight, self.pos_weight = 1 if weight is None else weight, 1 if pos_weight is None else pos_weight
        self.positive = x.real >= 0
        self.e = xp.exp(xp.where(self.positive, -x, x))  # analytic on both sides of 0, as |x| is not
        log = xp.log1p(self.e)
        self.softplus = xp.where(self.positive, x, 0) + log  # (11)
        self.softplus_minus = xp.where(self.positive, 0, -x) + log  # (11)
        losses = (1 - target) * self.softplus + self.pos_weight * target * self.softplus_minus  # (12)
        return self.reduce(self.weight * losses, reduction, x.size)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gt, _, _ = self.needs_grad
        gl = self.unreduce(gy) * self.weight
        gx = gt = None
        if needs_gx:
            large, small = 1 / (1 + self.e), self.e / (1 + self.e)  # σ(|x|), σ(-|x|)
            sigmoid = self.xp.where(self.positive, large, small)
            sigmoid_minus = self.xp.where(self.positive, small, large)
            gx = gl * ((1 - self.target) * sigmoid - self.pos_weight * self.target * sigmoid_minus)  # (13)
        if needs_gt:
            gt = gl * (self.pos_weight * self.softplus_minus - self.softplus)  # (14)
        return gx, gt, None, None


def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, pos_weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of σ(x) and `target`, as in `torch.nn.functional.binary_cross_entropy_with_logits`.

    Args:
        x: logits, any shape.
        target: probability of the positive class, the shape of x.  Gradients flow to it too.
        weight: factor of each loss, a constant that broadcasts to x's shape.
        pos_weight: factor of the positive term, likewise; above 1 it buys recall, below 1 precision.
        reduction: "mean" over all elements, "sum" or "none".

    Returns:
        Tensor of shape (), or of x's shape if `reduction` is "none".

    Raises:
        ValueError: the shapes do not fit, x is empty, or `reduction` is not one of the three.

    Example:
        >>> binary_cross_entropy_with_logits([0.0, 1000.0], [1.0, 1.0], reduction="none").data.round(4)
        array([0.6931, 0.    ], dtype=float32)
    """
    x = as_tensor(x)
    target = as_tensor(target, x)
    factors = {"weight": weight, "pos_weight": pos_weight}
    given = {name: None if value is None else as_tensor(value, x) for name, value in factors.items()}
    _check_loss("binary_cross_entropy_with_logits", x, reduction, target)
    for name, value in given.items():
        if value is not None:
            _check.broadcasts_to("binary_cross_entropy_with_logits", name, value.shape, x.shape)
    return BinaryCrossEntropy.apply(x, target, given["weight"], given["pos_weight"], reduction=reduction)


def _check_loss(op: str, x: Tensor, reduction: str, target: Tensor | None = None) -> None:
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    if x.size == 0:
        raise ValueError(f"{op}: the batch must not be empty, got shape {x.shape}")
    if target is not None and target.shape != x.shape:
        raise ValueError(f"{op}: target must have x's shape {x.shape}, got {target.shape}")
