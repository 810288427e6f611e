"""Shared objects from C++ and CUDA C++ by g++, compiled once and kept on disk under a hash of all they depend on."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

SRC = Path(__file__).resolve().parent / "src"
CACHE = "MINIDL_CUPY_ON_CPU_CACHE"  # names another folder for what was compiled
PLAIN = ("-std=c++17", "-w", "-shared", "-fPIC")
KERNEL = (  # as few optimisations as are quick; no fused multiply-add, which would not round as written
    *("-std=c++17", "-O1", "-w", "-fPIC", "-fpermissive", "-fno-gnu-unique", "-ffp-contract=off"),
    "-U_FORTIFY_SOURCE",  # its longjmp refuses to go from one stack to another
)
LINKED = ("-nodefaultlibs", "-lc", "-lm", "-lgcc")  # no libstdc++: a quarter of the time
HEADERS = ("complex.cuh", "carray.cuh", "atomics.cuh", "math_constants.h", "float16.cuh")
HALF = """
unsigned short __half_as_ushort(const half& h) { return cpu::bits_as<unsigned short>(h); }
half __ushort_as_half(unsigned short bits) { return cpu::bits_as<half>(bits); }
"""
KERNELS = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(')
TOGETHER = re.compile(r"__sync|__shfl|__shared__")  # threads that need one another


class CompileError(Exception):
    """What g++ says of a kernel."""


def folder() -> Path:
    """Where compiled files are kept."""
    given = os.environ.get(CACHE)
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minidl"
    (path := base / "cupy-on-cpu").mkdir(parents=True, exist_ok=True)
    return path


@cache
def compiler() -> str:
    """The version of g++, for the hash: an object of another one may not fit the precompiled header."""
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def available() -> bool:
    return shutil.which("g++") is not None


def made(name: str, depends: str, command: list[str], source: str | Path, last: Sequence[str] = ()) -> Path:
    """The file that `command` makes of `source`: from the cache, or compiled and put there whole.

    Args:
        name: of the file, behind the hash.
        depends: what the file depends on beside the command and the compiler.
        command: flags of g++.
        source: its path, or the text of one.
        last: flags that come behind the source.

    Raises:
        CompileError: it does not compile.
    """
    key = hashlib.sha256("\0".join((compiler(), sys.version, depends, *command, *last)).encode()).hexdigest()[:24]
    place = folder() / key
    made_already = place / name
    if made_already.exists():
        return made_already
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits for the first one's file
        if not made_already.exists():
            part = place / f"{name}.part"
            if isinstance(source, str):
                text, source = source, place / "source"
                source.write_text(text, encoding="utf-8")
            command = ["g++", *command, str(source), "-o", str(part), *last]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "error" in line]
                raise CompileError("\n".join(errors[:8] or [done.stderr[-2000:]]))
            part.replace(made_already)
    return made_already


def library(source: str, name: str, *flags: str) -> Path:
    """A shared object from a file in `src/`."""
    texts = "".join(path.read_text(encoding="utf-8") for path in sorted(SRC.iterdir()))
    return made(name, source + texts, [*PLAIN, *flags], SRC / source)


def device_module() -> Path:
    """The Python module `device`."""
    return library("device.cpp", "device.so", "-O1", "-I" + sysconfig.get_paths()["include"])


def cublas() -> Path:
    """Our libcublas.so.13; NaN stays NaN in it, but sums may be taken in any order."""
    loose = ("-O3", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno")
    name, versions = "libcublas.so.13", SRC / "cublas.map"
    return library("cublas.cpp", name, *loose, f"-Wl,-soname,{name}", f"-Wl,--version-script={versions}")


@cache
def header() -> Path:
    """`kernel.h` and CuPy's own headers, precompiled: half of the time that a kernel takes."""
    own = "".join((SRC / name).read_text(encoding="utf-8") for name in ("kernel.h", "intrinsics.h", "half.h"))
    text = '#include "kernel.h"\n' + "".join(f"#include <cupy/{name}>\n" for name in HEADERS) + HALF
    return made("all.h.gch", own + text, [*KERNEL, "-I" + str(SRC), *_include(), "-x", "c++-header"], text)


@cache
def _include() -> tuple[str, ...]:
    import cupy._core.core as core

    cupy = core._get_header_dir_path()
    libraries = (f"{cupy}/cupy/_cccl/{name}" for name in ("libcudacxx", "cub", "thrust"))
    return tuple(f"-I{path}" for path in (cupy, *libraries))


def translated(code: str) -> str:
    """CUDA C++ with its declarations of shared memory made what g++ and kernel.h understand.

    Example:
        >>> translated("__shared__ float tile[8][9];")
        'CPU_SHARED(CPU_TYPE(float), tile, [8][9]);'
        >>> translated("extern __shared__ float tile[];")
        'CPU_DYNAMIC(float, tile);'
    """
    aligned = r"(?:__align__\(\w+\)\s+)?"
    code = re.sub(
        rf"extern\s+__shared__\s+{aligned}([\w\s:<>,]+?)\s+(\w+)\s*\[\s*\]\s*;", r"CPU_DYNAMIC(\1, \2);", code
    )
    declared = rf"__shared__\s+{aligned}([\w\s:<>,]+?)\s+(\w+)\s*((?:\[[^\]]*\]\s*)*);"
    return re.sub(declared, r"CPU_SHARED(CPU_TYPE(\1), \2, \3);", code)


def kernels(code: str, options: tuple[str, ...]) -> Path:
    """The shared object of all kernels in `code`: for each, `launch_NAME` and `signature_NAME`.

    CuPy's own kernels let threads return before a barrier that others wait at; ours may not.
    """
    define = (o[2:].partition("=") for o in options if o.startswith("-D"))
    lines = [f"#define {name} {value or 1}" for name, _, value in define]
    lines += ['#line 1 "kernel.cu"', translated(code)]
    for name in dict.fromkeys(KERNELS.findall(code)):
        lenient = "cpu::LENIENT" if name.startswith("cupy_") else "cpu::STRICT"
        kind = lenient if TOGETHER.search(code) else "cpu::INDEPENDENT"
        lines += [
            f'extern "C" const char* launch_{name}(const unsigned* grid, const unsigned* block, unsigned shared,',
            "                            int order, void** arguments) {",
            f"    return cpu::launch({name}, {kind}, grid, block, shared, order, arguments);",
            "}",
            f'extern "C" int signature_{name}(char* out) {{ return cpu::signature({name}, out); }}',
        ]
    text = "\n".join(lines) + "\n"
    ready = header().with_suffix("")  # all.h: g++ takes all.h.gch beside it
    flags = [*KERNEL, "-I" + str(SRC), *_include(), "-shared", "-x", "c++", "-include", str(ready)]
    try:
        return made("kernels.so", text, flags, text, LINKED)
    except CompileError as error:
        raise CompileError(f"a kernel does not compile:\n{error}\n{code}") from error
