r"""Global guidance: from a whole map, one number a channel, or several.

    g = mean of x over its places              (N, C)                              (1)
    h = relu(BN(W g + b))                      (N, hidden), hidden = ⌊C/2⌋          (2)
    a = BN(V h + c)    for every head          (N, C)                              (3)

BN normalises over the batch alone: behind (1) there are no places left, so it sees N values a channel.  For N = 1
those are their own mean: the result would be β whatever the map, and no gradient would come through.  Batches of one
are therefore normalised by the running statistics, in training too, which they leave as they are.  The biases b and c
are without effect in training, their gradients 0: BN subtracts the mean that they move.  They stand there since the
authors' networks have them.

Source: T. Kobayashi, "Global feature guided local pooling", ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor
from minidl.ops import _check

__all__ = ["GlobalGuidance"]

_he_fan_out = partial(nn.init.kaiming_normal, mode="fan_out")


class BatchNormOfAny(nn.BatchNorm1d):
    """Batch normalisation that takes batches of one: by the running statistics."""

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        if len(x) > 1:
            return super().forward(x, relu)
        return ops.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps, relu=relu)


class GlobalGuidance(nn.Module):
    """What a map as a whole says of each of its channels; see (1)-(3).

    Args:
        channels: C.
        heads: names of the numbers that each channel gets; heads share h.
        hidden: length of h; half of C if None.
        rng: where the initial weights come from, He-normal by fan-out.

    Attributes:
        reduce, norm: of (2).
        Each head, of (3), is an attribute of its own name, holding `linear` and `norm`.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> guidance = GlobalGuidance(8, ["mu", "sigma"], rng=np.random.default_rng(0))
        >>> x = Tensor(np.random.default_rng(1).normal(size=(4, 8, 5, 5)).astype(np.float32))
        >>> [a.shape for a in guidance(x)]
        [(4, 8, 1, 1), (4, 8, 1, 1)]
    """

    def __init__(
        self, channels: int, heads: Sequence[str], hidden: int | None = None, *, rng: np.random.Generator
    ) -> None:
        self.channels = _check.integer("GlobalGuidance", "channels", channels, minimum=1)
        self.names = tuple(heads)
        hidden = max(1, channels // 2) if hidden is None else hidden
        self.hidden = _check.integer("GlobalGuidance", "hidden", hidden, minimum=1)
        self.reduce = nn.Linear(channels, hidden, rng=rng, weight_init=_he_fan_out)
        self.norm = BatchNormOfAny(hidden)
        for name in self.names:
            linear = nn.Linear(hidden, channels, rng=rng, weight_init=_he_fan_out)
            setattr(self, name, nn.Sequential(linear=linear, norm=BatchNormOfAny(channels)))

    def forward(self, x: Tensor, heads: Sequence[str] | None = None) -> list[Tensor]:
        """The numbers of `heads` (all, if None), each of shape (N, C, 1, 1)."""
        g = ops.mean(x, axis=(2, 3))  # (1)
        h = ops.relu(self.norm(self.reduce(g)))  # (2)
        names = self.names if heads is None else heads
        return [ops.reshape(self.get_submodule(name)(h), (*g.shape, 1, 1)) for name in names]  # (3)

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={list(self.names)}, hidden={self.hidden}"
