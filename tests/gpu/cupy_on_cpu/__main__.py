"""`python -m tests.gpu.cupy_on_cpu [-m MODULE | SCRIPT] [ARGUMENTS]`: run a program for a GPU on the CPU.

Without a program: what is there, and where compiled kernels are kept.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

from tests.gpu.cupy_on_cpu import build
from tests.gpu.cupy_on_cpu.install import PINNED, WHEEL, WrongVersion, install, missing


def main(argv: Sequence[str]) -> int:
    """Run what `argv` names; the exit status is 2 where something is missing."""
    try:
        reason = missing()
    except WrongVersion as error:
        reason = str(error)
    if reason is not None:
        print(f"CuPy on the CPU: {reason}", file=sys.stderr)
        return 2
    if not argv:
        kept = [path.stat().st_size for path in build.folder().glob("*/*") if path.is_file()]
        print(f"{WHEEL} {PINNED}, {build.compiler()}; {build.folder()}: {sum(kept) / 2**20:.0f} MiB")
        return 0
    install()
    if argv[0] == "-m" and len(argv) > 1:
        sys.argv = list(argv[1:])
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(argv)
        runpy.run_path(argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
