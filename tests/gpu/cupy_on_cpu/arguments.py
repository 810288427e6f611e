"""`cupy.RawKernel` that checks every launch.

Neither CuPy nor CUDA looks at the arguments of a kernel: they would misread them silently.  Nor does anything tell
that a result hangs on the order in which threads happen to run, or that an array was overrun.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from tests.gpu.cupy_on_cpu import build

ORDERS = ("forward", "backward", "shuffled")  # as numbered in src/kernel.h


class KernelFault(RuntimeError):
    """What a kernel did wrong, though it ended."""


@cache
def signature(code: str, options: tuple[str, ...], name: str) -> tuple[str, ...]:
    """What a kernel takes: for each parameter "p" (pointer) or "s" (scalar), the letter of NumPy's kind, the bytes.

    The letter of a struct is "?".
    """
    text = ctypes.create_string_buffer(4096)
    count = getattr(ctypes.CDLL(str(build.kernels(code, options))), f"signature_{name}")(text)
    return tuple(text.value[3 * i : 3 * i + 3].decode() for i in range(count))


def mistaken(argument: Any, parameter: str, cupy: Any) -> str | None:
    """How an argument does not fit, in words; None if it fits."""
    kind, letter, size = parameter[0], parameter[1], int(parameter[2])
    if isinstance(argument, cupy.ndarray):
        if kind != "p":
            return "an array, where a scalar is taken"
        if not argument.flags.c_contiguous:
            return f"an array that is not contiguous: strides {argument.strides}"
        if argument.itemsize != size or letter not in (argument.dtype.kind, "?"):
            return f"an array of {argument.dtype}"
        return None
    if kind != "s":
        return f"a {type(argument).__name__}, where an array of the device is taken"
    if not isinstance(argument, np.generic):
        return f"a Python {type(argument).__name__}, which is passed as 64 bits"
    if argument.itemsize != size or argument.dtype.kind != letter:
        return f"a {argument.dtype}"
    return None


def checked_raw_kernel(cupy: Any, device: Any) -> type:
    """The class in the place of `cupy.RawKernel`; `device` is what `install` returns."""
    real = cupy.RawKernel

    class RawKernel:
        """As CuPy's, but every launch is checked, and run once in every order of threads and blocks.

        Raises:
            TypeError: an argument is not what the C++ parameter takes.
            KernelFault: the arrays hold other bits after another order, or one was written to beyond its end.
        """

        def __init__(self, code: str, name: str, options: tuple[str, ...] = (), **given: Any) -> None:
            self._kernel = real(code, name, options=tuple(options), **given)
            self._code, self._options, self.name = code, tuple(options), name

        def __call__(self, grid: Any, block: Any, args: Any, **given: Any) -> None:
            taken = signature(self._code, self._options, self.name)
            if len(args) != len(taken):
                raise TypeError(f"{self.name} takes {len(taken)} arguments, got {len(args)}")
            for i, (argument, parameter) in enumerate(zip(args, taken, strict=True)):
                if (wrong := mistaken(argument, parameter, cupy)) is not None:
                    raise TypeError(f"{self.name}: argument {i} is {wrong}; the parameter is {parameter!r}")
            memory = {i: _bytes(a) for i, a in enumerate(args) if isinstance(a, cupy.ndarray)}
            before = {i: bytes_.copy() for i, bytes_ in memory.items()}
            self._kernel(grid, block, args, **given)
            first = {i: bytes_.copy() for i, bytes_ in memory.items()}
            try:
                for order in ORDERS[1:]:
                    for i, bytes_ in memory.items():
                        bytes_[...] = before[i]
                    device.set_order(ORDERS.index(order))
                    self._kernel(grid, block, args, **given)
                    device.uncount()
                    for i, bytes_ in memory.items():
                        if not np.array_equal(bytes_, first[i]):
                            raise KernelFault(f"{self.name}: argument {i} has other bits with threads {order}")
            finally:
                device.set_order(0)
            for i, argument in enumerate(args):
                if i in memory and device.overrun(argument.data.ptr):
                    device.overruns()
                    raise KernelFault(f"{self.name}: argument {i} was written to beyond its end")

    return RawKernel


def _bytes(array: Any) -> np.ndarray:
    """The memory of a device array, which is the host's."""
    return np.frombuffer((ctypes.c_char * array.nbytes).from_address(array.data.ptr), np.uint8)
