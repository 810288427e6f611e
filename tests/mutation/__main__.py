"""`python -m tests.mutation`: see the package's docstring."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mutation.md"


def main() -> int:
    """Run, print each target as it is done, write the page if all were run; 1 if anything survived unexplained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="change each backward; who notices?")
    parser.add_argument("names", nargs="*", help="only targets whose names contain one of these")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="worker processes")
    parser.add_argument("--no-page", action="store_true", help="leave docs/mutation.md as it is")
    parser.add_argument("--show", action="store_true", help="print also what was noticed of each change")
    arguments = parser.parse_args()

    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MINIDL_THREADS"):
        os.environ[variable] = "1"  # before NumPy is imported, here and in the workers

    from tests.mutation import report
    from tests.mutation.equivalent import SURVIVING
    from tests.mutation.run import Result, run
    from tests.mutation.targets import targets, unexercised

    for name in unexercised():
        print(f"{name}: no sample of the specification runs its backward")

    def progress(result: Result) -> None:
        number, noticed, same, survived = report.rate([result])
        print(
            f"{result.target}: {number} changes, {noticed} noticed, {same} equivalent, {survived} survived", flush=True
        )
        if result.error:
            print(f"    not tried: {result.error}", flush=True)
        for line, change in report.survivors(result):
            print(f"    line {line}: {change}", flush=True)
        for change in report.outdated(result):
            print(f"    explained, but noticed: {change}", flush=True)
        for line, change, noticed_how in result.noticed if arguments.show else []:
            print(f"    line {line}: {change}: {noticed_how}", flush=True)

    start = time.monotonic()
    chosen = [t for t in targets() if not arguments.names or any(name in str(t) for name in arguments.names)]
    results = run(chosen, arguments.jobs, progress)
    number, noticed, same, survived = report.rate(results)
    minutes = (time.monotonic() - start) / 60
    print(f"{number} changes, {noticed} noticed, {same} equivalent, {survived} survived", end="")
    print(f": {report.percent(noticed, survived)} in {minutes:.1f} minutes")
    explained = sum(change in SURVIVING.get(str(r.target), {}) for r in results for _, change in report.survivors(r))
    failed = survived > explained or any(result.error for result in results)
    if not arguments.no_page and not arguments.names and not any(result.error for result in results):
        PAGE.write_text(report.page(results), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
