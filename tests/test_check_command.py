"""`python -m minidl.check` and the pytest plugin."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidl.check.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent

MINE = """
import numpy as np

def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)

def backward(gy, x, axis=-1):
    p = softmax(x, axis)
    return p * (gy - (gy * p).sum(axis, keepdims=True))

def diagonal(gy, x, axis=-1):
    p = softmax(x, axis)
    return gy * p * (1 - p)

def over(a, dim=-1):
    return softmax(a, dim)

class Nothing:
    pass

number = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine_for_check.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_for_check", None)


def run(capsys: pytest.CaptureFixture, *argv: str) -> tuple[int, str, str]:
    status = main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_right_function(mine: Path, capsys: pytest.CaptureFixture) -> None:
    status, out, err = run(
        capsys, "mine_for_check:softmax", "--as", "softmax", "--backward", "mine_for_check:backward", "--drawn", "5"
    )
    assert (status, err) == (0, "")
    assert out.startswith("softmax (numpy, float64) conforms to softmax")


def test_a_wrong_one(mine: Path, capsys: pytest.CaptureFixture) -> None:
    status, out, _ = run(
        capsys, "check", "mine_for_check.py:softmax", "--as", "softmax", "--backward", "mine_for_check:diagonal"
    )
    assert status == 1
    assert "diagonal of the Jacobian alone" in out


def test_options(mine: Path, capsys: pytest.CaptureFixture) -> None:
    status, out, _ = run(
        capsys, "mine_for_check:over", "--as", "softmax", "--rename", "axis=dim", "--dtype", "float32", "--seed", "4",
        "--framework", "numpy", "--drawn", "3", "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert status == 0 and found["ok"] and found["dtype"] == "float32" and found["drawn"] == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["softmax", "--as", "softmax"], "the function must be given as MODULE:FUNCTION, got 'softmax'"),
        (["mine_for_check:nothing", "--as", "softmax"], "cannot import mine_for_check:nothing: AttributeError"),
        (["no_such_file.py:f", "--as", "softmax"], "cannot import no_such_file.py:f: FileNotFoundError"),
        (["no_such_module_at_all:f", "--as", "softmax"], "ModuleNotFoundError"),
        (["mine_for_check:number", "--as", "softmax"], "mine_for_check:number is no function but a int"),
        (["mine_for_check:softmax", "--as", "softmaxx"], "there is no op 'softmaxx'; did you mean softmax"),
        (["mine_for_check:softmax", "--as", "softmax", "--drawn", "-1"], "--drawn must be >= 0, got -1"),
        (["mine_for_check:softmax", "--as", "softmax", "--rename", "axis"], "--rename must be OURS=THEIRS, got 'axis'"),
        (["mine_for_check:softmax", "--as", "softmax", "--rename", "bias=b"], "softmax has no argument 'bias'"),
        (["grad", "mine_for_check:softmax", "2,x"], "a shape must be lengths parted by commas, got '2,x'"),
        (["grad", "mine_for_check:softmax", "2,3"], "numpy has no automatic differentiation"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    mine: Path, capsys: pytest.CaptureFixture, argv: list[str], message: str
) -> None:
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1 and "Traceback" not in err


def test_gradients_of_any_function(mine: Path, capsys: pytest.CaptureFixture) -> None:
    status, out, _ = run(capsys, "grad", "mine_for_check:softmax", "3,4", "--backward", "mine_for_check:backward")
    assert status == 0 and "softmax: the gradient is right" in out
    status, out, _ = run(capsys, "grad", "mine_for_check:softmax", "3,4", "--backward", "mine_for_check:diagonal")
    assert status == 1 and "the gradient of x is wrong in every element" in out


def test_every_command_is_there_and_says_what_it_takes(capsys: pytest.CaptureFixture) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0 and all(name in out for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert f"python -m minidl.check {name}" in capsys.readouterr().out


def test_ops_and_kinks_are_listed(capsys: pytest.CaptureFixture) -> None:
    status, out, _ = run(capsys, "ops")
    assert status == 0 and "conv2d(x, weight, bias, stride, padding, dilation, groups): y[n,o,i,j]" in out
    status, out, _ = run(capsys, "kinks")
    assert status == 0 and out.startswith("| op | where | minidl |")


def test_peers_are_tabled(capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("torch")
    status, out, _ = run(capsys, "peers", "torch", "--op", "relu", "--op", "dropout", "--drawn", "2")
    assert status == 0
    assert "| relu | 5 | 0 | float64, no error at all |  |" in out and "| dropout |  |  | not there |  |" in out
    assert "PyTorch, float64: 1 of 1 ops conform, 5 calls" in out
    status, out, _ = run(capsys, "peers", "torch", "--op", "relu", "--drawn", "2", "--json")
    assert status == 0 and json.loads(out)[0]["ok"]


def test_from_the_shell(mine: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "minidl.check", "mine_for_check:softmax", "--as", "softmax", "--drawn", "2"],
        cwd=mine,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.startswith("softmax (numpy, float64) conforms"), done.stderr


def test_the_pytest_plugin(mine: Path) -> None:
    (mine / "test_mine.py").write_text(
        "from mine_for_check import softmax, backward, diagonal\n"
        "def test_right(assert_conforms):\n"
        "    assert assert_conforms(softmax, 'softmax', backward=backward).drawn == 7\n"
        "def test_wrong(assert_conforms):\n"
        "    assert_conforms(softmax, 'softmax', backward=diagonal, drawn=3)\n"
    )
    installed = any(e.name == "minidl_check" for e in importlib.metadata.entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "minidl.check.pytest_plugin"]  # not twice
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "--conform-drawn=7", "-W", "error", "-p", "no:cacheprovider"],
        cwd=mine,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "diagonal of the Jacobian alone" in done.stdout and "DOES NOT conform to softmax" in done.stdout
    assert "Traceback" not in done.stdout
