"""What the command line asks for: measured, shown, and written after every case."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from minidl.bench import cases as known
from minidl.bench import machine, measure, report
from minidl.bench.cases import Case
from minidl.bench.peers import OURS
from minidl.bench.plots import draw_roofline, draw_scaling
from minidl.bench.profiling import profile
from minidl.bench.session import Session
from minidl.errors import ConfigError

__all__ = ["GOALS", "run"]

Document = dict[str, Any]

GAUSSIAN = ("filter", "filter-channels", "pool2x2", "pool3x3", "pool2x2-exact", "pool3x3-exact")

# The most that ours may take, as a multiple of each framework's time.
GOALS = {
    "resnet20-train": {"torch": 1.0, "chainer": 1 / 8, "mygrad": 1 / 8},
    "resnet20-infer": {"torch": 1.0},
    "resnet18-64px-train": {"torch": 1.1},
    **{f"gaussian-{name}": {"torch": 0.7} for name in GAUSSIAN},
}
TURN = 0.2  # seconds
SLOW = {"chainer", "mygrad"}  # in the headline they run the training step of ResNet-20 alone
PICTURES: dict[str, Callable[[Document, Path], bool]] = {"steps": draw_roofline, "scaling": draw_scaling}


def run(args: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        UserError: a case or framework that was named is not there, or a file cannot be read or written.
    """
    if args.markdown:
        for path in args.markdown:
            document = report.read(path)
            print(*report.write(document, args.out), sep="\n") if args.out else print(
                report.markdown(document), end="\n\n"
            )
        return
    chosen = choose(args)
    if args.what == "list":
        print("\n".join(f"{case.name:32}  {case.text}" for case in chosen))
        return
    peers = {} if args.what == "profile" else dict(args.peers)
    with Session(peers, args.threads, 0.01 if args.quick else TURN) as session:
        document = _document(args, session)
        try:
            for result in _results(args, chosen, session):
                document["results"].append(result)
                if args.out:
                    report.write(document, args.out)
        finally:
            tell("")
        show(document, args.out)


def show(document: Document, out: str | None) -> None:
    """The tables on the screen; with a folder, files and pictures too."""
    print(report.screen(document))
    if out is None:
        return
    draw = PICTURES.get(document["what"])
    picture = Path(out) / ("roofline.png" if document["what"] == "steps" else "scaling.png")
    if draw is not None and draw(document, picture):
        document["pictures"] = [picture.name]
    print(*(f"written: {path}" for path in report.write(document, out)), sep="\n")


def choose(args: argparse.Namespace) -> list[Case]:
    """The cases that are asked for.

    Raises:
        ConfigError: a name fits none.
    """
    networks = known.plain()
    everything = {
        "headline": known.headline(),
        "memory": [case for case in networks if case.backward],
        "profile": [*networks, *known.priors()],
    }.get(args.what, [*known.kernels(), *networks, *known.priors()])
    for word in args.only:
        if not any(word in case.name for case in everything):
            near = get_close_matches(word, [case.name for case in everything], n=3)
            raise ConfigError(
                f"--only: no case has {word!r} in its name; {'try ' + ', '.join(near) if near else '--list lists all'}"
            )
    only = args.only or ({"profile": ["resnet20-train"], "memory": ["resnet20-train"]}.get(args.what) or [""])
    names = {case.name for case in everything}
    chosen = [c for c in everything if any(c.name == word or (word in c.name and word not in names) for word in only)]
    return [known.tiny(case) for case in chosen] if args.quick else chosen


def _document(args: argparse.Namespace, session: Session) -> Document:
    tell("frameworks are started")
    settings: dict[str, Any] = {"quick": args.quick}
    document: Document = {
        "what": args.what,
        "date": date.today().isoformat(),
        "machine": machine.description(),
        "threads": args.threads,
        "settings": settings,
        "peers": session.versions(),
        "results": [],
    }
    if args.asked and session.missing:
        name, why = next(iter(session.missing.items()))
        raise ConfigError(f"--peers {name}: {why}")
    document["missing"] = {} if args.asked else session.missing
    document["columns"] = [peer for peer in (OURS, "torch") if peer in document["peers"]]
    if args.what in ("steps", "headline", "overhead", "scaling"):
        settings |= {"rounds": args.rounds, "seconds": args.seconds, "turn_seconds": session.turn}
    if args.what in ("steps", "headline"):
        tell("the machine's limits are measured")
        document["peak"] = session.process(OURS).ask("peaks", seconds=0.1 if args.quick else 2.0)
    if args.what == "headline":
        document["goals"] = GOALS
    if args.what == "overhead":
        settings |= {"model": "resnet8" if args.quick else "resnet20", "batch": 4 if args.quick else 128}
    return document


def _results(args: argparse.Namespace, chosen: list[Case], session: Session) -> Iterable[dict[str, Any]]:
    seconds = args.seconds - session.age
    if args.what == "headline":
        return measure.times(
            session, chosen, args.rounds, seconds, tell, dict.fromkeys(session.pythons.keys() & SLOW, "resnet20-train")
        )
    if args.what == "overhead":
        model, batch = ("resnet8", 4) if args.quick else ("resnet20", 128)
        return measure.overhead(session, model, batch, args.rounds, seconds, tell)
    if args.what == "memory":
        return measure.memory(session, chosen, args.steps, tell)
    if args.what == "profile":
        return (profile(case, args.steps, args.threads) for case in chosen)
    if args.what == "scaling":
        return measure.scaling(session, args.quick, args.rounds, seconds, tell)
    return measure.times(session, chosen, args.rounds, seconds, tell)


def tell(text: str) -> None:
    """How far it is, in a line that is written over; nothing, unless somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
