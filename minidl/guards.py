"""What the engine refuses, copies or makes read-only, so that no gradient is silently wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.device import Array, get_array_module

if TYPE_CHECKING:
    from minidl.autograd import Function, Tensor

# What becomes of a Function's inputs before it is applied, (fn, inputs) -> inputs, under `precision.mixed_precision`.
casting: ContextVar[Callable[..., tuple[Tensor | None, ...]] | None] = ContextVar("minidl_casting", default=None)


def floating_copy(value: Any) -> Array:
    """A copy of `value` in floating point, memory order kept; integers and Python numbers become float32."""
    refuse_tensors_within(value)
    xp = get_array_module(value)
    array = xp.array(value, order="K") if hasattr(value, "dtype") else np.array(value)
    if array.dtype.kind in "biu" or (array.dtype == np.float64 and not hasattr(value, "dtype")):
        array = array.astype(np.float32)
    if casting.get() is not None and array.dtype == np.float16:
        return array
    if array.dtype not in (np.float32, np.float64, np.complex128):  # complex: derivatives by complex step
        raise TypeError(f"Tensor: data must be float32 or float64, got dtype {array.dtype}; use .astype(np.float32)")
    return array


def refuse_tensors_within(value: Any) -> None:
    """Refuse nested lists with a Tensor in them, whose graph an array of its numbers would not have."""
    if isinstance(value, (list, tuple)):
        for v in value:
            if hasattr(v, "grad_fn"):
                raise TypeError("Tensor: a list of Tensors would lose their graph; use ops.stack or ops.concat")
            refuse_tensors_within(v)


def frozen(array: Array) -> Array:
    """`array`, marked read-only where its module can (NumPy)."""
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


def one_dtype(name: str, arrays: list[Array | None]) -> None:
    """Refuse inputs of mixed precision, unless it is asked for: NumPy and CuPy would widen them differently."""
    dtypes = {a.dtype for a in arrays if a is not None}
    if casting.get() is not None and len(dtypes) > 1:
        dtypes.discard(np.dtype(np.float16))
    if len(dtypes) > 1 and not any(d.kind == "c" for d in dtypes):
        raise TypeError(f"{name}: inputs must share one dtype, got {' and '.join(sorted(map(str, dtypes)))}")


def one_device(name: str, xp: ModuleType, arrays: list[Array | None]) -> None:
    """Refuse arrays of NumPy among those of a GPU: each would have to be copied, in every step, unseen."""
    if xp is not np and any(isinstance(a, np.ndarray) for a in arrays):
        raise TypeError(
            f"{name}: inputs must live on one device, got an array of NumPy among those of a GPU; use device.asarray"
        )


def checked_cotangent(y: Tensor, grad_output: Any) -> Array:
    """`grad_output` as an array of its own like `y`, ones if it is None and `y` has one element; lists are weak."""
    xp = get_array_module(y.data)
    if grad_output is None:
        if y.size != 1:
            raise ValueError(f"backward: a tensor of shape {y.shape} needs grad_output; only one element does not")
        return xp.ones_like(y.data)
    if hasattr(grad_output, "grad_fn"):
        gy = grad_output.data
    else:  # a copy: it may become a gradient, which is read-only
        gy = xp.array(grad_output, dtype=None if hasattr(grad_output, "dtype") else y.dtype)
    if gy.shape != y.shape or gy.dtype != y.dtype:
        raise ValueError(f"backward: grad_output must be {y.dtype}{y.shape}, got {gy.dtype}{gy.shape}")
    return gy


def checked_gradients(fn: Function, gxs: tuple[Array | None, ...]) -> Iterator[tuple[Tensor, Array]]:
    """The inputs that need a gradient, each with its own, refused unless it has the input's shape and dtype."""
    if not isinstance(gxs, tuple) or len(gxs) != len(fn.inputs):
        got = f"{len(gxs)}" if isinstance(gxs, tuple) else f"a {type(gxs).__name__}"
        raise ValueError(f"{fn.name}.backward: must return a tuple of {len(fn.inputs)} gradients, got {got}")
    for i, (x, gx) in enumerate(zip(fn.inputs, gxs, strict=True)):
        if x is None or not fn.needs_grad[i]:
            continue
        if gx is None:
            raise NotImplementedError(f"{fn.name}: no gradient is defined for argument {i} ({_argument(fn, i)})")
        if gx.shape != x.shape or gx.dtype != x.dtype:
            raise ValueError(f"{fn.name}.backward: gradient {i} must be {x.dtype}{x.shape}, got {gx.dtype}{gx.shape}")
        yield x, gx


def _argument(fn: Function, i: int) -> str:
    """The name that `forward` gives its i-th input; "xs" for each of `*xs`."""
    names: list[str] = []
    for name, parameter in inspect.signature(fn.forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return names[i] if i < len(names) else name
        names.append(name)
    return names[i]
