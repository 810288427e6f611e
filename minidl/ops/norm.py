r"""Normalisation: batch, layer and group norm.

Batch normalisation (Ioffe & Szegedy 2015).  x has shape (N, C, …); sums run over the M = N·Π(…) values of one
channel, and every quantity below but x, y, gx, gy is one number a channel:

    μ  = Σ x / M                                                        (1)
    v  = Σ (x - μ)² / M                                                 (2)
    r  = 1 / √(v + ε)                                                   (3)
    y  = γ r (x - μ) + β                                                (4)
    gβ = Σ gy                                                           (5)
    gγ = r Σ gy (x - μ)                                                 (6)
    gx = γ r [gy - gβ/M - (x - μ) r gγ/M]                               (7)

Evaluation puts running estimates, which are constants, in place of μ and v.  Then (3)-(6) stay and

    gx = γ r gy                                                         (8)

Training moves the estimates towards the batch, the variance in its unbiased form:

    running_mean ← (1 - m) running_mean + m μ                           (9)
    running_var  ← (1 - m) running_var  + m v M/(M - 1)                 (10)

Where a relu follows at once, one pass serves both: of y as (4) gives it,

    y ← max(y, 0),   and gy [y > 0] stands for gy in (5)-(8)            (15)

(7): (1)-(3) make μ and r functions of x.  With x̂ = r (x - μ), dx̂ = r [dx - Σ dx/M - x̂ Σ x̂ dx/M], a symmetric
map of dx; so it is its own adjoint, and gx is that map applied to gx̂ = γ gy.

Layer norm (Ba et al. 2016) and group norm (Wu & He 2018) standardise over other axes: the K values of the trailing
axes of one sample, or of one group of its channels.  With Σ over those axes,

    x̂  = r (x - Σ x/K),   r = 1 / √(Σ (x - Σ x/K)²/K + ε)               (11)
    y  = γ x̂ + β                                                        (12)
    gβ = Σ gy,   gγ = Σ gy x̂,   over all axes γ is broadcast along      (13)
    gx = r [gx̂ - Σ gx̂/K - x̂ Σ gx̂ x̂/K],   gx̂ = γ gy                      (14)
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from minidl.autograd import Function, Tensor, as_tensor
from minidl.device import Array
from minidl.guards import one_dtype
from minidl.ops import _check

__all__ = ["batch_norm", "group_norm", "layer_norm"]


class BatchNorm(Function):
    """y = γ r (x - μ) + β with the statistics of the batch; see (1)-(7), (15)."""

    def forward(self, x: Array, weight: Array | None, bias: Array | None, *, eps: float, relu: bool) -> Array:
        self.x, self.weight = x, self.xp.ones(x.shape[1], x.dtype) if weight is None else weight
        bias = self.xp.zeros(x.shape[1], x.dtype) if bias is None else bias
        y, self.mean, self.var = self.kernels.batch_norm(x, self.weight, bias, eps, relu)  # (1), (2), (4), (15)
        self.r = self.kernels.inverse_root(self.var, eps)  # (3)
        self.cut = y if relu else None
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gw, needs_gb = self.needs_grad
        gx = None
        if needs_gx:
            gx, gw, gb = self.kernels.batch_norm_adjoint(
                gy, self.x, self.mean, self.r, self.weight, self.cut
            )  # (5)-(7), (15)
        else:
            gy = gy if self.cut is None else self.kernels.relu_adjoint(gy, self.cut)  # (15)
            gb, product = self.kernels.channel_products(gy, self.x, self.mean)  # (5)
            gw = self.r * product  # (6)
        return gx, gw if needs_gw else None, gb if needs_gb else None


class FixedNorm(Function):
    """y = γ r (x - μ) + β with given statistics; see (3)-(6), (8), (15)."""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, mean: Array, var: Array, eps: float, relu: bool
    ) -> Array:
        self.x, self.mean = x, mean
        self.r = self.kernels.inverse_root(var, eps)  # (3)
        self.scale = self.r if weight is None else weight * self.r
        shift = self.xp.zeros_like(self.r) if bias is None else bias
        y = self.kernels.channel_affine(x, mean, self.scale, shift, relu)  # (4), (15)
        self.cut = y if relu else None
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gw, needs_gb = self.needs_grad
        gy = gy if self.cut is None else self.kernels.relu_adjoint(gy, self.cut)  # (15)
        gx = (gy * _column(self.scale, gy.ndim)).astype(gy.dtype, copy=False) if needs_gx else None  # (8)
        if not (needs_gw or needs_gb):
            return gx, None, None
        gb, product = self.kernels.channel_products(gy, self.x, self.mean)  # (5)
        gw = self.r * product  # (6)
        return gx, gw if needs_gw else None, gb if needs_gb else None


def batch_norm(
    x: Any,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> Tensor:
    """Normalise each channel to mean `bias` and standard deviation `weight`, as in `torch.nn.functional.batch_norm`.

    Args:
        x: shape (N, C), (N, C, L), (N, C, H, W) or with further axes.
        running_mean, running_var: Tensors of shape (C,) without requires_grad, or None.  Training updates them by
            (9), (10), assigning `.data`; evaluation normalises by them.
        weight, bias: γ and β, shape (C,); None stands for 1 and 0.
        training: normalise by the batch's own mean and (biased) variance, and differentiate through them.
        momentum: weight of the batch in the running estimates, in [0, 1].
        eps: added to the variance, > 0.
        relu: whether `relu` is applied to the result, in the same pass; not a bit differs from calling it after.

    Returns:
        Tensor of x's shape.

    Raises:
        ValueError: the shapes do not fit; training with a single value a channel, which would leave nothing but β
            (use a larger batch, or `training=False`); evaluation without running statistics; the batch is empty.
        TypeError: training with running statistics that are not Tensors, so that there is nothing to update.

    Example:
        >>> mean, var = Tensor([0.0]), Tensor([1.0])
        >>> batch_norm([[1.0], [3.0]], mean, var, training=True).data.round(3)
        array([[-1.],
               [ 1.]], dtype=float32)
        >>> mean.data, var.data  # 0.9·0 + 0.1·2, 0.9·1 + 0.1·2
        (array([0.2], dtype=float32), array([1.1], dtype=float32))
    """
    x, momentum, eps = as_tensor(x), _check.number("batch_norm", "momentum", momentum), _eps("batch_norm", eps)
    mean, var = _running("running_mean", running_mean, training), _running("running_var", running_var, training)
    weight, bias = _optional(weight, x), _optional(bias, x)
    _check_batch_norm(x, training, momentum, running_mean=mean, running_var=var, weight=weight, bias=bias)
    if not training and mean is not None and var is not None:
        return FixedNorm.apply(x, weight, bias, mean=mean.data, var=var.data, eps=eps, relu=bool(relu))
    fn = BatchNorm()
    y = fn(x, weight, bias, eps=eps, relu=bool(relu))
    if mean is not None and var is not None:
        m, weighted_sum = x.size // x.shape[1], fn.kernels.weighted_sum
        mean.data = weighted_sum(1 - momentum, mean.data, momentum, fn.mean)  # (9)
        var.data = weighted_sum(1 - momentum, var.data, momentum * m / (m - 1), fn.var)  # (10)
    return y


class LayerNorm(Function):
    """y = γ x̂ + β, standardised over the trailing `axes` axes; see (11)-(14)."""

    def forward(self, x: Array, weight: Array | None, bias: Array | None, *, axes: int, eps: float) -> Array:
        self.axes = tuple(range(-axes, 0))
        self.weight = weight
        self.xh, self.r = _standardise(self.xp, x, self.axes, eps)  # (11)
        y = self.xh if weight is None else weight * self.xh  # (12)
        return y if bias is None else y + bias

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gw, needs_gb = self.needs_grad
        lead = tuple(range(gy.ndim - len(self.axes)))
        gb = gy.sum(axis=lead) if needs_gb else None  # (13)
        gw = (gy * self.xh).sum(axis=lead) if needs_gw else None  # (13)
        gxh = gy if self.weight is None else self.weight * gy
        gx = _standardise_adjoint(gxh, self.xh, self.r, self.axes) if needs_gx else None  # (14)
        return gx, gw, gb


def layer_norm(
    x: Any, weight: Any = None, bias: Any = None, *, normalized_shape: int | tuple[int, ...], eps: float = 1e-5
) -> Tensor:
    """Standardise the trailing axes of each sample, as in `torch.nn.functional.layer_norm`.

    Args:
        x: shape (…, *normalized_shape).
        weight, bias: γ and β, shape `normalized_shape`; None stands for 1 and 0.
        normalized_shape: lengths of the axes normalised together; an integer stands for the last axis.
        eps: added to the variance, > 0.

    Returns:
        Tensor of x's shape.

    Raises:
        ValueError: the shapes do not fit, or x is empty.

    Example:
        >>> layer_norm([[1.0, 3.0], [10.0, 30.0]], normalized_shape=2).data.round(3)
        array([[-1.,  1.],
               [-1.,  1.]], dtype=float32)
    """
    x, eps = as_tensor(x), _eps("layer_norm", eps)
    weight, bias = _optional(weight, x), _optional(bias, x)
    shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: x must end in the axes normalized_shape={shape}, got shape {x.shape}")
    _check_normalisation("layer_norm", x, shape, weight=weight, bias=bias)
    return LayerNorm.apply(x, weight, bias, axes=len(shape), eps=eps)


class GroupNorm(Function):
    """y = γ x̂ + β, standardised over each group of channels of each sample; see (11)-(14)."""

    def forward(self, x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float) -> Array:
        self.grouped = (x.shape[0], groups, -1)
        self.weight = weight
        self.xh, self.r = _standardise(self.xp, x.reshape(self.grouped), (-1,), eps)  # (11)  (N,C,…) → (N,G,K)
        y = self.xh.reshape(x.shape)  # (N,G,K) → (N,C,…)
        y = y if weight is None else _column(weight, x.ndim) * y  # (12)
        return y if bias is None else y + _column(bias, x.ndim)

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        needs_gx, needs_gw, needs_gb = self.needs_grad
        others = (0, *range(2, gy.ndim))
        gb = gy.sum(axis=others) if needs_gb else None  # (13)
        gw = (gy * self.xh.reshape(gy.shape)).sum(axis=others) if needs_gw else None  # (13)  (N,G,K) → (N,C,…)
        gx = None
        if needs_gx:
            gxh = gy if self.weight is None else _column(self.weight, gy.ndim) * gy
            gxh = gxh.reshape(self.grouped)  # (N,C,…) → (N,G,K)
            gx = _standardise_adjoint(gxh, self.xh, self.r, (-1,)).reshape(gy.shape)  # (14)
        return gx, gw, gb


def group_norm(x: Any, weight: Any = None, bias: Any = None, *, num_groups: int, eps: float = 1e-5) -> Tensor:
    """Standardise each group of channels of each sample, as in `torch.nn.functional.group_norm`.

    Args:
        x: shape (N, C, …).
        weight, bias: γ and β, shape (C,); None stands for 1 and 0.
        num_groups: number of groups, a divisor of C.  C is instance norm; 1 is layer norm over (C, …).
        eps: added to the variance, > 0.

    Returns:
        Tensor of x's shape.

    Raises:
        ValueError: `num_groups` does not divide C, the shapes do not fit, or x is empty.

    Example:
        >>> group_norm([[1.0, 3.0, 10.0, 30.0]], num_groups=2).data.round(3)
        array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    x, eps = as_tensor(x), _eps("group_norm", eps)
    weight, bias = _optional(weight, x), _optional(bias, x)
    _check_channels("group_norm", x)
    groups = _check.integer("group_norm", "num_groups", num_groups, minimum=1)
    if x.shape[1] % groups:
        raise ValueError(f"group_norm: num_groups must divide the channels, got {groups} and {x.shape[1]} channels")
    _check_normalisation("group_norm", x, x.shape[1:2], weight=weight, bias=bias)
    return GroupNorm.apply(x, weight, bias, groups=groups, eps=eps)


