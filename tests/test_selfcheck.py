"""The self-check: what it says of a machine that is right, and of one that is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from minidl.bench.cases import network
from minidl.check.properties import truths
from minidl.check.spec import CASES
from minidl.device import CPU, get_device
from minidl.kernels import cpu
from minidl.ops.elementwise import Exp
from minidl.selfcheck import __main__ as command
from minidl.selfcheck import operations, parts, speed
from minidl.selfcheck.finding import Finding, Part, Setting, without_paths
from minidl.selfcheck.report import page
from minidl.selfcheck.training import curve, steady
from tests.gpu.strict import installed

BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick check of this machine's CPU."""
    out = tmp_path_factory.mktemp("selfcheck") / "report.json"
    assert command.main(["--quick", "--out", str(out)]) == 0
    return out


def test_the_cpu_is_right(checked: Path) -> None:
    report = json.loads(checked.read_text())
    assert report["ok"]
    found = report["parts"]
    assert len(found["operations"]) == 2 * len(CASES)
    assert all(f["status"] == "ok" and f["figures"]["ratio"] <= 1 for f in found["operations"])
    assert {f["name"] for f in found["training"]} >= {"curve", "determinism", "mixed precision"}
    assert report["machine"]["numpy"] == np.__version__


def test_the_report_is_a_page_and_names_nobody(checked: Path) -> None:
    text, data = checked.with_suffix(".txt").read_text(), checked.read_text()
    assert text.startswith("minidl on the cpu: everything is right (")
    assert len(text.splitlines()) < 40
    assert "nearest to their bounds" in text
    private = [str(Path.home()), str(checked.parent), os.uname().nodename, os.environ.get("USER", "")]
    for word in (word for word in private if len(word) > 3):
        assert word not in text
        assert word not in data


def test_a_gpu_that_is_imitated_is_right(tmp_path: Path) -> None:
    """On the strict stand-in for CuPy: nothing mixes the two kinds of memory, and the report knows the card."""
    out = tmp_path / "report.json"
    with installed():
        status = command.main(["--quick", "--device", "gpu", "--out", str(out)])
    report = json.loads(out.read_text())
    assert [f for part in report["parts"].values() for f in part if f["status"] == "wrong"] == []
    assert status == 0
    assert {f["name"] for f in report["parts"]["training"]} >= {"curve", "determinism", "memory", "mixed precision"}
    assert report["machine"]["card"]
    assert "card        " in page(report)


def test_times_are_found_on_both_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "cases", lambda: [network("small", "resnet8", batch=2, image=32, classes=10)])
    monkeypatch.setattr(speed, "milliseconds", lambda step, wait=lambda: None: (step(), wait(), 2.0)[-1])
    found = list(speed.speed(Setting(CPU)))
    assert [(f.name, f.status, f.figures["images_per_second"]) for f in found] == [("small", "ok", 1000.0)]
    with installed():
        found = list(speed.speed(Setting(get_device("gpu"))))
    assert [(f.name, f.status) for f in found] == [("small", "ok"), ("small, mixed precision", "ok")]
    assert found[0].says.startswith("2.0 ms a step, 2.0 ms in a row (1,000 images/s); ")


def test_a_kernel_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "correlate", lambda *args, right=cpu.correlate, **kw: right(*args, **kw) * (1 + 1e-6))
    case = BY_NAME["conv2d"]
    calls = truths(case, list(case.samples(np.random.default_rng(0)))[:1])
    setting = Setting(CPU)
    exact, single = (operations.checked(case, calls, dtype, setting, "conv2d") for dtype in (np.float64, np.float32))
    assert exact.status == "wrong"
    assert exact.figures["ratio"] > 1e5
    assert "output of conv2d" in exact.says
    assert single.status == "ok"  # within float32's rounding


def test_results_that_change_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = iter(range(100))
    forward = Exp.forward
    monkeypatch.setattr(Exp, "forward", lambda self, x: forward(self, x) * (1 + next(noise) * 2.0**-52))
    found = operations.checked(BY_NAME["exp"], truths(BY_NAME["exp"])[:1], np.float64, Setting(CPU), "exp")
    assert (found.status, found.says) == ("wrong", "gives other bits the second time")


def test_nothing_that_goes_wrong_stops_the_check() -> None:
    def breaks(setting: Setting):
        yield Finding("first", "ok", "fine")
        raise MemoryError(f"no room for {Path.home()}/kernel.cu")

    report = parts.run(CPU, parts=[Part("a", breaks), Part("b", lambda s: iter([Finding("last", "ok", "fine")]))])
    assert not report["ok"]
    assert [f["status"] for f in report["parts"]["a"]] == ["ok", "wrong"]
    assert report["parts"]["a"][1]["says"] == "MemoryError: no room for …/kernel.cu"
    assert report["parts"]["b"][0]["status"] == "ok"
    assert "1 of 3 checks are WRONG" in page(report)


def test_a_curve_that_leaves_the_cpus_is_found() -> None:
    right = np.array([2.3, 2.2, 2.1])
    moved = right + np.array([0, 1e-6, 1e-5])
    assert curve("curve", right + np.array([1e-6, 2e-5, 2e-4]), right, moved).status == "ok"
    assert curve("curve", right + np.array([1e-4, 0, 0]), right, moved).status == "wrong"
    assert curve("curve", right + np.array([0, 0, np.nan]), right, moved).status == "wrong"


def test_a_run_that_does_not_learn_is_found() -> None:
    right = np.linspace(2.3, 1.0, 60)
    far = right + np.linspace(0, 1, 60)  # so wide that (1) would let anything pass
    assert curve("curve", right + 0.1 * (far - right), right, far).status == "ok"
    still = curve("curve", np.full(60, 2.3), right, far)
    assert (still.status, still.says[:37]) == ("wrong", "does not learn as the CPU does: 60 st")


def test_memory_that_grows_is_found() -> None:
    assert steady([100, 120, 110, 120]).status == "ok"
    assert steady([100, 120, 121, 122]).status == "wrong"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("at /" + "home/ann/.cache/cupy/a.cu(12): bad", "at …/a.cu(12): bad"),
        ("in C:" + r"\Users\ann\b.py", "in …/b.py"),
        ("1/2 of a/b, 3 / 4", "1/2 of a/b, 3 / 4"),
    ],
)
def test_folders_are_left_out(text: str, plain: str) -> None:
    assert without_paths(text) == plain


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--out", "nowhere/at/all.json"]) == 2
    assert capsys.readouterr().err == "minidl.selfcheck: error: --out: there is no folder nowhere/at\n"
