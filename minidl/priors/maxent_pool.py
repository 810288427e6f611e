r"""Maximum-entropy pooling as a layer: λ from the map itself, learned, or fixed.

The output is the mean of each window under softmax(λx): the average at λ = 0, the maximum as λ → ∞; see
`ops.maxent_pool2d`.  λ > 0 comes through a squashing function,

    adaptive    λ = squash(a),  a from `GlobalGuidance`, one a sample and channel                  (1)
    learned     λ = squash(ℓ),  ℓ a parameter, one a channel                                       (2)
    fixed       λ as given                                                                         (3)

Under the authors' sigmoid λ < 1, so that activations of the order of 1 stay nearer to their mean than to their
maximum; softplus has no such limit.

Source: T. Kobayashi, "Global feature guided local pooling", ICCV 2019.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import nn, ops
from minidl.autograd import Tensor
from minidl.nn.pool import Size
from minidl.ops import _check
from minidl.priors.guidance import GlobalGuidance
from minidl.priors.squash import SQUASH, a_channel, unsquashed

__all__ = ["MaxEntPool2d"]


class MaxEntPool2d(nn.Module):
    """Mean of each window under the law of largest entropy; see (1)-(3).

    Args:
        channels: C.
        kernel_size, stride, padding, ceil_mode: of the windows, as for `nn.MaxPool2d`; padding never counts.
        parameters: "adaptive", "learned" or "fixed".
        activation: "sigmoid" or "softplus", by which λ is squashed.
        lam: λ, a number or one a channel: of "fixed", or at first of "learned".  None: squash(0), where "adaptive"
            has its middle.
        hidden: width of the guidance, C/2 if None.
        rng: where initial values come from.

    Raises:
        ValueError: an argument is none of these, or `lam` is not what the activation can give.

    Example:
        >>> pool = MaxEntPool2d(1, kernel_size=2, parameters="fixed", lam=100.0, rng=np.random.default_rng(0))
        >>> pool(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).data
        array([[[[4.]]]], dtype=float32)
    """

    no_weight_decay = ("lam_raw",)

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        parameters: str = "adaptive",
        activation: str = "sigmoid",
        lam: Any = None,
        hidden: int | None = None,
        ceil_mode: bool = False,
        rng: np.random.Generator,
    ) -> None:
        name = "MaxEntPool2d"
        self.channels = _check.integer(name, "channels", channels, minimum=1)
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        _check.choice(name, "parameters", parameters, ("adaptive", "learned", "fixed"))
        _check.choice(name, "activation", activation, tuple(SQUASH))
        self.source, self.activation = parameters, activation
        if parameters == "adaptive":
            if lam is not None:
                raise ValueError(f"{name}: lam must be None where parameters='adaptive' takes it from the map")
            self.guidance = GlobalGuidance(channels, ["lam"], hidden, rng=rng)
        elif parameters == "learned":
            self.lam_raw = nn.Parameter(unsquashed(name, "lam", lam, activation, channels))
        else:
            default = SQUASH[activation](Tensor(0.0)).item()
            self.lam = nn.Buffer(a_channel(name, "lam", default if lam is None else lam, channels))

    def law(self, x: Tensor) -> Tensor:
        """λ for the map x (N, C, H, W): shape (N, C, 1, 1) or (1, C, 1, 1)."""
        if self.source == "fixed":
            return self.lam
        raw = self.guidance(x)[0] if self.source == "adaptive" else self.lam_raw
        return SQUASH[self.activation](raw)  # (1), (2)

    def forward(self, x: Tensor) -> Tensor:
        return ops.maxent_pool2d(x, self.law(x), self.kernel_size, self.stride, self.padding, self.ceil_mode)

    def extra_repr(self) -> str:
        ceil = ", ceil_mode=True" if self.ceil_mode else ""
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"parameters={self.source}, activation={self.activation}{ceil}"
        )
