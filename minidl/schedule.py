r"""Learning rates as pure functions of the step: nothing to save, and a resumed run reads the same numbers.

With lr the peak, T total steps of which the first W warm up, and u = t - W, U = T - W:

    warm-up     lr (t + 1) / W                                   for t < W                               (1)
    constant    lr                                                                                       (2)
    step        lr γ^⌊u / S⌋                                     S = step_size                           (3)
    multistep   lr γ^#{m ∈ milestones : t >= m}                                                          (4)
    cosine      min_lr + (lr - min_lr) (1 + cos(π u / U)) / 2    (Loshchilov and Hutter, ICLR 2017)      (5)
    onecycle    cosine from lr / div up to lr at t = P T - 1, then down to lr / (div · final_div)      (6)

(6) is Smith and Topin's (2019), P = pct_start; it warms up by itself.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["create_schedule", "schedule_names"]

Schedule = Callable[[int], float]


def create_schedule(name: str, *, lr: float, total_steps: int, warmup_steps: int = 0, **options: Any) -> Schedule:
    """The learning rate at each step, as a function.

    Args:
        name: one of `schedule_names()`.
        lr: the peak, >= 0.
        total_steps: T >= 1, steps in the whole run.
        warmup_steps: W in [0, T); by (1), before the schedule proper.
        options: of the schedule, with their defaults.  step: step_size (U/3), gamma (0.1).  multistep: milestones
            (T/2 and 3T/4), gamma (0.1).  cosine: min_lr (0).  onecycle: pct_start (0.3), div_factor (25),
            final_div_factor (1e4).

    Returns:
        A function from the step, 0 to T - 1, to the learning rate.  It holds its last value beyond that.

    Raises:
        ValueError: a name, an option or a value that is not as above.

    Example:
        >>> cosine = create_schedule("cosine", lr=0.1, total_steps=8, warmup_steps=4)
        >>> [round(cosine(t), 4) for t in range(8)]
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.0854, 0.05, 0.0146]
    """
    if name not in _SCHEDULES:
        raise ValueError(f"schedule: name must be one of {', '.join(_SCHEDULES)}, got {name!r}")
    make = _SCHEDULES[name]
    known = [p.name for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ValueError(f"schedule {name}: has no option {option!r}; it has {', '.join(known) or 'none'}")
    _check(math.isfinite(lr) and lr >= 0, "lr must be a finite number >= 0", lr)
    _check(total_steps >= 1, "total_steps must be >= 1", total_steps)
    _check(0 <= warmup_steps < total_steps, f"warmup_steps must be in [0, total_steps={total_steps})", warmup_steps)
    _check(name != "onecycle" or warmup_steps == 0, "onecycle warms up by itself; warmup_steps must be 0", warmup_steps)
    after = make(lr, total_steps, warmup_steps, **options)

    def schedule(step: int) -> float:
        _check(step >= 0, "step must be >= 0", step)
        if step < warmup_steps:
            return lr * (step + 1) / warmup_steps  # (1)
        return after(min(step, total_steps - 1))

    return schedule


def schedule_names() -> list[str]:
    """The names that `create_schedule` knows.

    Example:
        >>> schedule_names()
        ['constant', 'step', 'multistep', 'cosine', 'onecycle']
    """
    return list(_SCHEDULES)


def _constant(lr: float, total_steps: int, warmup_steps: int) -> Schedule:
    return lambda step: lr  # (2)


def _step(
    lr: float, total_steps: int, warmup_steps: int, *, step_size: int | None = None, gamma: float = 0.1
) -> Schedule:
    size = math.ceil((total_steps - warmup_steps) / 3) if step_size is None else step_size
    _check(size >= 1, "step_size must be >= 1", size)
    _check(gamma > 0, "gamma must be > 0", gamma)
    return lambda step: lr * gamma ** ((step - warmup_steps) // size)  # (3)


def _multistep(
    lr: float, total_steps: int, warmup_steps: int, *, milestones: Sequence[int] | None = None, gamma: float = 0.1
) -> Schedule:
    at = [total_steps // 2, 3 * total_steps // 4] if milestones is None else list(milestones)
    _check(all(m >= 0 for m in at), "milestones must be steps >= 0", at)
    _check(gamma > 0, "gamma must be > 0", gamma)
    return lambda step: lr * gamma ** sum(step >= m for m in at)  # (4)


def _cosine(lr: float, total_steps: int, warmup_steps: int, *, min_lr: float = 0.0) -> Schedule:
    _check(0 <= min_lr <= lr, f"min_lr must be in [0, lr={lr}]", min_lr)
    return lambda step: _between(lr, min_lr, (step - warmup_steps) / (total_steps - warmup_steps))  # (5)


def _onecycle(
    lr: float,
    total_steps: int,
    warmup_steps: int,
    *,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    _check(0 < pct_start < 1, "pct_start must be in (0, 1)", pct_start)
    _check(div_factor > 0, "div_factor must be > 0", div_factor)
    _check(final_div_factor > 0, "final_div_factor must be > 0", final_div_factor)
    first, last = lr / div_factor, lr / div_factor / final_div_factor
    peak, end = max(0.0, pct_start * total_steps - 1), total_steps - 1

    def at(step: int) -> float:
        if step < peak:
            return _between(first, lr, step / peak)  # (6)
        return _between(lr, last, (step - peak) / ((end - peak) or 1))  # a run of one step stays at its peak

    return at


def _between(start: float, end: float, fraction: float) -> float:
    """From `start` to `end` along half a period of the cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def _check(holds: bool, rule: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"schedule: {rule}, got {value}")


_SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": _constant,
    "step": _step,
    "multistep": _multistep,
    "cosine": _cosine,
    "onecycle": _onecycle,
}
