"""Devices that tests here run on: the strict stand-in, the real CuPy on the CPU, and the card where there is one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minidl.device import Device, get_device
from tests.gpu.cupy_on_cpu import delegate
from tests.gpu.cupy_on_cpu.install import device as on_cpu
from tests.gpu.strict import counts, installed

pytest.register_assert_rewrite("tests.gpu.op_cases", "tests.gpu.comparison")


@pytest.fixture
def strict() -> Iterator[Device]:
    """The stand-in, and none of its counts taken yet."""
    with installed():
        device = get_device("gpu")
        counts.clear()
        yield device


REAL = [pytest.param("cupy", marks=pytest.mark.cupy_on_cpu), pytest.param("card", marks=pytest.mark.gpu)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    delegate.skip_if_missing(config, items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return delegate.run_elsewhere(item, nextitem)


@contextmanager
def real(name: str) -> Iterator[Device]:
    """The real CuPy: "cupy" on the CPU, where no array may be overrun, or on the "card"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of importing CuPy, not of what is tested
        device = get_device("gpu")
    yield device
    if name == "cupy":
        assert on_cpu().overruns() == 0


@pytest.fixture(params=REAL)
def cupy(request: pytest.FixtureRequest) -> Iterator[Device]:
    """A GPU with the real CuPy, which takes kernels of our own."""
    with real(request.param) as device:
        yield device


@pytest.fixture(params=["strict", *REAL])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """A GPU, imitated or real."""
    if request.param == "strict":
        yield request.getfixturevalue("strict")
    else:
        with real(request.param) as device:
            yield device
