"""From cases to results: the documents that are written as JSON, and of which tables and pictures are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from minidl.bench import cases as known
from minidl.bench.cases import Case
from minidl.bench.contest import Round, compare, contest, seconds_of
from minidl.bench.inputs import counted
from minidl.bench.peers import OURS
from minidl.bench.processes import Entry, PeerError
from minidl.bench.session import Session, agrees

__all__ = ["memory", "overhead", "scaling", "times"]

Result = dict[str, Any]
Tell = Callable[[str], None]
FEW = 2  # images of the steps before memory is measured


def times(
    session: Session,
    cases: Sequence[Case],
    rounds: int,
    seconds: float,
    tell: Tell,
    restricted: Mapping[str, str] | None = None,
) -> Iterable[Result]:
    """Every case in every framework and mode, one result a case.

    Args:
        session: with the frameworks.
        cases: in this order; what one leaves of its share of the time goes to those after it.  A network has the share
            of three ops, one with restricted frameworks that of nine: these are slow ones.
        rounds: quiet ones that each pair shall have.
        seconds: for all cases together.
        tell: is told how far it is.
        restricted: frameworks that run one case alone, by its name.
    """
    until, restricted = time.perf_counter() + seconds, restricted or {}
    weights = [9 if case.name in restricted.values() else 3 if case.is_network else 1 for case in cases]
    for i, case in enumerate(cases):
        share = max(until - time.perf_counter(), 0.0) * weights[i] / sum(weights[i:])
        peers = [peer for peer in session.pythons if restricted.get(peer, case.name) == case.name]
        at = f"{i + 1}/{len(cases)} {case.name}"
        tell(f"{at}  made ready")
        yield _time(session, case, peers, rounds, share, _teller(tell, at, rounds))


def _time(
    session: Session,
    case: Case,
    peers: Sequence[str],
    rounds: int,
    seconds: float,
    progress: Callable[[int, int], None],
) -> Result:
    until = time.perf_counter() + seconds
    case = counted(case) if case.is_network else case
    entries, failed = session.entries(case, peers)
    if OURS in failed:
        raise PeerError(failed[OURS])
    others = [label for label in entries if label != OURS]
    pairs = [(OURS, label) for label in others] or [(OURS, OURS)]
    done = contest(entries, pairs, rounds, until - time.perf_counter(), progress)
    result = {
        "case": case.as_dict(),
        "entries": {label: _entry(entry, entries[OURS], done, case) for label, entry in entries.items()},
        "ratios": {label: asdict(compare(done, OURS, label)) for label in others},
        "failed": failed,
        "rounds": [{label: [turn.seconds, turn.others] for label, turn in r.items()} for r in done],
    }
    result["best"] = best_modes(result)
    for entry in entries.values():
        entry.close()
    return result


def _entry(entry: Entry, ours: Entry, done: list[Round], case: Case) -> Result:
    seconds = seconds_of(done, entry.label)
    return {
        "peer": entry.process.peer,
        "mode": entry.mode,
        "seconds": seconds,
        "gflops": case.flops / seconds / 1e9,
        "agrees": agrees(ours.check, entry.check),
        "runs_a_turn": entry.runs,
    }


def best_modes(result: Result) -> dict[str, str]:
    """The label of each framework's fastest mode."""
    best: dict[str, str] = {}
    for label, entry in result["entries"].items():
        now = best.get(entry["peer"])
        if now is None or entry["seconds"] < result["entries"][now]["seconds"]:
            best[entry["peer"]] = label
    return best


def _teller(tell: Tell, at: str, rounds: int) -> Callable[[int, int], None]:
    """What `contest` calls after every round."""
    return lambda done, tried: tell(f"{at}  {done} of {rounds} quiet rounds, {tried} tried")


def overhead(session: Session, model: str, batch: int, rounds: int, seconds: float, tell: Tell) -> Iterable[Result]:
    """A training step with each prior beside the plain network's, in ours and in PyTorch; time, and memory at its peak.

    PyTorch takes part if it is among the frameworks of the session.
    """
    plain = known.network(f"{model}-train", model, batch=batch, image=32, classes=10)
    peers = [peer for peer in (OURS, "torch") if peer in session.pythons and peer not in session.missing]
    with_prior = known.priors(model, batch)
    modes = {peer: _fastest_mode(session, plain, peer) for peer in peers}
    held = {peer: _peak(session, plain, peer, modes[peer]) for peer in peers}
    until = time.perf_counter() + seconds
    for i, (name, case) in enumerate(zip(known.PRIORS, with_prior, strict=True)):
        at = f"{i + 1}/{len(with_prior)} {name}"
        share = max(until - time.perf_counter(), 0.0) / (len(with_prior) - i)
        tell(f"{at}  made ready")
        row: Result = {"prior": name, "case": case.as_dict(), "plain": plain.as_dict(), "peers": {}}
        entries: dict[str, Entry] = {}
        for peer in peers:
            mode = _fastest_mode(session, case, peer)
            for what, c, m in (("plain", plain, modes[peer]), ("prior", case, mode)):
                entries[f"{peer} {what}"] = Entry(session.process(peer), c, session.arrays(c), m, session.turn)
            row["peers"][peer] = {
                "mode": mode,
                "plain_peak_mib": held[peer],
                "peak_mib": _peak(session, case, peer, mode),
            }
        pairs = [(f"{peer} prior", f"{peer} plain") for peer in peers]
        if len(peers) == 2:
            pairs.append((f"{peers[0]} prior", f"{peers[1]} prior"))
        done = contest(entries, pairs, rounds, share, _teller(tell, at, rounds))
        for peer in peers:
            row["peers"][peer] |= {
                "plain_seconds": seconds_of(done, f"{peer} plain"),
                "seconds": seconds_of(done, f"{peer} prior"),
                "ratio": asdict(compare(done, f"{peer} prior", f"{peer} plain")),
            }
        if len(peers) == 2:
            row["ours_to_torch"] = asdict(compare(done, *pairs[-1]))
            row["agrees"] = agrees(entries[f"{OURS} prior"].check, entries[f"{peers[1]} prior"].check)
        for entry in entries.values():
            entry.close()
        yield row


