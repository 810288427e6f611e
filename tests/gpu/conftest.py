"""Devices that tests here run on: the strict stand-in everywhere, and the card where there is one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from minidl.device import Device, get_device
from tests.gpu.strict import counts, installed

pytest.register_assert_rewrite("tests.gpu.op_cases", "tests.gpu.comparison")


@pytest.fixture
def strict() -> Iterator[Device]:
    """The stand-in, and none of its counts taken yet."""
    with installed():
        device = get_device("gpu")
        counts.clear()
        yield device


@pytest.fixture(params=["strict", pytest.param("card", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    """A GPU, imitated or real."""
    if request.param == "strict":
        return request.getfixturevalue("strict")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of importing CuPy, not of what is tested
        return get_device("gpu")
