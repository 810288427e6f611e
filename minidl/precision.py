r"""Mixed precision: maps and products in float16, sums, statistics, losses and parameters in float32.

float16 keeps 11 bits of a number between 6e-8 and 65504.  What each op computes in is told by what it needs:

    half        convolution, linear, matmul: inputs are rounded to float16, their products summed in float32
    as given    relu, sums of two maps, shapes, largest values: nothing is lost, so the dtype stays as it comes
    norms       batch norm takes x as it comes; its statistics, γ and β are float32
    float32     everything else: means, exponentials, losses, the laws of the priors

Rounding is an op of its own (`ops.elementwise.AsType`), so gradients come back in the precision of what they belong
to: those of parameters, which stay float32 ("master weights"), in float32.

Gradients of maps are float16 and may be too small for it.  So the loss is multiplied by a scale S before it is
differentiated, and the gradients g of the parameters come out S times too large:

    g ← g / S,   unless an element of g is ∞ or NaN: then the step is left out                               (1)
    S ← S/2 after such a step;  2S after 2000 steps in a row without one                                     (2)

Both are decided on the device, in the launches that update the parameters: nobody waits for the answer.

Source: P. Micikevicius and others, "Mixed precision training", ICLR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.autograd import Function, Tensor
from minidl.device import CPU, Array, Device, get_array_module
from minidl.guards import casting
from minidl.kernels import kernels_for
from minidl.ops.activation import AddReLU, ReLU
from minidl.ops.conv import Conv2d, ConvTranspose2d
from minidl.ops.elementwise import Add, AsType
from minidl.ops.index import GetItem, PadConstant
from minidl.ops.norm import BatchNorm, FixedNorm
from minidl.ops.pool import MaxPool2d
from minidl.ops.products import Linear, MatMul
from minidl.ops.shape import Concat, Flip, Reshape, Transpose

__all__ = ["LossScale", "mixed_precision"]

HALF = (Conv2d, ConvTranspose2d, Linear, MatMul)
AS_GIVEN = (ReLU, AddReLU, Add, GetItem, PadConstant, MaxPool2d, Concat, Flip, Reshape, Transpose)
NORMS = (BatchNorm, FixedNorm)

FIRST_SCALE, INTERVAL = 2.0**16, 2000
SMALLEST = 2.0**-14  # a scale below this says that gradients are infinite whatever it is


@contextmanager
def mixed_precision() -> Iterator[None]:
    """Compute in mixed precision inside: forward here, backward anywhere.  Models must be float32.

    Example:
        >>> from minidl import ops
        >>> x, weight = Tensor([[1.0, 2.0]], requires_grad=True), Tensor([[1.0, 0.1]])
        >>> with mixed_precision():
        ...     y = ops.linear(x, weight)
        >>> y.dtype, ops.astype(y, "float32").data
        (dtype('float16'), array([[1.2001953]], dtype=float32))
    """
    token = casting.set(_cast)
    try:
        yield
    finally:
        casting.reset(token)


def _cast(fn: Function, inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The inputs of `fn` in the precision that it computes in."""
    dtypes = {x.dtype for x in inputs if x is not None}
    if isinstance(fn, (AsType, *NORMS)) or not dtypes <= {np.dtype(np.float16), np.dtype(np.float32)}:
        return inputs
    dtype: np.dtype = np.dtype(np.float32)
    if isinstance(fn, HALF):
        dtype = np.dtype(np.float16)
    elif isinstance(fn, AS_GIVEN) and len(dtypes) == 1:
        return inputs
    return tuple(x if x is None or x.dtype == dtype else AsType.apply(x, dtype=dtype) for x in inputs)


class LossScale:
    """S of (1), (2), on the device.

    Args:
        device: where the model is.
        first: S at first.

    Example:
        >>> scale = LossScale(first=4.0)
        >>> loss = Tensor(3.0, requires_grad=True)
        >>> loss.backward(scale.cotangent)
        >>> scale.judge(loss.grad.reshape(1))["inverse_scale"] * loss.grad
        array([1.], dtype=float32)
    """

    def __init__(self, device: Device = CPU, first: float = FIRST_SCALE) -> None:
        self._scale = device.xp.full(1, first, np.float32)
        self._good_steps = device.xp.zeros(1, np.int32)

    @property
    def cotangent(self) -> Tensor:
        """S, with which to differentiate a loss of shape ()."""
        return Tensor(self._scale.reshape(()))

    def judge(self, g: Array) -> dict[str, Array]:
        """Which way the step with gradients g goes, as options of the optimizer's kernels; moves S."""
        found_inf, inverse, self._scale, self._good_steps = kernels_for(get_array_module(g)).loss_scale_step(
            g, self._scale, self._good_steps, interval=INTERVAL
        )
        return {"inverse_scale": inverse, "found_inf": found_inf}

    @property
    def value(self) -> float:
        """S; waits for the device."""
        return float(self._scale[0])

    @property
    def hopeless(self) -> bool:
        """Whether S has fallen so low that no scale will help; waits for the device."""
        return self.value < SMALLEST

    def state(self) -> dict[str, float | int]:
        """What a later run needs to go on, JSON-able."""
        return {"scale": self.value, "good_steps": int(self._good_steps[0])}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: it is not that.
        """
        scale, good = state.get("scale"), state.get("good_steps")
        if type(scale) is not float or not (math.isfinite(scale) and scale >= SMALLEST):
            raise ValueError(f"LossScale: scale must be a finite number >= {SMALLEST:.0e}, got {scale!r:.40}")
        if type(good) is not int or not 0 <= good < INTERVAL:
            raise ValueError(f"LossScale: good_steps must be an integer in [0, {INTERVAL}), got {good!r:.40}")
        self._scale[...] = scale
        self._good_steps[...] = good
