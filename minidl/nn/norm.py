"""Normalisation layers."""

from __future__ import annotations

import numpy as np

from minidl import ops
from minidl.autograd import Tensor
from minidl.nn.module import Module
from minidl.nn.parameter import Buffer, Parameter
from minidl.ops import _check


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share: all but the number of axes."""

    no_weight_decay = ("weight", "bias")
    shapes: tuple[int, ...] = ()  # numbers of axes that x may have

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        c = self.num_features = _check.integer(type(self).__name__, "num_features", num_features, minimum=1)
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(c, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(c, np.float32)) if affine else None
        self.running_mean = Buffer(np.zeros(c, np.float32)) if track_running_stats else None
        self.running_var = Buffer(np.ones(c, np.float32)) if track_running_stats else None

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        if x.ndim not in self.shapes:
            axes = " or ".join(map(str, self.shapes))
            raise ValueError(f"{type(self).__name__}: x must have {axes} axes, got shape {x.shape}")
        return ops.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=self.momentum,
            eps=self.eps,
            relu=relu,
        )

    def extra_repr(self) -> str:
        affine = "" if self.weight is not None else ", affine=False"
        tracks = "" if self.running_mean is not None else ", track_running_stats=False"
        return f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum:g}{affine}{tracks}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); arguments as `BatchNorm2d`.

    Example:
        >>> BatchNorm1d(1)(Tensor([[1.0], [3.0]])).data.round(3)
        array([[-1.],
               [ 1.]], dtype=float32)
    """

    shapes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W); see `ops.batch_norm`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the batch in the running estimates.
        affine: whether there are a weight and a bias.
        track_running_stats: whether there are running estimates; without them evaluation uses the batch, too.

    Attributes:
        weight, bias: γ = 1 and β = 0 at first, shape (C,), or None.
        running_mean, running_var: buffers of shape (C,), or None.

    Example:
        >>> layer = BatchNorm2d(3)
        >>> y = layer(Tensor(np.random.default_rng(0).normal(2.0, 5.0, size=(8, 3, 4, 4)).astype(np.float32)))
        >>> bool(abs(y.data.mean()) < 1e-6), bool(abs(y.data.std() - 1) < 1e-5)
        (True, True)
    """

    shapes = (4,)


class GroupNorm(Module):
    """Group normalisation of (N, C, …); see `ops.group_norm`.

    Args:
        num_groups: groups, which divide C.
        num_channels: C.
        eps: added to the variance.
        affine: whether there are a weight and a bias of shape (C,).

    Raises:
        ValueError: `num_groups` does not divide `num_channels`, or a number is out of its range.

    Example:
        >>> GroupNorm(2, 4)(Tensor(np.ones((1, 4, 2, 2), np.float32))).shape
        (1, 4, 2, 2)
    """

    no_weight_decay = ("weight", "bias")

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        self.num_groups = _check.integer("GroupNorm", "num_groups", num_groups, minimum=1)
        self.num_channels = _check.integer("GroupNorm", "num_channels", num_channels, minimum=1)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups must divide num_channels={num_channels}, got {num_groups}")
        self.eps = eps
        self.weight = Parameter(np.ones(num_channels, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, np.float32)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.group_norm(x, self.weight, self.bias, num_groups=self.num_groups, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}"


class LayerNorm(Module):
    """Layer normalisation of the trailing axes; see `ops.layer_norm`.

    Args:
        normalized_shape: lengths of those axes; an integer for the last one alone.
        eps: added to the variance.
        elementwise_affine: whether there are a weight and a bias of that shape.

    Raises:
        ValueError: a length is below 1.

    Example:
        >>> LayerNorm(4)(Tensor(np.ones((2, 4), np.float32))).shape
        (2, 4)
    """

    no_weight_decay = ("weight", "bias")

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, elementwise_affine: bool = True
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        if not shape or min(shape) < 1:
            raise ValueError(f"LayerNorm: normalized_shape must be lengths >= 1, got {normalized_shape}")
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(np.ones(shape, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(shape, np.float32)) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.weight, self.bias, normalized_shape=self.normalized_shape, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps:g}"
