"""How PyTorch calls the ops, and where it documents a difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.check.spec.case import Sample

Functions = dict[str, Callable[..., Any]]


def functions() -> Functions:
    """PyTorch's function for every op that it has, taking minidl's arguments."""
    import torch

    f = torch.nn.functional

    def axes(x: Any, axis: Any) -> tuple[int, ...]:
        return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)

    def reduction(reduce: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, axis=None, keepdims=False: reduce(x, dim=axes(x, axis), keepdim=keepdims)

    def index(part: Any) -> Any:
        return torch.as_tensor(part) if isinstance(part, (np.ndarray, list)) else part

    def getitem(x: Any, key: Any) -> Any:
        return x[tuple(map(index, key)) if isinstance(key, tuple) else index(key)]

    def pad(x: Any, pad_width: Any, mode: str = "constant", value: float = 0.0) -> Any:
        pairs = pad_width if isinstance(pad_width, (list, tuple)) else [pad_width] * x.ndim
        widths = [w if isinstance(w, (list, tuple)) else (w, w) for w in pairs]
        theirs = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
        flat = [n for w in reversed(widths) for n in w]
        return f.pad(x, flat, theirs, value if mode == "constant" else None) if flat else x.clone()

    def cross_entropy(logits: Any, target: Any, weight: Any = None, ignore_index: int = -100, **rest: Any) -> Any:
        return f.cross_entropy(logits, target, weight, ignore_index=ignore_index, **rest)

    return {
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": f.softplus,
        "relu": f.relu,
        "leaky_relu": f.leaky_relu,
        "silu": f.silu,
        "gelu": f.gelu,
        "conv2d": f.conv2d,
        "conv_transpose2d": f.conv_transpose2d,
        "add": torch.add,
        "add_relu": lambda a, b: f.relu(torch.add(a, b)),
        "sub": torch.sub,
        "mul": torch.mul,
        "div": torch.div,
        "pow": torch.pow,
        "neg": torch.neg,
        "exp": torch.exp,
        "log": torch.log,
        "sqrt": torch.sqrt,
        "abs": torch.abs,
        "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
        "clip": torch.clamp,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "where": lambda condition, a, b: torch.where(condition, a, b),
        "matmul": torch.matmul,
        "linear": f.linear,
        "sum": reduction(torch.sum),
        "mean": reduction(torch.mean),
        "max": reduction(torch.amax),
        "min": reduction(torch.amin),
        "logsumexp": reduction(torch.logsumexp),
        "var": lambda x, axis=None, keepdims=False, correction=0: torch.var(
            x, axes(x, axis), correction=correction, keepdim=keepdims
        ),
        "reshape": lambda x, shape: torch.reshape(x, (shape,) if isinstance(shape, int) else shape),
        "flatten": lambda x, start_axis=0: torch.flatten(x, start_axis),
        "squeeze": lambda x, axis=None: torch.squeeze(x) if axis is None else torch.squeeze(x, axis),
        "expand_dims": lambda x, axis: torch.unsqueeze(x, axis),
        "transpose": lambda x, axes=None: torch.permute(x, tuple(range(x.ndim))[::-1] if axes is None else axes),
        "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
        "concat": lambda tensors, axis=0: torch.cat(tensors, axis),
        "stack": lambda tensors, axis=0: torch.stack(tensors, axis),
        "flip": lambda x, axis=None: torch.flip(x, axes(x, axis)),
        "getitem": getitem,
        "take": lambda x, indices, axis=0: x[(slice(None),) * (axis % x.ndim) + (torch.as_tensor(indices),)],
        "split": lambda x, sizes, axis=0: torch.split(x, sizes if isinstance(sizes, int) else list(sizes), axis),
        "pad": pad,
        "softmax": lambda x, axis=-1: torch.softmax(x, axis),
        "log_softmax": lambda x, axis=-1: torch.log_softmax(x, axis),
        "cross_entropy": cross_entropy,
        "mse_loss": f.mse_loss,
        "binary_cross_entropy_with_logits": f.binary_cross_entropy_with_logits,
        "batch_norm": f.batch_norm,
        "layer_norm": lambda x, weight=None, bias=None, *, normalized_shape, eps=1e-5: f.layer_norm(
            x, (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape, weight, bias, eps
        ),
        "group_norm": lambda x, weight=None, bias=None, *, num_groups, eps=1e-5: f.group_norm(
            x, num_groups, weight, bias, eps
        ),
        "max_pool2d": f.max_pool2d,
        "avg_pool2d": f.avg_pool2d,
        "adaptive_avg_pool2d": f.adaptive_avg_pool2d,
    }


def difference(op: str, sample: Sample) -> str | None:
    """Why PyTorch is not asked for this call; None if it is."""
    x, params = sample.inputs[0], sample.params
    axis = params.get("axis", ...)
    if isinstance(axis, (tuple, list)) and not axis and op != "squeeze":
        return "dim=() means every axis to PyTorch, none to NumPy"
    if x is not None and x.size == 0 and op in ("getitem", "take", "split", "pad"):
        return "tensors without elements are refused here and there"
    if op == "getitem":
        return _of_getitem(params["key"])
    if op == "pad" and x is not None:
        return _of_pad(x.shape, params)
    if op == "conv2d" and params.get("padding") == "same" and params.get("stride", 1) not in (1, (1, 1)):
        return "padding='same' with a stride"
    return None


def _of_getitem(key: object) -> str | None:
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(p, slice) and p.step is not None and p.step < 0 for p in parts):
        return "slices with a negative step are refused"
    if isinstance(key, list) and not key:
        return "an empty list is a floating tensor to PyTorch"
    arrays = [k for k, p in enumerate(parts) if isinstance(p, (np.ndarray, list))]
    if arrays and any(p is Ellipsis for p in parts[arrays[0] : arrays[-1]]):
        return "index arrays parted by an ellipsis of no axes are neighbours to PyTorch, not to NumPy"
    if arrays and any(isinstance(p, (int, np.integer)) for p in parts):
        return "an integer beside index arrays is a slice to PyTorch, an index array to NumPy"
    return None


def _of_pad(shape: tuple[int, ...], params: dict[str, Any]) -> str | None:
    mode = params.get("mode", "constant")
    if mode == "symmetric":
        return "mode='symmetric' is not there"
    if mode != "constant":
        return "borders that are no constant: of the last axes of 3 to 5 only, and within the length"
    return None
