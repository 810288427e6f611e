"""Every op of the specification, on the stand-in for CuPy and on a card: what holds on the CPU holds there."""

from __future__ import annotations

import pytest

from minidl.check.spec import CASES, OpCase
from minidl.device import Device
from tests.gpu.op_cases import check_case_on_device, check_stated_on_device


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_every_property_holds(case: OpCase, device: Device) -> None:
    check_case_on_device(case, device)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES if c.kinks or c.errors])
def test_what_is_stated_holds(case: OpCase, device: Device) -> None:
    check_stated_on_device(case, device)
