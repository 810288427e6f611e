"""How JAX calls the ops, and where it documents a difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.check.spec.case import Sample

Functions = dict[str, Callable[..., Any]]


def functions() -> Functions:
    """JAX's function for every op that it has, taking minidl's arguments."""
    import jax
    import jax.numpy as jnp

    lax, nn = jax.lax, jax.nn

    def pair(value: Any) -> tuple[int, int]:
        return value if isinstance(value, tuple) else (value, value)

    def conv2d(
        x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        borders = padding.upper() if isinstance(padding, str) else [(p, p) for p in pair(padding)]
        y = lax.conv_general_dilated(
            x, weight, pair(stride), borders, rhs_dilation=pair(dilation), feature_group_count=groups
        )
        return y if bias is None else y + bias[:, None, None]

    def conv_transpose2d(
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        dilation: Any = 1,
    ) -> Any:
        reach = [d * (k - 1) for d, k in zip(pair(dilation), weight.shape[2:], strict=True)]
        borders = [(r - p, r - p + e) for r, p, e in zip(reach, pair(padding), pair(output_padding), strict=True)]
        y = lax.conv_transpose(
            x,
            weight,
            pair(stride),
            borders,
            rhs_dilation=pair(dilation),
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            transpose_kernel=True,
        )
        return y if bias is None else y + bias[:, None, None]

    def window(reduce: Any, start: float, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Any:
        borders = ((0, 0), (0, 0), *((p, p) for p in pair(padding)))
        step = (1, 1, *pair(kernel if stride is None else stride))
        shape, spread = (1, 1, *pair(kernel)), (1, 1, *pair(dilation))
        first = jnp.array(start, x.dtype)
        return lax.reduce_window(x, first, reduce, shape, step, borders, window_dilation=spread)

    def avg_pool2d(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True, **rest: Any
    ) -> Any:
        total = window(lax.add, 0.0, x, kernel_size, stride, padding)
        if (divisor := rest.get("divisor_override")) is not None:
            return total / divisor
        if count_include_pad:
            return total / (pair(kernel_size)[0] * pair(kernel_size)[1])
        return total / window(lax.add, 0.0, jnp.ones_like(x), kernel_size, stride, padding)

    def gelu(x: Any, approximate: str = "none") -> Any:
        return nn.gelu(x, approximate=approximate == "tanh")

    def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, normalized_shape: Any, eps: float = 1e-5) -> Any:
        n = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
        y = nn.standardize(x, axis=tuple(range(-n, 0)), epsilon=eps)
        return y * (1 if weight is None else weight) + (0 if bias is None else bias)

    def pad(x: Any, pad_width: Any, mode: str = "constant", value: float = 0.0) -> Any:
        pairs = pad_width if isinstance(pad_width, (list, tuple)) else [pad_width] * x.ndim
        widths = [tuple(w) if isinstance(w, (list, tuple)) else (w, w) for w in pairs]
        return jnp.pad(x, widths, mode, **({"constant_values": value} if mode == "constant" else {}))

    def split(x: Any, sizes: Any, axis: int = 0) -> Any:
        if isinstance(sizes, int):
            return jnp.split(x, list(range(sizes, x.shape[axis], sizes)), axis)
        return jnp.split(x, list(np.cumsum(sizes)[:-1]), axis)

    def listed(axis: Any) -> Any:
        return tuple(axis) if isinstance(axis, list) else axis

    def reduction(reduce: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, axis=None, keepdims=False: reduce(x, axis=listed(axis), keepdims=keepdims)

    return {
        "tanh": jnp.tanh,
        "sigmoid": nn.sigmoid,
        "softplus": lambda x: nn.softplus(x),
        "relu": lambda x: nn.relu(x),
        "leaky_relu": lambda x, negative_slope=0.01: nn.leaky_relu(x, negative_slope),
        "silu": lambda x: nn.silu(x),
        "gelu": gelu,
        "conv2d": conv2d,
        "conv_transpose2d": conv_transpose2d,
        "add": lambda a, b: jnp.add(a, b),
        "add_relu": lambda a, b: nn.relu(jnp.add(a, b)),
        "sub": lambda a, b: jnp.subtract(a, b),
        "mul": lambda a, b: jnp.multiply(a, b),
        "div": lambda a, b: jnp.divide(a, b),
        "pow": lambda a, b: jnp.power(a, b),
        "neg": lambda x: jnp.negative(x),
        "exp": lambda x: jnp.exp(x),
        "log": lambda x: jnp.log(x),
        "sqrt": lambda x: jnp.sqrt(x),
        "abs": lambda x: jnp.abs(x),
        "astype": lambda x, dtype: x.astype(dtype),
        "clip": lambda x, min=None, max=None: jnp.clip(x, min, max),
        "maximum": lambda a, b: jnp.maximum(a, b),
        "minimum": lambda a, b: jnp.minimum(a, b),
        "where": lambda condition, a, b: jnp.where(condition, a, b),
        "matmul": lambda a, b: jnp.matmul(a, b),
        "sum": reduction(jnp.sum),
        "mean": reduction(jnp.mean),
        "max": reduction(jnp.max),
        "min": reduction(jnp.min),
        "logsumexp": reduction(nn.logsumexp),
        "var": lambda x, axis=None, keepdims=False, correction=0: jnp.var(
            x, axis=listed(axis), ddof=correction, keepdims=keepdims
        ),
        "reshape": lambda x, shape: jnp.reshape(x, shape),
        "squeeze": lambda x, axis=None: jnp.squeeze(x, axis),
        "expand_dims": lambda x, axis: jnp.expand_dims(x, axis),
        "transpose": lambda x, axes=None: jnp.transpose(x, axes),
        "broadcast_to": lambda x, shape: jnp.broadcast_to(x, shape),
        "concat": lambda tensors, axis=0: jnp.concatenate(tensors, axis),
        "stack": lambda tensors, axis=0: jnp.stack(tensors, axis),
        "flip": lambda x, axis=None: jnp.flip(x, axis),
        "getitem": lambda x, key: x[np.array(key, dtype=None if key else int) if isinstance(key, list) else key],
        "take": lambda x, indices, axis=0: jnp.take(x, jnp.asarray(indices), axis=axis),
        "split": split,
        "pad": pad,
        "softmax": lambda x, axis=-1: nn.softmax(x, axis),
        "log_softmax": lambda x, axis=-1: nn.log_softmax(x, axis),
        "layer_norm": layer_norm,
        "max_pool2d": lambda x, kernel_size, stride=None, padding=0, dilation=1: window(
            lax.max, -np.inf, x, kernel_size, stride, padding, dilation
        ),
        "avg_pool2d": avg_pool2d,
    }


def difference(op: str, sample: Sample) -> str | None:
    """Why JAX is not asked for this call; None if it is."""
    params = sample.params
    if op == "conv_transpose2d" and params.get("groups", 1) != 1:
        return "lax.conv_transpose has no groups"
    if op in ("max_pool2d", "avg_pool2d") and params.get("ceil_mode"):
        return "lax.reduce_window has no ceil_mode"
    if op == "max_pool2d" and params.get("dilation", 1) not in (1, (1, 1)):
        return "lax.reduce_window has no gradient with a dilation"
    if op == "pad" and (x := sample.inputs[0]) is not None and not x.ndim:
        return "an array without axes cannot be padded"
    return None
