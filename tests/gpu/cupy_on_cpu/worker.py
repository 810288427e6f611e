"""The pytest plugin of a worker (delegate.py): CuPy on the CPU, a share of the tests, their reports as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.cupy_on_cpu.delegate import SHARE
from tests.gpu.cupy_on_cpu.install import install


class Reporter:
    """Keeps the tests of the share, and writes what becomes of them."""

    def __init__(self, config: pytest.Config, share: dict[str, Any]) -> None:
        self._config, self._tests = config, set(share["tests"])
        self._pipe = os.fdopen(share["reports"], "w", encoding="utf-8", buffering=1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._tests]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write(report.nodeid, data)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write(nodeid, None)

    def _write(self, nodeid: str, report: dict[str, Any] | None) -> None:
        self._pipe.write(json.dumps({"test": nodeid, "report": report}) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    install()
    if given := os.environ.get(SHARE):  # else started by hand: python -m pytest -p tests.gpu.cupy_on_cpu.worker …
        config.pluginmanager.register(Reporter(config, json.loads(Path(given).read_text())))
