"""Where CuPy is made to compute on the CPU: the places of CuPy that are replaced, before its import and after."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np

from tests.gpu.cupy_on_cpu import build
from tests.gpu.cupy_on_cpu.arguments import checked_raw_kernel

WHEEL, PINNED = "cupy-cuda13x", "14.2.0"
PROPERTIES = {
    "name": b"CPU in the place of a GPU",
    "major": 9,
    "minor": 0,
    "multiProcessorCount": 4,
    "totalGlobalMem": 8 << 30,
    "warpSize": 32,
    "sharedMemPerBlock": 49152,
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerMultiProcessor": 2048,
    "pciBusID": 0,
    "pciDeviceID": 0,
    "pciDomainID": 0,
}


class WrongVersion(ImportError):
    """Another CuPy than the one whose inside is known here."""


def installed_version() -> str | None:
    """Of the wheel, or None where it is not installed."""
    try:
        return version(WHEEL)
    except PackageNotFoundError:
        return None


def missing() -> str | None:
    """What CuPy on the CPU needs and is not there; None if nothing is.

    Raises:
        WrongVersion: the wheel is there, but not the one that is known here.
    """
    if (found := installed_version()) is None:
        return f"the wheel {WHEEL} is not installed (pip install 'minidl[gpu-proof]')"
    if found != PINNED:
        raise WrongVersion(f"cupy_on_cpu: made for {WHEEL} {PINNED}, got {found}; see tests/gpu/cupy_on_cpu/README.md")
    return None if build.available() else "there is no g++ to compile kernels with"


_installed: list[Any] = []


def device() -> Any:
    """What `install` returned in this process."""
    return _installed[0]


def install() -> Any:
    """Import CuPy so that it computes on the CPU.

    Returns:
        The extension module `device`: counts(), overruns(), set_order(number) and more.

    Raises:
        WrongVersion: see `missing`.
        ImportError: something is missing, CuPy was imported before, or its inside is not as expected.
    """
    if (reason := missing()) is not None:
        raise ImportError(f"cupy_on_cpu: {reason}")
    if "cupy" in sys.modules:
        raise ImportError("cupy_on_cpu: CuPy was imported before")
    os.environ["CUPY_ACCELERATORS"] = ""  # no reductions that are compiled beforehand
    device = load_device()
    _replace_runtime(device)
    _replace_libraries()
    cupy = importlib.import_module("cupy")
    _replace_compiler()
    cupy.RawKernel = checked_raw_kernel(cupy, device)
    _replace_sorting()
    cupy.random.default_rng = cupy.random.Generator = cupy.random.RandomState = _no_generator
    cupy.cuda.set_allocator(None)  # no pool: every array stands between zones of its own
    cupy.cuda.is_available = cupy.is_available = lambda: True
    _installed.append(device)
    return device


def load_device() -> Any:
    path = build.device_module()
    spec = importlib.util.spec_from_file_location("device", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _replace_runtime(device: Any) -> None:
    """The functions that CuPy's modules call by pointers, and those that are called from Python."""
    from cupy_backends.cuda.api import driver, runtime

    device.install(runtime, driver, PROPERTIES)
    runtime.getDeviceCount = lambda: 1
    runtime.getDevice = lambda: 0
    runtime.driverGetVersion = runtime.runtimeGetVersion = lambda: 13020
    runtime.deviceSynchronize = device.wait
    runtime.deviceGetAttribute = lambda which, number: device.attribute(which)
    runtime.memGetInfo = device.memory
    runtime.getDeviceProperties = lambda number: PROPERTIES


def _replace_libraries() -> None:
    """Our cuBLAS, and none of CUDA's other libraries."""
    from cuda import pathfinder

    ctypes.CDLL(str(build.cublas()), mode=ctypes.RTLD_GLOBAL)

    def load(name: str) -> None:
        if name not in ("cublas", "cublasLt"):
            raise pathfinder.DynamicLibNotFoundError(f"cupy_on_cpu does not model {name}")

    pathfinder.load_nvidia_dynamic_lib = load
    headers = pathfinder.find_nvidia_header_directory
    pathfinder.find_nvidia_header_directory = lambda name: headers(name) or str(build.SRC)  # g++ needs none of CUDA's


def _replace_compiler() -> None:
    """g++ where CuPy calls NVRTC."""
    from cupy.cuda import compiler, function

    def compiled(
        source: str, options: tuple[str, ...] = (), *args: Any, name_expressions: Any = None, **kw: Any
    ) -> Any:
        if name_expressions:
            raise NotImplementedError("cupy_on_cpu does not model RawModule(name_expressions=…)")
        module = function.Module()
        module.load(b"ONCPU:" + str(build.kernels(source, tuple(options))).encode())
        return module

    if not hasattr(compiler, "_compile_module_with_cache"):
        raise ImportError("cupy_on_cpu: CuPy's compiler is called in another way")
    compiler._compile_module_with_cache = compiled


def _replace_sorting() -> None:
    """Thrust, which CuPy brings as machine code, by NumPy."""
    from cupy.cuda import thrust

    def view(address: int, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)

    def sort(dtype: Any, data: int, keys: int, shape: tuple[int, ...]) -> None:
        view(data, dtype, shape).sort(axis=-1, kind="stable")

    def argsort(dtype: Any, index: int, data: int, keys: int, shape: tuple[int, ...]) -> None:
        values = view(data, dtype, shape)
        order = np.argsort(values, axis=-1, kind="stable")
        view(index, np.intp, shape)[...] = order
        values[...] = np.take_along_axis(values, order, -1)

    thrust.sort, thrust.argsort = sort, argsort


def _no_generator(*args: Any, **kwargs: Any) -> ModuleType:
    raise NotImplementedError("cupy_on_cpu does not model cupy.random: cuRAND's generators are machine code")
