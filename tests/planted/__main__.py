"""`python -m tests.planted`: every planted bug put to `minidl.check`; how many are found, and called by name."""

from __future__ import annotations

import sys
import warnings

import torch

from tests.planted import bugs

torch.set_num_threads(1)
warnings.simplefilter("ignore")

found = named = 0
for bug in bugs():
    verdict = bug.verdict()
    found += not verdict.ok
    named += bug.named(verdict)
    word = "missed" if verdict.ok else "named" if bug.named(verdict) else "found"
    said = verdict.diagnosis.name if verdict.diagnosis is not None else "-"
    print(f"{word:<7} {bug}: {said}", flush=True)
total = len(bugs())
print(f"\n{total} bugs, {found} found, {named} called by name ({named / total:.0%})")
sys.exit(found < total)
