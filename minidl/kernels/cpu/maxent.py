"""Maximum-entropy pooling: the readable form on the fast samples of windows."""

from __future__ import annotations

from functools import partial

from minidl.kernels.array import maxent as array
from minidl.kernels.cpu.window import window_samples, window_samples_adjoint

__all__ = ["maxent_pool", "maxent_pool_adjoint"]

maxent_pool = partial(array.pool_samples, window_samples)
maxent_pool_adjoint = partial(array.pool_samples_adjoint, window_samples_adjoint)
