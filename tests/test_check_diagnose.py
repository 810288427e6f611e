"""Known mistakes: each changes something, planted ones are found and called by name, and right code is not accused."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import ops
from minidl.check import compare
from minidl.check.compare import find_case
from minidl.check.diagnose import Diagnosis, diagnose, hints
from minidl.check.drawing import smallest_failing, specified
from minidl.check.examine import OUTPUT, examine
from minidl.check.expected import Expected
from minidl.check.formats import FORMATS
from minidl.check.mistakes import Call, Mistake, mistakes_of
from minidl.check.mistakes import mistakes as all_mistakes
from minidl.check.spec import CASES, OpCase, Sample
from minidl.check.subject import Subject

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads spin while they wait
from tests.planted import BUGS, bugs  # noqa: E402  (they are written in PyTorch)

F64 = FORMATS["float64"]
EVERY = 4  # of the planted bugs that the suite tries; `python -m tests.planted` tries all


def calls(case: OpCase) -> list[Call]:
    """Specified calls and some drawn ones, each with the first as the one before it."""
    samples = specified(case)
    smallest_failing(case, lambda s: bool(samples.append(s)), 25, 5)
    found = []
    for sample in samples:
        y = Expected(case, sample, F64).y
        found.append(Call(case, sample, np.random.default_rng(1).normal(size=y.shape), samples[0]))
    return found


def shows(mistake: Mistake, call: Call) -> bool:
    """Whether the mistake makes something else of this call than is right."""
    try:
        with np.errstate(all="ignore"):
            if mistake.of == "output":
                pairs = [(mistake.output(call), call.y)]
            elif mistake.of == "left":
                moved = Expected(call.case, call.sample, F64)
                pairs = [(v, moved.left(call.names.index(name))) for name, v in mistake.left(call).items()]
            else:
                pairs = [(g, call.pull()[name]) for name, g in mistake.gradient(call).items()]
    except (ValueError, TypeError, AttributeError, ZeroDivisionError):  # a call that does not know the mistake
        return False
    return any(
        wrong is not None and (np.shape(wrong) != right.shape or not np.allclose(wrong, right, rtol=1e-9))
        for wrong, right in pairs
    )


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_every_mistake_of_an_op_changes_some_call_of_it(case: OpCase) -> None:
    made = calls(case)
    particular = [m for m in mistakes_of(case.name) if m.ops and not m.name.startswith("computes ")]
    silent = [m.name for m in particular if not any(shows(m, c) for c in made)]
    assert silent == []


def test_mistakes_are_of_ops_and_say_what_is_wrong() -> None:
    names = {case.name for case in CASES}
    for mistake in all_mistakes():
        assert set(mistake.ops) <= names
        assert sum(f is not None for f in (mistake.output, mistake.gradient, mistake.left)) == 1
        assert mistake.name and mistake.says and not mistake.says.endswith(".")


def test_there_are_as_many_bugs_as_promised() -> None:
    assert len(bugs()) >= 120 and bugs() is BUGS
    assert len({(str(b)) for b in bugs()}) == len(bugs())
    assert len({b.op for b in bugs()}) >= 35


@pytest.mark.parametrize("bug", [pytest.param(b, id=str(b)) for b in bugs()[::EVERY]])
def test_a_planted_bug_is_found_and_called_by_its_name(bug) -> None:
    verdict = bug.verdict(drawn=8)
    assert not verdict.ok, str(verdict)
    if bug.name is not None:
        assert bug.named(verdict), str(verdict)
    else:
        assert verdict.diagnosis is None or not verdict.diagnosis.whole, str(verdict)


def seen_of(fn, op: str, samples: list[Sample]):
    case = find_case(op)
    subject = Subject(fn, case)
    return case, [examine(subject, Expected(case, s, F64)) for s in samples]


def test_mistakes_that_look_alike_are_told_apart_by_more_calls() -> None:
    """On a kernel of one tap a flip does nothing; on symmetric strides neither does a swap."""

    def swapped(x, weight, bias=None, stride=1, padding=0):
        return ops.conv2d(x, weight, bias, stride=stride[::-1], padding=padding)

    rng = np.random.default_rng(0)

    def sample(stride: tuple[int, int], size: tuple[int, int]) -> Sample:
        return Sample((rng.normal(size=(1, 1, *size)), rng.normal(size=(1, 1, 1, 1)), None), {"stride": stride})

    case, alike = seen_of(swapped, "conv2d", [sample((2, 1), (5, 5)), sample((1, 1), (3, 3))])
    found = diagnose(case, OUTPUT, alike)
    assert found.name == "stride: height and width swapped"
    assert found.others == ("height and width swapped",)  # as there is neither padding nor dilation
    padded = sample((3, 1), (7, 4))
    padded = Sample(padded.inputs, {**padded.params, "padding": (1, 0)})
    _, more = seen_of(swapped, "conv2d", [padded])
    assert diagnose(case, OUTPUT, alike, iter(more)).others == ()


def test_a_mistake_that_explains_part_of_it_is_said_to() -> None:
    def two_mistakes(x, weight, bias=None):
        y = x @ weight.T + (0 if bias is None else 2 * bias)
        return y + 1 if x.ndim == 3 else y

    verdict = compare(two_mistakes, "linear", drawn=8)
    found = verdict.diagnosis
    assert not verdict.ok and found.name == "bias added twice" and not found.whole
    assert "in part bias added twice" in verdict.reason
    assert str(Diagnosis("a", "b", 1, 2)).startswith("in part a: b; it explains 1 of 2 wrong calls")


def test_without_a_name_it_says_where_it_is_wrong() -> None:
    def wrong_row(x, axis=-1):
        e = np.exp(x - x.max(axis, keepdims=True))
        p = e / e.sum(axis, keepdims=True)
        if x.ndim == 2 and len(x) > 1:
            p[1] = 0.5
        return p

    verdict = compare(wrong_row, "softmax", drawn=15)
    assert not verdict.ok and verdict.diagnosis is None
    assert any("only at index 1 of axis 0" in line for line in verdict.details)

    def only_strided(x, weight, bias=None, stride=1):
        y = ops.conv2d(x, weight, bias, stride=stride)
        return y if stride in (1, (1, 1)) else ops.mul(y, 1.01)

    case = find_case("conv2d")
    subject = Subject(only_strided, case)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1, 1, 5, 4)), rng.normal(size=(1, 1, 2, 2)), None
    samples = [Sample(inputs, {"stride": s}) for s in (1, 1, 2, 3)]
    lines = hints(case, OUTPUT, [examine(subject, Expected(case, s, F64)) for s in samples])
    assert "it is wrong exactly where stride is not 1" in lines


@pytest.mark.parametrize(
    ("fn", "op"),
    [
        (lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis, keepdims=True), "softmax"),
        (lambda x: 1 / (1 + np.exp(-x)) * 1.0 if np.all(x > -700) else np.where(x < -700, np.nan, 1), "sigmoid"),
        (lambda x: np.log(1 + np.exp(x)), "softplus"),
    ],
)
def test_an_exponential_that_overflows_is_named(fn, op: str) -> None:
    verdict = compare(fn, op, drawn=5)
    assert verdict.diagnosis.name == "exponential overflows"
    assert "for inputs of 2000" in verdict.reason


def test_right_code_written_otherwise_is_not_accused() -> None:
    """Other formulas for the same thing: they round otherwise, and no more."""
    f = torch.nn.functional

    def unfolded(x, weight, bias=None, stride=1, padding=0, dilation=1):
        if isinstance(padding, str):
            raise NotImplementedError(padding)
        columns = f.unfold(x, tuple(weight.shape[2:]), dilation, padding, stride)
        pairs = [v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation)]
        size = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(x.shape[2:], weight.shape[2:], *pairs, strict=True)
        ]
        y = (weight.flatten(1) @ columns).view(len(x), len(weight), *size)
        return y if bias is None else y + bias[:, None, None]

    def moments(x, running_mean, running_var, weight=None, bias=None, training=False, eps=1e-5):
        axes = (0, *range(2, x.ndim))
        if training:
            running_mean = x.mean(axes)
            running_var = (x * x).mean(axes) - running_mean**2
        shape = (-1, *[1] * (x.ndim - 2))
        y = (x - running_mean.view(shape)) * torch.rsqrt(running_var.view(shape) + eps)
        return y * (1 if weight is None else weight.view(shape)) + (0 if bias is None else bias.view(shape))

    def erf_gelu(x, approximate="none"):
        if approximate == "tanh":
            raise NotImplementedError(approximate)
        return 0.5 * x * (1 + torch.erf(x / 2**0.5))

    for fn, op in [(unfolded, "conv2d"), (moments, "batch_norm"), (erf_gelu, "gelu")]:
        for dtype in ("float64", "float32"):
            verdict = compare(fn, op, dtype=dtype, drawn=15)
            assert verdict.ok, str(verdict)
