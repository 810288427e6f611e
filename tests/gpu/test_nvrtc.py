"""Every kernel, for every type, compiled for every architecture: no spills, registers within the table's bounds."""

from __future__ import annotations

import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from minidl.kernels.cuda.sources import (
    FOLDER,
    REGISTERS,
    SOURCES,
    THREADS,
    TYPES,
    Source,
    instantiations,
    options,
    text,
)
from tests.gpu import nvrtc

needs_compiler = pytest.mark.skipif(not nvrtc.available(), reason="the wheel nvidia-cuda-nvrtc 13 is not installed")
KERNEL = re.compile(r'extern "C" __global__ void __launch_bounds__\((\w+, \w+)\) (\w+)\(')


def faults(source: Source, dtype: str, architecture: str) -> list[str]:
    """What is wrong with the machine code of one instantiation."""
    try:
        compiled = nvrtc.compile_source(text(source.file), architecture, options(source, dtype))
    except nvrtc.CompileError as error:
        return [f"{source.file} {dtype}: {error}"]
    found = []
    if {c.kernel for c in compiled} != set(source.kernels):
        found.append(f"{source.file}: {sorted(c.kernel for c in compiled)} were compiled")
    bad = [c for c in compiled if c.spill_stores or c.spill_loads or c.stack or c.registers > REGISTERS[dtype]]
    return found + [f"{architecture} {dtype} {c}: bound {REGISTERS[dtype]} registers" for c in bad]


@pytest.fixture(scope="module")
def compilers():
    """Processes that compile: the compiler itself lets one thread in at a time."""
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        yield pool


@needs_compiler
def test_every_kernel_compiles_for_every_architecture_without_spills(compilers) -> None:
    asked = [(s, d, a) for s, d in instantiations() for a in nvrtc.ARCHITECTURES]
    assert len(asked) == len(nvrtc.ARCHITECTURES) * sum(len(s.types) for s in SOURCES)
    found = [line for lines in compilers.map(faults, *zip(*asked, strict=True), chunksize=4) for line in lines]
    assert not found, "\n".join(found)


@needs_compiler
def test_spills_errors_and_warnings_would_be_seen() -> None:
    greedy = 'extern "C" __global__ void __launch_bounds__(1024) f(float* x) {\n float a[200];\n' + (
        "for (int i = 0; i < 200; i++) a[i] = x[i * threadIdx.x];\n"
        "for (int k = 0; k < 9; k++) for (int i = 0; i < 200; i++) a[i] = a[(i + 7) % 200] * x[k] + x[i];\n"
        "for (int i = 0; i < 200; i++) x[i] = a[i]; }\n"
    )
    (spilt,) = nvrtc.compile_source(greedy, "sm_80", ())
    assert spilt.spill_stores + spilt.stack > 0
    for wrong in ("void f( {", 'extern "C" __global__ void f(int* x) { int unused; x[0] = 1 / 0; }'):
        with pytest.raises(nvrtc.CompileError):
            nvrtc.compile_source(wrong, "sm_80", ())


def test_the_table_names_what_the_sources_define() -> None:
    assert {s.file for s in SOURCES} == {p.name for p in FOLDER.glob("*.cu")}
    for source in SOURCES:
        bounds, names = zip(*KERNEL.findall(text(source.file)), strict=True)
        assert set(names) == set(source.kernels) and len(names) == len(source.kernels)
        assert set(bounds) == {f"{THREADS}, BLOCKS"}
        assert len(re.findall("__global__", text(source.file))) == len(names)
        assert set(source.types) <= set(TYPES)
        assert "#include" not in text(source.file)


def test_no_kernel_uses_atomic_operations_or_doubles_by_accident() -> None:
    for source in SOURCES:
        code = re.sub(r"//.*", "", text(source.file))
        assert "atomic" not in code
        if source.file != "noise.cu":  # which computes in double on purpose
            assert not re.search(r"(?<![\w.])\d+\.\d*(?!\d*f)(?![\w.])", code), f"{source.file}: a literal in double"
