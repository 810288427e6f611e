"""Devices: what is said where there is no GPU, and that nothing else is needed to know it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minidl.device import CPU, asnumpy, get_array_module, get_device
from minidl.errors import DeviceError

WHEEL = r"pip install 'minidl\[gpu-cuda13\]'"


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""

    def __init__(self, message: str, status: int = 999) -> None:
        super().__init__(message)
        self.status = status


def cupy_with(
    cards: int | Exception = 1, version: str = "14.2.0", ones: Callable[..., Any] = np.ones, driver: int = 13020
) -> ModuleType:
    """As much of CuPy as is asked before it is used."""

    def count() -> int:
        if isinstance(cards, Exception):
            raise cards
        return cards

    module: Any = ModuleType("cupy")
    module.__version__, module.ones, module.ndarray = version, ones, type("ndarray", (), {})
    runtime = {"driverGetVersion": lambda: driver, "runtimeGetVersion": lambda: 13020}
    module.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CUDARuntimeError, **runtime)
    )
    return module


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


INSUFFICIENT = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient", 35)
NO_DEVICE = CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected", 100)


@pytest.mark.parametrize(
    ("cupy", "said"),
    [
        (None, rf"CuPy is not installed; {WHEEL} \(or \[gpu-cuda12\]\)$"),
        (cupy_with(version="13.6.0"), r"CuPy must be >= 14, got 13\.6\.0; pip install -U"),
        (cupy_with(INSUFFICIENT, driver=0), "NVIDIA's driver is not installed; install the one for your card, "),
        (
            cupy_with(INSUFFICIENT, driver=12040),
            r"driver knows CUDA up to 12\.4, this CuPy needs 13\.2; renew the driver, or .* 'minidl\[gpu-cuda12\]'$",
        ),
        (cupy_with(CUDARuntimeError("cudaErrorUnknown\nmore")), r"CUDA does not answer \(cudaErrorUnknown\); see "),
        (cupy_with(NO_DEVICE), "the driver is there but sees no card; see nvidia-smi and CUDA_VISIBLE_DEVICES"),
        (cupy_with(cards=0), "the driver is there but sees no card; see nvidia-smi and CUDA_VISIBLE_DEVICES"),
        (
            cupy_with(ones=failing(OSError("libcublas.so.13: cannot open shared object file\n"))),
            rf"the card is there, but computes nothing \(libcublas.so.13: cannot open .*\); .*{WHEEL}",
        ),
        (cupy_with(ones=failing(RuntimeError())), r"computes nothing \(RuntimeError\)"),
    ],
    ids=[
        *("no CuPy", "CuPy too old", "no driver", "driver too old", "driver does not answer", "no card"),
        *("cards hidden", "no cuBLAS", "no reason given"),
    ],
)
def test_what_is_missing_is_one_line(cupy: ModuleType | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(DeviceError, match=rf"^device 'gpu': .*{said}") as caught:
        get_device("gpu")
    assert "\n" not in str(caught.value)


def test_a_gpu_that_computes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = cupy_with()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert get_device("gpu").xp is cupy


@pytest.mark.parametrize("name", ["cuda", "GPU", "", None])
def test_no_such_device(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^device: must be 'cpu' or 'gpu', got "):
        get_device(name)


def test_the_cpu_is_numpy() -> None:
    assert get_device("cpu") is CPU
    x = np.ones(3)
    assert CPU.asarray(x) is x
    assert get_array_module(x, None) is np
    assert asnumpy(x) is x


def run(*command: str, cupy: str | None, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of its own process, which finds a CuPy of these lines, or none, before any other."""
    (folder / "cupy").mkdir()
    text = "raise ModuleNotFoundError(\"No module named 'cupy'\", name='cupy')" if cupy is None else cupy
    (folder / "cupy" / "__init__.py").write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(Path(__file__).resolve().parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


BROKEN = "raise ImportError('libcudart.so.13: cannot open shared object file\\nDetails:\\n…')"


@pytest.mark.parametrize(
    ("cupy", "said"),
    [
        (None, "CuPy is not installed; pip install 'minidl[gpu-cuda13]' (or [gpu-cuda12])\n"),
        (BROKEN, "CuPy is installed, but cannot be loaded: libcudart.so.13: cannot open shared object file\n"),
    ],
    ids=["none", "broken"],
)
def test_train_says_it_in_one_line_and_ends_with_2(cupy: str | None, said: str, tmp_path: Path) -> None:
    done = run("-m", "minidl.train", "--device", "gpu", "--out", "run", cupy=cupy, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"minidl.train: error: device 'gpu': {said}"
    assert not (tmp_path / "run").exists()


def test_train_on_this_machine_says_what_it_lacks(tmp_path: Path) -> None:
    """With the CuPy that is installed here, or without one."""
    code = (
        "from minidl.device import get_device\nfrom minidl.errors import DeviceError\n"
        "try: get_device('gpu')\nexcept DeviceError as error: print(error)"
    )
    missing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    if not missing:
        pytest.skip("there is a GPU here")
    command = [sys.executable, "-m", "minidl.train", "--device", "gpu", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"minidl.train: error: {missing}"
    assert done.stderr.count("\n") == 1
