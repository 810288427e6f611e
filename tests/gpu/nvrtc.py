"""NVIDIA's runtime compiler from its wheel, which needs neither a driver nor a card nor CuPy."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ARCHITECTURES = tuple(f"sm_{n}" for n in (75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121))


@dataclass(frozen=True)
class Compiled:
    """What the assembler says of one kernel."""

    kernel: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


class CompileError(Exception):
    """The compiler's log."""


def available() -> bool:
    """Whether the wheel nvidia-cuda-nvrtc (13.x) is installed."""
    spec = importlib.util.find_spec("nvidia")
    return spec is not None and _library_path() is not None


def _library_path() -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / "cu13" / "lib" / "libnvrtc.so.13"
        if path.exists():
            return path
    return None


@lru_cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(_library_path()))


def compile_source(source: str, architecture: str, options: tuple[str, ...]) -> list[Compiled]:
    """Every kernel of `source` compiled to machine code for `architecture`.

    Raises:
        CompileError: it does not compile, or the compiler warns.
    """
    nvrtc, program, size = _library(), ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    try:
        given = [o.encode() for o in (f"--gpu-architecture={architecture}", "--ptxas-options=-v", *options)]
        failed = nvrtc.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        text = log.value.decode()
        if failed or "warning" in text:
            raise CompileError(f"{architecture} {options}:\n{text}")
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        if not size.value:
            raise CompileError(f"{architecture} {options}: no machine code came out")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return list(_read(text))


def _read(log: str):
    """The assembler's "info" lines, kernel by kernel."""
    for part in log.split("Compiling entry function '")[1:]:
        frame, stores, loads = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        ).groups()
        registers = re.search(r"Used (\d+) registers", part)[1]
        yield Compiled(part.split("'")[0], int(registers), int(frame), int(stores), int(loads))
