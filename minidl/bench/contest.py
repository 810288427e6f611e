"""Rounds in which entries take turns, and what follows from them.

Machines change their speed, with heat and with what else they do.  So nothing is measured alone: in every round each
entry has a turn, in an order that changes, and two entries are compared by the rounds that both took part in.  A turn
in which other processes had more than 5 % of the cores does not count, nor do the turns compared with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.bench.processes import Entry, Turn

__all__ = ["Ratio", "Round", "compare", "contest", "seconds_of"]

Round = Mapping[str, Turn]  # by label
FEW = 5  # quiet rounds that are enough to leave the others out
ATTEMPTS = 2  # times the rounds that are wanted, if they are not quiet


@dataclass(frozen=True)
class Ratio:
    """How many times the seconds of another an entry takes.

    Attributes:
        value: ratio of the medians.
        low, high: quartiles of the ratios of single rounds.
        rounds: how many were used.
        quiet: whether nothing else ran in them; if not, there were too few quiet ones, and all are used.
    """

    value: float
    low: float
    high: float
    rounds: int
    quiet: bool


def contest(
    entries: Mapping[str, Entry],
    pairs: Sequence[tuple[str, str]],
    rounds: int,
    seconds: float,
    progress: Callable[[int, int], None] = lambda done, tried: None,
) -> list[Round]:
    """Let entries take turns until every pair has its rounds.

    Args:
        entries: by label.
        pairs: labels of what will be compared; an entry rests when its pairs have what they need.
        rounds: quiet ones that each pair shall have.
        seconds: after which no round begins.
        progress: told after every round how many of `rounds` the slowest pair has, and how many were tried.

    Returns:
        The rounds.
    """
    until = time.perf_counter() + seconds
    done: list[Round] = []
    while len(done) < ATTEMPTS * rounds and (not done or time.perf_counter() < until):
        lacking = [pair for pair in pairs if quiet_rounds(done, *pair) < rounds]
        if not lacking:
            break
        playing = [label for label in entries if any(label in pair for pair in lacking)]
        first = len(done) % len(playing)
        done.append({label: entries[label].take_turn() for label in playing[first:] + playing[:first]})
        progress(min(quiet_rounds(done, *pair) for pair in pairs), len(done))
    return done


def quiet_rounds(rounds: Sequence[Round], a: str, b: str) -> int:
    """In how many rounds nothing else ran while these two had their turns."""
    return sum(_both_quiet(r, a, b) for r in rounds)


def _both_quiet(r: Round, a: str, b: str) -> bool:
    return a in r and b in r and r[a].quiet and r[b].quiet


def compare(rounds: Sequence[Round], a: str, b: str) -> Ratio:
    """The seconds of `a` as a multiple of those of `b`.

    Example:
        >>> rounds = [{"a": Turn(1.0, 0.0), "b": Turn(2.0, 0.0)}, {"a": Turn(1.2, 0.0), "b": Turn(2.0, 0.0)}]
        >>> compare(rounds, "a", "b")
        Ratio(value=0.55, low=0.525, high=0.575, rounds=2, quiet=True)
    """
    both = [r for r in rounds if a in r and b in r]
    used = _quiet_if_enough(both, lambda r: _both_quiet(r, a, b))
    x, y = (np.array([r[label].seconds for r in used]) for label in (a, b))
    low, high = np.quantile(x / y, (0.25, 0.75))
    value = float(np.median(x) / np.median(y))
    quiet = all(_both_quiet(r, a, b) for r in used)
    return Ratio(round(value, 6), round(float(low), 6), round(float(high), 6), len(used), quiet)


def seconds_of(rounds: Sequence[Round], label: str) -> float:
    """The median of an entry's turns."""
    turns = [r[label] for r in rounds if label in r]
    return float(np.median([turn.seconds for turn in _quiet_if_enough(turns, lambda turn: turn.quiet)]))


def _quiet_if_enough(items: list[Any], quiet: Callable[[Any], bool]) -> list[Any]:
    chosen = [item for item in items if quiet(item)]
    return chosen if len(chosen) >= min(FEW, len(items)) else items
