"""Ops written in PyTorch, each with one mistake as people make it; what `minidl.check` must find, and call by name.

A bug is a function with the decorator `planted(op, name)`; the name is what the diagnosis should say, None where the
mistake is in no list and only finding it is asked for.  A mistake in a hand-written backward is a function
`(gy, *inputs, **params)` beside the right forward.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minidl.check import Verdict, compare

FAMILIES = ("convolution", "pooling", "normalisation", "losses", "activations", "arrays", "priors", "unlisted")


@dataclass(frozen=True)
class Bug:
    """One planted bug.

    Attributes:
        op: the op that it claims to be.
        name: what its diagnosis should be.
        fn: the function.
        options: further arguments of `compare`: a wrong `backward`, `rename`.
    """

    op: str
    name: str | None
    fn: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    title: str = ""

    def verdict(self, drawn: int = 60) -> Verdict:
        """What `minidl.check` says of it."""
        return compare(self.fn, self.op, drawn=drawn, **self.options)

    def named(self, verdict: Verdict) -> bool:
        """Whether the verdict calls it by its name, as the likeliest."""
        found = verdict.diagnosis
        return self.name is not None and found is not None and found.whole and found.name == self.name

    def __str__(self) -> str:
        return f"{self.op}: {self.title.replace('_', ' ')}"


BUGS: list[Bug] = []


def planted(op: str, name: str | None, forward: Callable[..., Any] | None = None, **options: Any) -> Callable:
    """Register a wrong function; with a right `forward` beside it the function is its wrong backward."""

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        title = fn.__name__
        if forward is None:
            BUGS.append(Bug(op, name, fn, options, title))
        else:
            BUGS.append(Bug(op, name, forward, {**options, "backward": fn}, title))
        return fn

    return register


def bugs() -> list[Bug]:
    """All of them."""
    if not BUGS:
        for family in FAMILIES:
            importlib.import_module(f"{__name__}.{family}")
    return BUGS
