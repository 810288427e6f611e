"""Cross-entropy of softmax (src/loss.cu); what it computes stands in kernels/array/loss.py."""

from __future__ import annotations

import math

from minidl.device import Array, get_array_module
from minidl.kernels.array import loss as array
from minidl.kernels.cuda.launch import THREADS, computes, ints, launch

__all__ = ["cross_entropy", "cross_entropy_adjoint"]


def cross_entropy(z: Array, t: Array, axis: int) -> tuple[Array, Array]:
    """As `array.cross_entropy`, in one launch."""
    if not computes(z, t) or z.shape != t.shape:
        return array.cross_entropy(z, t, axis)
    xp = get_array_module(z)
    losses, logp = xp.empty(z.shape[:axis] + z.shape[axis + 1 :], z.dtype), xp.empty(z.shape, z.dtype)
    z, t = xp.ascontiguousarray(z), xp.ascontiguousarray(t)
    launch("cross_entropy", z.dtype, (losses.size,), (THREADS,), z, t, losses, logp, *_classes(z, axis))
    return losses, logp


def cross_entropy_adjoint(gl: Array, logp: Array, t: Array, axis: int) -> Array:
    """As `array.cross_entropy_adjoint`, in one launch."""
    if not computes(gl, logp, t) or logp.shape != t.shape:
        return array.cross_entropy_adjoint(gl, logp, t, axis)
    xp = get_array_module(t)
    gl, logp, t = (xp.ascontiguousarray(a) for a in (gl, logp, t))
    gz = xp.empty(t.shape, t.dtype)
    rows, step = t.size // t.shape[axis], 0 if gl.size == 1 else 1
    launch("cross_entropy_adjoint", t.dtype, (rows,), (THREADS,), gl, logp, t, gz, *_classes(t, axis), *ints(step))
    return gz


def _classes(z: Array, axis: int) -> tuple:
    """Their number, and how far they are apart."""
    return ints(z.shape[axis], math.prod(z.shape[axis + 1 :]))
