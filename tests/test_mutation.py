"""The mutation run itself, on a handful of changes; the whole of it is `python -m tests.mutation`."""

from __future__ import annotations

import ast

import pytest

from tests.mutation import report, trial
from tests.mutation.equivalent import EQUIVALENT, SURVIVING
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.run import Result, run
from tests.mutation.targets import Target, targets, unexercised
from tests.mutation.trial import Trials

MATMUL = Target("minidl.ops.products", "MatMul.backward", ("matmul",))


def changed(source: str) -> set[str]:
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    found = list(mutants(function))
    assert all(m.line == 2 for m in found)
    bodies = [ast.unparse(m.function).split("\n", 1)[1].strip() for m in found]
    assert len(set(bodies)) == len(bodies)
    return set(bodies)


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ("return a + b", {"return a - b", "return a", "return b"}),
        ("return a - b", {"return a + b", "return a", "return -b"}),
        ("return a * b", {"return a / b", "return a", "return b"}),
        ("return a / b", {"return a * b", "return a"}),
        ("return a ** 2", {"return a", "return a ** 3", "return a ** 1"}),
        ("return a @ b", {"return b @ a"}),
        ("return -a", {"return a"}),
        ("return a[:, 1:]", {"return a[:, 2:]", "return a[:, 0:]", "return a[:, :]"}),
        ("return a < b", {"return a <= b", "return a > b"}),
        ("return a, b", {"return (-a, b)", "return (a, -b)", "return (b, b)", "return (a, a)"}),
        ("return a, None", {"return (-a, None)", "return (None, None)"}),
        ("return a if b else None", {"return a", "return None"}),
        ("ga, gb = self.needs_grad", {"gb, ga = self.needs_grad"}),
        ("a += b", {"a -= b", "pass"}),
        ("a[0] = b", {"a[1] = b", "a[-1] = b", "pass"}),
        ("return sum_to(a, b)", {"return a", "return sum_to(b, a)"}),
        ("return a.T", {"return a"}),
        ("return a.sum(axis=-1)", {"return a", "return a.sum()", "return a.sum(axis=1)", "return a.sum(axis=-2)"}
         | {"return a.sum(axis=-0)"}),
        ("return xp.exp(a)", {"return a"}),
        ("return xp.minimum(a, b)", {"return a"}),
        ("return a.reshape(-1)", {"return a"}),
        ("raise ValueError(a + b)", set()),
    ],
)  # fmt: skip
def test_changes_of_an_expression(body: str, changes: set[str]) -> None:
    assert changed(f"def backward(self, a, b):\n    {body}") == changes


def test_changes_of_a_backward_are_noticed_and_undone() -> None:
    before = MATMUL.function.__code__
    trials = Trials(MATMUL)
    some = list(mutants(MATMUL.tree))[::5]
    assert len(some) >= 5
    for mutant in some:
        assert trials.notice(mutant), mutant.change
        assert MATMUL.function.__code__ is before
    assert trials.violations() is None


def test_what_nobody_looks_at_survives() -> None:
    blind = Target(MATMUL.module, MATMUL.qualname, ())
    assert Trials(blind).notice(next(mutants(MATMUL.tree))) is None


@pytest.mark.parametrize(
    ("body", "noticed"),
    [
        ("while True: pass", "the program fails: it does not end"),
        ("return None", "the program fails: ValueError: MatMul.backward: must return a tuple of 2 gradients"),
    ],
)
def test_programs_that_fail_or_never_end(monkeypatch: pytest.MonkeyPatch, body: str, noticed: str) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.5)
    (function,) = ast.parse(f"def backward(self, gy):\n    {body}").body
    assert isinstance(function, ast.FunctionDef)
    said = Trials(MATMUL).notice(Mutant(2, "", function))
    assert said is not None
    assert said.startswith(noticed)


def test_a_run_in_processes() -> None:
    target = Target("minidl.ops.elementwise", "Neg.backward", ("neg",))
    seen: list[Result] = []
    (result,) = run([target], 1, seen.append)
    assert seen == [result]
    assert (result.number, len(result.noticed), result.failed, result.error) == (2, 2, 0, "")
    assert report.rate([result]) == (2, 2, 0, 0)
    text = report.page([result])
    assert "2 changes in 1 functions: 2 noticed, 0 equivalent" in text
    assert "| neg | 2 | 2 | 0 | 0 | 100.0 % |" in text


def test_every_backward_is_run_by_the_specification() -> None:
    assert unexercised() == []


def test_targets_are_the_backwards_and_what_they_call() -> None:
    names = {str(target): target for target in targets()}
    assert names["ops.products.MatMul.backward"].ops == ("matmul",)
    assert {"add", "matmul"} <= set(names["ops._broadcast.sum_to"].ops)
    assert names["kernels.array.conv.correlate_adjoint_w"].ops == ("conv2d", "conv_transpose2d")


def test_explained_changes_are_still_made() -> None:
    explained = {**EQUIVALENT}
    for name, reasons in SURVIVING.items():
        explained[name] = explained.get(name, {}) | reasons
    made = {str(t): {m.change for m in mutants(t.tree)} for t in targets() if str(t) in explained}
    assert made.keys() == explained.keys()
    for name, reasons in explained.items():
        assert reasons.keys() <= made[name], name
        assert all(reasons.values())
