"""The stand-in for CuPy: it answers as the real one does, refuses what a GPU leaves undefined, and counts."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl import ops
from minidl.autograd import Function, Tensor
from minidl.check.properties import float32_stays_float32, gradients_equal_numerical_derivatives, violations
from minidl.check.spec import Sample
from minidl.check.spec.case import OpCase
from minidl.check.truth import Truth
from minidl.device import Device
from minidl.kernels import kernels_for
from tests.gpu.strict import HostWaits, counts, freeze, installed, no_waits
from tests.gpu.strict.probes import STRICTER, forbidden, outcomes

ROOT = Path(__file__).resolve().parents[2]
FROZEN = json.loads(Path(freeze.__file__).with_name("probes.json").read_text(encoding="utf-8"))["outcomes"]


def waited(call: Callable[[], Any]) -> bool:
    before = counts.waits.total()
    with contextlib.suppress(Exception):  # its kind is the outcome
        call()
    return counts.waits.total() > before


def test_it_answers_as_the_real_one(strict: Device) -> None:
    found = outcomes(strict.xp, waited)
    assert found.keys() == FROZEN.keys()
    assert {p: a for p, a in found.items() if p not in STRICTER} == {
        p: a for p, a in FROZEN.items() if p not in STRICTER
    }
    assert all(found[probe][0] in ("IndexError", "ValueError") for probe in STRICTER)


def test_the_real_one_answers_as_it_did(cupy: Device) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cupyx
    found = outcomes(cupy.xp, forbidden(cupyx))
    undefined = {probe for probe in STRICTER if "setitem" in probe or "iadd" in probe}
    assert {p: a for p, a in found.items() if p not in undefined} == {
        p: a for p, a in FROZEN.items() if p not in undefined
    }


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy's wheel is not installed")
def test_its_names_are_those_of_the_wheel_that_is_installed(tmp_path: Path) -> None:
    """In a process of its own: CuPy is imported without a driver."""
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); from pathlib import Path; "
        "from tests.gpu.strict import freeze; freeze.API = Path(sys.argv[1]); freeze.main()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "api.json")], cwd=ROOT, check=True)
    new, frozen = (json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "api.json", freeze.API))
    if new["version"] != frozen["version"]:
        pytest.skip(f"the wheel is of CuPy {new['version']}, the names are of {frozen['version']}")
    assert new == frozen


def test_it_knows_no_other_names_and_guesses_nothing(strict: Device) -> None:
    xp = strict.xp
    with pytest.raises(AttributeError, match="has no attribute 'geomspace'"):
        xp.geomspace(1, 2)
    with pytest.raises(AttributeError, match="no attribute 'resize'"):
        xp.ones(2).resize(3)
    with pytest.raises(NotImplementedError, match=r"does not model ndarray\.scatter_add"):
        xp.ones(2).scatter_add(0, 1.0)
    with pytest.raises(TypeError, match=r"sum\(.*\): got an unexpected keyword argument 'where'"):
        xp.sum(xp.ones(2), where=True)
    with pytest.raises(TypeError, match="takes device arrays, got a list"):
        xp.sum([1.0, 2.0])
    assert not hasattr(xp, "RawModule")
    assert kernels_for(xp).__name__ == "minidl.kernels.array"


def test_waits_are_counted_and_may_be_forbidden(strict: Device) -> None:
    x = strict.xp.ones((2, 2))
    x.sum()
    assert not counts.waits
    assert counts.launches == 2
    float(x.sum())
    assert counts.waits == {"float()": 1}
    with no_waits():
        strict.asarray(np.ones(3))
        assert counts.uploads == 1
        for look in (lambda: x.get(), lambda: bool(x[0, 0] > 0), lambda: x[x > 0], lambda: f"{x[0, 0]:.1f}"):
            with pytest.raises(HostWaits):
                look()
    assert x[0, 0].item() == 1


def test_memory_is_counted_and_bounded(strict: Device) -> None:
    before = strict.memory()
    x = strict.xp.zeros((10, 10))
    view = x[2:]
    assert strict.memory() == before + 800
    del x
    assert strict.memory() == before + 800  # the view holds it
    del view
    assert strict.memory() == before
    strict.limit_memory("1kB")
    with pytest.raises(MemoryError, match="allocating 8000 bytes"):
        strict.xp.zeros(1000)


def test_a_copy_on_another_stream_is_not_there_before_it_is_waited_for(strict: Device) -> None:
    xp = strict.xp
    compute, copies = xp.cuda.get_current_stream(), xp.cuda.Stream(non_blocking=True)
    target = xp.empty(3)
    target.set(np.ones(3), stream=copies)
    event = copies.record()
    assert not event.done
    assert np.isnan(target.get()).all()
    compute.wait_event(event)
    assert event.done
    assert (target.get() == 1).all()


def test_installed_leaves_what_was_there() -> None:
    before = sys.modules.get("cupy")
    with installed() as cupy:
        assert sys.modules["cupy"] is cupy
    assert sys.modules.get("cupy") is before


class Planted(Function):
    """y = 2 x, gx = 2 gy, with a mistake that NumPy lets pass."""

    def forward(self, x: Any, *, mistake: Callable[[Any, Any], Any]) -> Any:
        self.mistake = mistake
        return mistake(self.xp, x)

    def backward(self, gy: Any) -> tuple[Any, ...]:
        return (2 * gy,)


def _into_empty(xp: Any, x: Any) -> Any:
    y = xp.empty_like(x)
    y[1:] = 2 * x[1:]
    y[:1] += 2 * x[:1]  # as if empty were zeros, which it often is
    return y


def _shifted(xp: Any, x: Any) -> Any:
    y = xp.concatenate([x[:1], 2 * x])
    y[:-1] = y[1:]
    return y[:-1]


def _twice(xp: Any, x: Any) -> Any:
    y = 2 * x
    y[xp.asarray([0, 0])] = 2 * x[:1]
    return y


MISTAKES = {
    "an array of the host": lambda xp, x: np.full(x.shape, 2.0, x.dtype) * x,
    "a sum that is read": lambda xp, x: 2 * x + 0 * float(x.sum()),
    "a branch on a value": lambda xp, x: 2 * x if x.sum() > 0 else x + x,
    "a boolean mask": lambda xp, x: 2 * x + 0 * x[x == x].sum(),
    "sliding windows": lambda xp, x: 2 * xp.lib.stride_tricks.sliding_window_view(x, 1, axis=0)[..., 0],
    "where=": lambda xp, x: 2 * x + 0 * xp.sum(x, where=x > 0),
    "initial=": lambda xp, x: 2 * x + 0 * xp.max(x, initial=0),
    "clip by name": lambda xp, x: 2 * xp.clip(x, min=-9.0, max=9.0),
    "another dtype": lambda xp, x: xp.float64(2) * x,
    "a name CuPy lacks": lambda xp, x: 2 * xp.stack(xp.unstack(x)),
    "unwritten memory": _into_empty,
    "an index out of range": lambda xp, x: 2 * xp.take(x, xp.arange(len(x) + 1), axis=0)[:-1],
    "one element written twice": _twice,
    "written to and read with an offset": _shifted,
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_planted_mistake_is_caught(mistake: Callable[[Any, Any], Any], strict: Device) -> None:
    case = OpCase(
        name="planted",
        op=lambda x, mistake: Planted.apply(x, mistake=mistake),
        samples=lambda rng: [Sample((rng.uniform(1, 2, (3, 4)),))],
        reference=lambda x, mistake: 2 * x,
        equations="y = 2 x",
        analytic=False,
    )
    sample = Sample((np.random.default_rng(0).uniform(1, 2, (3, 4)),), {"mistake": lambda xp, x: 2 * x})
    truth = Truth(case, sample).on(strict)
    properties = [gradients_equal_numerical_derivatives, float32_stays_float32]
    assert violations(case, [truth], properties) == []

    def within_the_op(xp: Any, x: Any) -> Any:
        counts.allowed = False  # outside of it, results are read
        try:
            return mistake(xp, x)
        finally:
            counts.allowed = True

    truth.sample.params["mistake"] = within_the_op
    assert caught(lambda: violations(case, [truth], properties))


def caught(check: Callable[[], list[str]]) -> bool:
    try:
        return bool(check())
    except (TypeError, AttributeError, IndexError, ValueError, HostWaits):
        return True


def test_labels_are_refused_on_the_host_before_they_are_uploaded(strict: Device) -> None:
    """CuPy would wrap an index around: a wrong label would be another class, silently."""
    logits = Tensor(strict.xp.zeros((2, 3), np.float32), requires_grad=True)
    for wrong in (np.array([0, 3]), np.array([-1, 0])):
        with pytest.raises(ValueError, match=r"cross_entropy: labels must be in \[0, 3\), got"), no_waits():
            ops.cross_entropy(logits, wrong)
        with pytest.raises(ValueError, match=r"cross_entropy: labels must be in \[0, 3\), got"):
            ops.cross_entropy(logits, strict.asarray(wrong))
    for refused in (lambda: ops.take(logits, [3], axis=1), lambda: logits[2], lambda: logits[:, [0, -4]]):
        with pytest.raises(IndexError):
            refused()