def _standardise(xp: ModuleType, x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """x̂ and r of (11); two passes, since E[x²] - E[x]² would cancel where the mean is large."""
    centred = x - x.mean(axis=axes, keepdims=True)
    r = 1 / xp.sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    return centred * r, r


def _standardise_adjoint(gxh: Array, xh: Array, r: Array, axes: tuple[int, ...]) -> Array:
    """gx of (14)."""
    return r * (gxh - gxh.mean(axis=axes, keepdims=True) - xh * (gxh * xh).mean(axis=axes, keepdims=True))


def _column(v: Array, ndim: int) -> Array:
    return v.reshape(-1, *(1,) * (ndim - 2))  # (C,) → (C, 1, …)


def _optional(value: Any, like: Tensor | None) -> Tensor | None:
    return None if value is None else as_tensor(value, like)


def _running(name: str, value: Any, training: bool) -> Tensor | None:
    """Running statistics as a Tensor: the caller's own if training is to update it."""
    if training and value is not None and not isinstance(value, Tensor):
        raise TypeError(f"batch_norm: {name} must be a Tensor, which training updates, got {type(value).__name__}")
    value = _optional(value, None)
    if value is not None and value.requires_grad:
        raise ValueError(f"batch_norm: {name} is an estimate, not a parameter, and must not require a gradient")
    return value


def _check_batch_norm(x: Tensor, training: bool, momentum: float, **channelwise: Tensor | None) -> None:
    _check_channels("batch_norm", x)
    _check_normalisation("batch_norm", x, x.shape[1:2], **channelwise)
    mean, var = channelwise["running_mean"], channelwise["running_var"]
    if not 0 <= momentum <= 1:
        raise ValueError(f"batch_norm: momentum must be in [0, 1], got {momentum!r}")
    if (mean is None) != (var is None):
        raise ValueError("batch_norm: running_mean and running_var must be given together, got one of them")
    if mean is None and not training:
        raise ValueError("batch_norm: evaluation needs running_mean and running_var, got None with training=False")
    if training and x.size == x.shape[1]:
        raise ValueError(f"batch_norm: training needs more than one value a channel, got x of shape {x.shape}")


def _eps(op: str, eps: Any) -> float:
    eps = _check.number(op, "eps", eps)
    if eps <= 0:
        raise ValueError(f"{op}: eps must be > 0, got {eps!r}")
    return eps


def _check_channels(op: str, x: Tensor) -> None:
    if x.ndim < 2:
        raise ValueError(f"{op}: x must have shape (N, C, …), got {x.shape}")


def _check_normalisation(op: str, x: Tensor, shape: tuple[int, ...], **operands: Tensor | None) -> None:
    """Refuse an empty x, and operands of another shape or dtype."""
    if x.size == 0:
        raise ValueError(f"{op}: x must not be empty, got shape {x.shape}")
    for name, value in operands.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"{op}: {name} must have shape {shape}, got {value.shape}")
    one_dtype(op, [x.data, *(None if value is None else value.data for value in operands.values())])
