"""`--device gpu` on the strict stand-in for CuPy: the same run as on the CPU, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from train_helpers import STEPS, press_ctrl_c, rows, train

from minidl import checkpoint
from minidl.kernels import use_kernels
from minidl.train.__main__ import main
from minidl.train.record import LAST
from tests.gpu.strict import installed

RESNET = ("--model", "resnet8", "--epochs", "1")


@pytest.fixture(autouse=True)
def same_formulas() -> Iterator[None]:
    """The stand-in, and on the CPU the kernels that a GPU without kernels of its own takes: the same roundings."""
    with installed(), use_kernels("array"):
        yield


def assert_same_numbers(a: str, b: str) -> None:
    """Metrics and all that a checkpoint holds, but for the name of the device."""
    assert rows(a) == rows(b)
    left, right = (checkpoint.load(Path(run) / LAST)[0] for run in (a, b))
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name, strict=True)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--pool", "gaussian"),
        ("--pool", "gaussian", "--pool-prior", "half_gaussian", "--pool-noise", "position"),
        ("--pool", "maxent"),
        ("--conv", "gaussian"),
        ("--conv", "gaussian", "--sigma-kernel", "discrete", "--sigma-per", "channel", "--sigma-border", "crop"),
        ("--conv", "basis", "--basis-order", "2"),
        ("--classifier", "statrot"),
        ("--opt", "adamw", "--label-smoothing", "0.1", "--sched", "cosine", "--warmup-epochs", "0.5"),
        ("--loss", "logit_adjusted", "--imbalance", "10"),
    ],
    ids=" ".join,
)
def test_a_run_is_that_of_the_cpu(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*RESNET, *flags, out="cpu") == 0
    assert train(*RESNET, *flags, "--device", "gpu", out="gpu") == 0
    assert "on the gpu" in capsys.readouterr().out
    assert_same_numbers("cpu", "gpu")


@pytest.mark.parametrize(("first", "then"), [("gpu", "gpu"), ("gpu", "cpu"), ("cpu", "gpu")])
def test_a_run_goes_on_where_it_stopped_on_either_device(
    first: str, then: str, at_step: Callable[[int, Callable[[], object]], None]
) -> None:
    assert train(out="whole") == 0
    at_step(STEPS + 2, press_ctrl_c)
    assert train("--device", first, out="cut") == 130
    assert all(isinstance(a, np.ndarray) for a in checkpoint.load("cut/" + LAST)[0].values())
    assert main(["--resume", "cut", "--device", then]) == 0
    assert_same_numbers("whole", "cut")
