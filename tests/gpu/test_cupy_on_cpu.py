"""What the real CuPy on the CPU is made of: its refusals, its numbers, its workers, its cache."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl.device import Device
from tests.gpu.cupy_on_cpu import build, install
from tests.gpu.cupy_on_cpu.install import device as on_cpu

END = "MINIDL_TEST_ENDS_ITS_WORKER"


def test_another_version_fails_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "installed_version", lambda: "15.0.0")
    with pytest.raises(
        install.WrongVersion, match=r"^cupy_on_cpu: made for cupy-cuda13x 14\.2\.0, got 15\.0\.0; see .*$"
    ):
        install.missing()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "installed_version", lambda: None)
    assert "minidl[gpu-proof]" in str(install.missing())
    monkeypatch.setattr(install, "installed_version", lambda: install.PINNED)
    monkeypatch.setenv("PATH", "")
    assert "g++" in str(install.missing())


@pytest.mark.skipif(not build.available(), reason="there is no g++")
def test_a_file_is_made_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.CACHE, str(tmp_path))
    command = ["-shared", "-fPIC", "-x", "c++"]
    first = build.made("f.so", "", command, "int f() { return 1; }")
    written = first.stat().st_mtime_ns
    assert first.is_relative_to(tmp_path) and build.made("f.so", "", command, "never read") == first
    assert first.stat().st_mtime_ns == written
    with pytest.raises(build.CompileError, match="error"):
        build.made("g.so", "", command, "int f( {")
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("g.so"))


@pytest.mark.cupy_on_cpu
def test_half_precision_is_numpys(cupy: Device) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits.view(np.float16)
    wide = cupy.asarray(halves).astype(np.float32).get()
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    finite = wide[np.isfinite(wide)]
    between = np.concatenate(
        [np.nextafter(finite, np.float32(s)) for s in (-np.inf, np.inf)] + [finite * 1.0005, finite]
    )
    with np.errstate(over="ignore"):
        right = between.astype(np.float16)
    assert (cupy.asarray(between).astype(np.float16).get().view(np.uint16) == right.view(np.uint16)).all()


@pytest.mark.cupy_on_cpu
def test_waits_copies_and_launches_are_counted(cupy: Device) -> None:
    x, before = cupy.asarray(np.ones(3, np.float32)), on_cpu().counts()
    y = x + 1
    assert on_cpu().counts()["launches"] == before["launches"] + 1
    assert on_cpu().counts()["waits"] == before["waits"]
    assert float(y[0]) == 2
    after = on_cpu().counts()
    assert after["downloads"] == before["downloads"] + 1 and after["waits"] > before["waits"]


@pytest.mark.cupy_on_cpu
def test_what_is_not_modelled_says_so(cupy: Device) -> None:
    with pytest.raises(NotImplementedError, match=r"does not model cupy\.random"):
        cupy.xp.random.default_rng(0)
    with pytest.raises(NotImplementedError, match="RawModule"):
        cupy.xp.RawModule(code="", name_expressions=["f<int>"]).get_function("f<int>")


@pytest.mark.cupy_on_cpu
@pytest.mark.parametrize("which", ["first", "second", "third"])
def test_ends_its_worker_when_asked_to(which: str) -> None:
    if os.environ.get(END) == which:
        os._exit(3)


@pytest.mark.skipif(
    install.installed_version() != install.PINNED or not build.available(), reason="CuPy or g++ is missing"
)
def test_a_worker_that_dies_fails_its_test_alone() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "ends_its_worker", __file__]
    environment = os.environ | {END: "first"}
    root = Path(__file__).parents[2]
    said = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False).stdout
    assert re.search(r"1 failed, 2 passed", said), said
    assert "ended with status 3" in said
