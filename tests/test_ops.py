"""Properties that hold of every op in the specification, on its samples and on drawn ones."""

from __future__ import annotations

import inspect
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings

from minidl import ops
from minidl.check.properties import PROPERTIES, Property, truths, violations
from minidl.check.spec import CASES, ErrorCase, Kink, OpCase, Sample
from minidl.check.stated import error_violations, kink_violations
from minidl.check.truth import Truth

BY_NAME = {case.name: case for case in CASES}


@lru_cache(maxsize=2)  # the Jacobians, once for all properties: the tests go case by case
def known(name: str) -> list[Truth]:
    return truths(BY_NAME[name])


@pytest.mark.parametrize(
    ("case", "property_"), [pytest.param(c, p, id=f"{c.name}-{p.__name__}") for c in CASES for p in PROPERTIES]
)
def test_property(case: OpCase, property_: Property) -> None:
    assert violations(case, known(case.name), [property_]) == []


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES if c.draw is not None])
def test_every_property_of_drawn_samples(case: OpCase) -> None:
    assert case.draw is not None

    @settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case.draw())
    def check(sample: Sample) -> None:
        assert violations(case, [Truth(case, sample)]) == []

    check()


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_samples_reach_what_they_must(case: OpCase) -> None:
    """A specification without samples, or whose samples hold no gradient, would prove nothing."""
    calls = known(case.name)
    assert calls
    inputs = range(max(len(t.sample.inputs) for t in calls))
    checked = {i for t in calls for i in t.wanted if t.y.size and t.jacobians[i].any()}
    assert checked == set(inputs) - set(case.constants)


@pytest.mark.parametrize(
    ("case", "error"), [pytest.param(c, e, id=f"{c.name}-{i}") for c in CASES for i, e in enumerate(c.errors)]
)
def test_declared_errors(case: OpCase, error: ErrorCase) -> None:
    assert error_violations(case, error) == []


@pytest.mark.parametrize(
    ("case", "kink"), [pytest.param(c, k, id=f"{c.name}: {k.where}") for c in CASES for k in c.kinks]
)
def test_subgradient_at_a_kink_is_the_stated_one(case: OpCase, kink: Kink) -> None:
    assert kink_violations(case, kink) == []


def test_every_public_op_has_a_case() -> None:
    public = {name for name, value in vars(ops).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert {case.name for case in CASES} == public
    assert len(CASES) == len(public)