def _fastest_mode(session: Session, case: Case, peer: str) -> str:
    """By the best of three runs of each."""
    entries, failed = session.entries(case, [peer])
    if failed:
        raise PeerError(failed[peer])
    best = {e.mode: min(session.process(peer).ask("run", key=e.key, runs=3, warm=False)) for e in entries.values()}
    for entry in entries.values():
        entry.close()
    return min(best, key=lambda mode: best[mode])


def _peak(session: Session, case: Case, peer: str, mode: str) -> float:
    """MiB that steps on the whole batch add, at their peak, to a process that has made steps on two images."""
    few = replace(case, params={**case.params, "batch": FEW})
    with session.fresh(peer) as process:
        files = session.arrays(few), session.arrays(case)
        held = process.ask("peak_memory", case=case.as_dict(), few=files[0], arrays=files[1], mode=mode, steps=3)
    return held["peak"] - held["before"]


def memory(session: Session, cases: Sequence[Case], steps: int, tell: Tell) -> Iterable[Result]:
    """Memory at the peak of each case's steps in every framework and mode, and ours over `steps` of them."""
    for case in cases:
        result: Result = {"case": case.as_dict(), "peak_mib": {}, "failed": {}}
        for peer in session.pythons:
            if peer in session.missing:
                continue
            for mode in session.process(peer).ask("modes", case=case.as_dict()):
                label = f"{peer}/{mode}" if mode else peer
                tell(f"{case.name}  peak of {label}")
                try:
                    result["peak_mib"][label] = _peak(session, case, peer, mode)
                except PeerError as error:
                    result["failed"][label] = str(error)
        if case.backward and steps:
            tell(f"{case.name}  {steps} steps of ours")
            with session.fresh(OURS) as process:
                held = process.ask("growth", case=case.as_dict(), arrays=session.arrays(case), mode="", steps=steps)
            result["held_mib"] = held
        yield result


def scaling(session: Session, quick: bool, rounds: int, seconds: float, tell: Tell) -> Iterable[Result]:
    """How cost grows with batch, channels, image size and threads, ours beside PyTorch's if it is there."""
    lines = {
        "batch": [_net(n, 32) for n in ((2, 4) if quick else (8, 16, 32, 64, 128, 256))],
        "image": [_net(2 if quick else 32, side) for side in ((8, 16) if quick else (16, 32, 48, 64, 96))],
        "channels": [
            known.conv_case(f"conv3x3-{c}c", (2 if quick else 64, c, 16, 16), c, 3)
            for c in ((4, 8) if quick else (8, 16, 32, 64, 128, 256))
        ],
        "threads": [_net(4 if quick else 128, 32)] * session.threads,
    }
    points = [(axis, i, case) for axis, line in lines.items() for i, case in enumerate(line)]
    until = time.perf_counter() + seconds
    peers = [peer for peer in (OURS, "torch") if peer in session.pythons and peer not in session.missing]
    for k, (axis, i, case) in enumerate(points):
        tell(f"{k + 1}/{len(points)} {axis}")
        threads = i + 1 if axis == "threads" else session.threads
        at = {"batch": case.params.get("batch"), "image": case.params.get("image"), "threads": threads}
        value = at[axis] if axis in at else case.shapes["x"][1]
        file, entries = session.arrays(case), {}
        for peer in peers:
            mode = "" if peer == OURS else "channels_last"
            entries[peer] = Entry(session.process(peer, threads), case, file, mode, session.turn)
        pairs = [(OURS, peer) for peer in peers]
        done = contest(entries, pairs, rounds, max(until - time.perf_counter(), 0.0) / (len(points) - k))
        yield {
            "axis": axis,
            "value": value,
            "images": case.params.get("batch") or case.shapes["x"][0],
            "text": case.text,
            "seconds": {peer: seconds_of(done, peer) for peer in peers},
            "ratio": asdict(compare(done, *pairs[-1])),
        }
        for entry in entries.values():
            entry.close()


def _net(batch: int, image: int) -> Case:
    return known.network(f"resnet20-{batch}-{image}px", "resnet20", batch=batch, image=image, classes=10)
