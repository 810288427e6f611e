"""Tests marked `cupy_on_cpu`: run by other processes, in which CuPy computes on the CPU, and reported here one by one.

    this pytest                                     a worker: python -m pytest -p tests.gpu.cupy_on_cpu.worker
    first marked test: start the workers      →     installs CuPy on the CPU, collects, keeps its share of the tests
    each marked test: wait for its reports    ←     a line of JSON for every report

A worker that dies fails the test it was at; another one goes on with the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from tests.gpu.cupy_on_cpu.install import missing

MARK, WORKER = "cupy_on_cpu", "tests.gpu.cupy_on_cpu.worker"
SHARE = "MINIDL_CUPY_ON_CPU_SHARE"  # a JSON file: {"tests": node ids, "reports": a file descriptor to write to}
PATIENCE = 600  # seconds for one test
_workers = pytest.StashKey["Workers"]()


def is_worker(config: pytest.Config) -> bool:
    return config.pluginmanager.hasplugin(WORKER)


def skip_if_missing(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as skipped, with the reason, what cannot run here."""
    marked = [item for item in items if item.get_closest_marker(MARK)]
    if marked and not is_worker(config) and (reason := missing()) is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"CuPy on the CPU: {reason}"))


def run_elsewhere(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """The protocol of a marked test: what its worker reports, as if it had run here; None for other tests."""
    config, session = item.config, item.session
    if not item.get_closest_marker(MARK) or is_worker(config) or item.get_closest_marker("skip"):
        return None
    if _workers not in config.stash:
        marked = [i for i in session.items if i.get_closest_marker(MARK) and not i.get_closest_marker("skip")]
        config.stash[_workers] = Workers(config, marked)
        config.add_cleanup(config.stash[_workers].close)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in config.stash[_workers].reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    session._setupstate.teardown_exact(nextitem)  # what the test before this one left for its neighbours
    return True


class Workers:
    """Processes that share the marked tests."""

    def __init__(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        count = min(os.cpu_count() or 1, 2, len(items))
        self._of = {item.nodeid: i % count for i, item in enumerate(items)}
        shares = [[item for item in items if self._of[item.nodeid] == k] for k in range(count)]
        self._workers = [_Worker(config, share) for share in shares]

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        return self._workers[self._of[item.nodeid]].reports(item)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process, and what it has reported of the tests in its share."""

    def __init__(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self._config, self._left = config, deque(items)
        self._folder = tempfile.TemporaryDirectory(prefix="minidl-worker-")
        self._start()

    def _start(self) -> None:
        share, log = (Path(self._folder.name) / name for name in ("share.json", "log"))
        receive, send = os.pipe()
        share.write_text(json.dumps({"tests": [item.nodeid for item in self._left], "reports": send}))
        files = list(dict.fromkeys(str(item.path) for item in self._left))
        command = [sys.executable, "-m", "pytest", "-p", WORKER, "-p", "no:cacheprovider", *files]
        environment = os.environ | {SHARE: str(share), "OPENBLAS_NUM_THREADS": "1"}
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self._config.rootpath,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[send],
            )
        os.close(send)
        self._log, self._lines = log, Queue[str | None]()
        Thread(target=_read, args=(receive, self._lines), daemon=True).start()  # so that the worker never waits for us

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """All reports of a test: set up, call, tear down; a failure where there are none."""
        found: list[pytest.TestReport] = []
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except Empty:
                return [*found, self._given_up(item, f"gave no report in {PATIENCE} s")]
            if line is None:
                return [*found, self._given_up(item, f"ended with status {self._process.wait()}")]
            said: dict[str, Any] = json.loads(line)
            if said["test"] != item.nodeid:
                continue  # of a test that was deselected after the start
            if said["report"] is None:
                self._left.remove(item)
                return found
            found.append(self._config.hook.pytest_report_from_serializable(config=self._config, data=said["report"]))

    def _given_up(self, item: pytest.Item, why: str) -> pytest.TestReport:
        said = self._log.read_text(errors="replace")[-3000:]
        self._left.remove(item)
        self._stop()
        if self._left:
            self._start()
        text = f"the process in which CuPy computes on the CPU {why}:\n{said}"
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._stop()
        self._folder.cleanup()


def _read(descriptor: int, lines: Queue[str | None]) -> None:
    with os.fdopen(descriptor, encoding="utf-8") as pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)
