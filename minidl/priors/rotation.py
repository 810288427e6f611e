"""A linear classifier whose logits vary in training as if its features were turned; see `ops.stat_rot_linear`.

Source: T. Kobayashi, "Rotation regularization without rotation", ECCV 2022.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor, as_tensor
from minidl.device import get_array_module
from minidl.nn import init
from minidl.ops import _check
from minidl.priors.like import like

__all__ = ["StatRotLinear"]


class StatRotLinear(nn.Linear):
    """`nn.Linear` whose training turns the features by an angle in a random direction, statistically.

    A bias is added afterwards and is not turned; the authors have none.  Evaluation is that of `nn.Linear`.  Training
    logits shrink by cos α besides, so that losses of training and evaluation do not compare; predictions do.

    Args:
        in_features: D ≥ 2.
        out_features: K ≥ 2 classes.
        bias: whether there is one.
        angle: α in radians; 0 is `nn.Linear`.
        rng: where initial values come from, and parent of the layer's own generator of noise, `draws`.
        weight_init, bias_init: as for `nn.Linear`.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> layer = StatRotLinear(4, 3, rng=np.random.default_rng(0))
        >>> x = Tensor([[1.0, 2.0, 3.0, 4.0]])
        >>> bool((layer(x).data == layer(x).data).any()), bool((layer.eval()(x).data == layer(x).data).all())
        (False, True)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        angle: float = math.pi / 4,
        rng: np.random.Generator,
        weight_init: init.Initializer = init.fan_in_uniform,
        bias_init: init.Initializer | None = None,
    ) -> None:
        _check.integer("StatRotLinear", "in_features", in_features, minimum=2)
        _check.integer("StatRotLinear", "out_features", out_features, minimum=2)
        super().__init__(in_features, out_features, bias, rng=rng, weight_init=weight_init, bias_init=bias_init)
        self.angle = _check.number("StatRotLinear", "angle", angle)
        if math.isinf(self.angle):
            raise ValueError(f"StatRotLinear: angle must be finite, got {angle}")
        self.draws = rng.spawn(1)[0]

    @classmethod
    def from_linear(cls, linear: nn.Linear, *, rng: np.random.Generator, **options: Any) -> StatRotLinear:
        """A layer with the very parameters of `linear`; `rng` is for its noise, `options` are its own arguments."""
        with init.skip():
            layer = cls(linear.in_features, linear.out_features, linear.bias is not None, rng=rng, **options)
        like(layer, linear.weight)
        layer.weight, layer.bias = linear.weight, linear.bias
        return layer

    def forward(self, x: Tensor, noise: Any = None) -> Tensor:
        """Logits (N, K) of features (N, D); `noise` of variance 1, shape (N, K), takes the place of drawn numbers."""
        if noise is None and self.training:
            drawn = self.draws.standard_normal((len(x), self.out_features)).astype(x.dtype)
            noise = get_array_module(x.data).asarray(drawn)
        if noise is None:
            return super().forward(x)
        z = ops.stat_rot_linear(x, self.weight, as_tensor(noise, like=x), self.angle)
        return z if self.bias is None else z + self.bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, angle={self.angle:.4g}"
