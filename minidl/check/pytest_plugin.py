"""For pytest: the fixture `assert_conforms`, and how many calls it draws.

    def test_my_conv2d(assert_conforms):
        assert_conforms(my_conv2d, "conv2d")

`pytest --conform-drawn=1000` draws more calls, `--conform-seed=7` others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from minidl.check.report import Verdict


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin."""
    group = parser.getgroup("minidl", "comparing implementations with minidl's ops")
    group.addoption("--conform-drawn", type=int, default=200, metavar="N", help="calls that assert_conforms draws")
    group.addoption("--conform-seed", type=int, default=0, metavar="SEED", help="of those draws")


@pytest.fixture
def assert_conforms(request: pytest.FixtureRequest) -> Callable[..., Verdict]:
    """`minidl.check.assert_conforms` with the draws that the command line says; the verdict is in the report."""
    from minidl.check.compare import compare

    options = {"drawn": request.config.getoption("conform_drawn"), "seed": request.config.getoption("conform_seed")}

    def check(fn: Callable[..., Any], op: str, **given: Any) -> Verdict:
        __tracebackhide__ = True
        verdict = compare(fn, op, **{**options, **given})
        request.node.add_report_section("call", f"minidl.check {op}", str(verdict))
        if not verdict.ok:
            pytest.fail(str(verdict), pytrace=False)
        return verdict

    return check
