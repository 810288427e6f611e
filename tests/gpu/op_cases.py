"""The op specification asked of a device: plain functions, for the stand-ins for CuPy and for a card."""

from __future__ import annotations

from functools import cache

from minidl.check.properties import PROPERTIES, truths, violations
from minidl.check.spec import CASES, OpCase
from minidl.check.stated import error_violations, kink_violations
from minidl.check.truth import Truth
from minidl.device import Device

BY_NAME = {case.name: case for case in CASES}


@cache
def known(name: str) -> list[Truth]:
    """What is true of the samples of an op: computed once, on the CPU."""
    return truths(BY_NAME[name])


def check_case_on_device(case: OpCase, device: Device) -> None:
    """Every property of every sample, in both precisions, within the rounding bounds that hold on the CPU."""
    found = violations(case, [truth.on(device) for truth in known(case.name)], PROPERTIES)
    assert not found, "\n".join(found)


def check_stated_on_device(case: OpCase, device: Device) -> None:
    """The subgradients at kinks, and the calls that are refused."""
    found = [line for kink in case.kinks for line in kink_violations(case, kink, device)]
    found += [line for error in case.errors for line in error_violations(case, error, device)]
    assert not found, "\n".join(found)
