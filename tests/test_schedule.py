"""Schedules: their values against PyTorch's and against the formulas, and what is refused."""

from __future__ import annotations

import math
import warnings

import pytest

from minidl.schedule import create_schedule, schedule_names

T = 20


def pytorchs(make) -> list[float]:
    """The learning rates of T steps under the scheduler that `make(torch.optim.lr_scheduler, optimizer)` gives."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR warns of its own use of `epoch`
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        rates = []
        for _ in range(T):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


def with_warmup(s, optimizer, warmup: int, after):
    linear = s.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    return s.SequentialLR(optimizer, [linear, after], milestones=[warmup])


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("constant", {}, lambda s, o: s.ConstantLR(o, factor=1.0)),
        ("step", {"step_size": 6, "gamma": 0.5}, lambda s, o: s.StepLR(o, 6, 0.5)),
        ("multistep", {"milestones": [3, 3, 11]}, lambda s, o: s.MultiStepLR(o, [3, 3, 11], 0.1)),
        ("cosine", {}, lambda s, o: s.CosineAnnealingLR(o, T)),
        ("cosine", {"min_lr": 0.05}, lambda s, o: s.CosineAnnealingLR(o, T, 0.05)),
        ("onecycle", {}, lambda s, o: s.OneCycleLR(o, 0.4, T)),
        (
            "onecycle",
            {"pct_start": 0.45, "div_factor": 10, "final_div_factor": 100},
            lambda s, o: s.OneCycleLR(o, 0.4, T, pct_start=0.45, div_factor=10, final_div_factor=100),
        ),
        ("cosine", {"warmup_steps": 5}, lambda s, o: with_warmup(s, o, 5, s.CosineAnnealingLR(o, T - 5))),
        (
            "step",
            {"warmup_steps": 4, "step_size": 5},
            lambda s, o: with_warmup(s, o, 4, s.StepLR(o, 5)),
        ),
    ],
)
def test_rates_equal_pytorchs(name: str, options, theirs) -> None:
    schedule = create_schedule(name, lr=0.4, total_steps=T, **options)
    assert [schedule(t) for t in range(T)] == pytest.approx(pytorchs(theirs), rel=1e-9)


def test_warm_up_rises_to_the_peak_in_equal_steps() -> None:
    schedule = create_schedule("constant", lr=1.0, total_steps=10, warmup_steps=4)
    assert [schedule(t) for t in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_defaults() -> None:
    step = create_schedule("step", lr=1.0, total_steps=9)
    assert [step(t) for t in (0, 2, 3, 6, 8)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    multistep = create_schedule("multistep", lr=1.0, total_steps=8)
    assert [multistep(t) for t in (3, 4, 5, 6)] == pytest.approx([1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("name", schedule_names())
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_every_rate_is_between_zero_and_the_peak_however_short_the_run(name: str, total: int) -> None:
    schedule = create_schedule(name, lr=0.3, total_steps=total)
    rates = [schedule(t) for t in range(total)]
    assert all(math.isfinite(r) and 0 < r <= 0.3 for r in rates)
    assert schedule(total + 5) == rates[-1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosin", {}, "name must be one of constant, step, multistep, cosine, onecycle, got 'cosin'"),
        ("cosine", {"gamma": 1}, "schedule cosine: has no option 'gamma'; it has min_lr"),
        ("constant", {"gamma": 1}, "it has none"),
        ("cosine", {"lr": -1}, "lr must be a finite number >= 0, got -1"),
        ("cosine", {"total_steps": 0}, "total_steps must be >= 1, got 0"),
        ("cosine", {"warmup_steps": 20}, r"warmup_steps must be in \[0, total_steps=20\), got 20"),
        ("cosine", {"min_lr": 0.5}, r"min_lr must be in \[0, lr=0.4\], got 0.5"),
        ("onecycle", {"warmup_steps": 2}, "onecycle warms up by itself"),
        ("onecycle", {"pct_start": 1.0}, r"pct_start must be in \(0, 1\), got 1.0"),
        ("onecycle", {"div_factor": 0}, "div_factor must be > 0, got 0"),
        ("onecycle", {"final_div_factor": 0}, "final_div_factor must be > 0, got 0"),
        ("step", {"step_size": 0}, "step_size must be >= 1, got 0"),
        ("step", {"gamma": 0}, "gamma must be > 0, got 0"),
        ("multistep", {"milestones": [-1]}, r"milestones must be steps >= 0, got \[-1\]"),
        ("multistep", {"gamma": -1}, "gamma must be > 0, got -1"),
    ],
)
def test_impossible_arguments_are_refused(name: str, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_schedule(name, **{"lr": 0.4, "total_steps": T, **options})


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ValueError, match="step must be >= 0, got -1"):
        create_schedule("constant", lr=1.0, total_steps=3)(-1)
