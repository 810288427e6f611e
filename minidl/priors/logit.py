r"""Logit adjustment: long-tailed classes, balanced in the loss of training.

    z + τ ln π,     π_k = max(n_k, 1) / Σ_j max(n_j, 1)                                     (1)

With π the frequencies of the classes in training, the softmax of (1) models p(class | x) as training draws it, and z
alone as if classes were equally frequent: evaluation leaves z as it is.  A class without an image counts as one: its
logarithm would be −∞, and the loss of a first image of it infinite.

Source: A. Menon and others, "Long-tail learning via logit adjustment", ICLR 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import nn
from minidl.autograd import Tensor
from minidl.ops import _check

__all__ = ["LogitAdjustment"]


class LogitAdjustment(nn.Module):
    """Add τ ln π to logits in training; see (1).

    Args:
        class_counts: n, images of each class in the training set.
        tau: τ.

    Attributes:
        shift: buffer of τ ln π, shape (K,).

    Raises:
        ValueError: counts are no integers ≥ 0, or all are 0.

    Example:
        >>> adjust = LogitAdjustment([90, 9, 1])
        >>> adjust(Tensor([[0.0, 0.0, 0.0]])).data.round(2)
        array([[-0.11, -2.41, -4.61]], dtype=float32)
        >>> adjust.eval()(Tensor([[0.0, 0.0, 0.0]])).data
        array([[0., 0., 0.]], dtype=float32)
    """

    def __init__(self, class_counts: Any, tau: float = 1.0) -> None:
        counts = np.asarray(class_counts)
        if counts.ndim != 1 or counts.dtype.kind not in "iu" or not counts.any() or counts.min() < 0:
            raise ValueError(
                f"LogitAdjustment: class_counts must be integers >= 0, not all 0, got {class_counts!r:.60}"
            )
        self.tau = _check.number("LogitAdjustment", "tau", tau)
        floored = np.maximum(counts, 1).astype(np.float64)
        self.shift = nn.Buffer((self.tau * np.log(floored / floored.sum())).astype(np.float32))  # (1)

    def forward(self, logits: Tensor) -> Tensor:
        return logits + self.shift if self.training else logits

    def extra_repr(self) -> str:
        return f"{len(self.shift)}, tau={self.tau:g}"
