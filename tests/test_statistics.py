"""Laws of the random ops, and the tests of other people's draws against them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl import nn, ops
from minidl.autograd import Tensor
from minidl.check import laws, statistics
from minidl.check.random_ops import RANDOM_OPS
from minidl.check.statistics import check_random, judge, ks_p_value, ks_statistic
from minidl.errors import UserError
from minidl.priors import GaussianPool2d, StatRotLinear

DRAWS = 20_000


# Laws


@pytest.mark.parametrize(
    ("law", "distribution"),
    [
        (laws.gaussian(1.0, 2.0), lambda stats: stats.norm(1.0, 2.0)),
        (laws.half_gaussian(0.7), lambda stats: stats.halfnorm(scale=0.7)),
        (laws.half_gaussian(0.7).scaled(3.0), lambda stats: stats.halfnorm(scale=2.1)),
        (laws.log_normal(0.3, 0.5), lambda stats: stats.lognorm(0.5, scale=math.exp(0.3))),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_laws_that_scipy_knows(law: laws.Law, distribution: Callable[[Any], Any]) -> None:
    expected = distribution(pytest.importorskip("scipy.stats"))
    x = np.linspace(-3, 8, 60)
    np.testing.assert_allclose(law.below(x), expected.cdf(x), atol=1e-14)
    mean, variance, _, kurtosis = expected.stats("mvsk")
    np.testing.assert_allclose([law.mean, law.variance], [mean, variance], rtol=1e-12)
    np.testing.assert_allclose(law.fourth, (kurtosis + 3) * variance**2, rtol=1e-10)


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 0.7), (-2.0, 1.6), (3.0, 0.2), (-6.0, 3.0)])
def test_the_softplus_law_by_integration(mu: float, sigma: float) -> None:
    integrate = pytest.importorskip("scipy.integrate")
    law = laws.inverse_softplus_gaussian(mu, sigma)

    def moment(f: Callable[[float], float]) -> float:
        return integrate.quad(lambda e: f(np.logaddexp(0, mu + sigma * e)) * math.exp(-e * e / 2), -12, 12, epsabs=0)[0]

    mass = math.sqrt(2 * math.pi)
    np.testing.assert_allclose(law.mean, moment(lambda x: x) / mass, rtol=1e-7)
    np.testing.assert_allclose(law.variance, moment(lambda x: (x - law.mean) ** 2) / mass, rtol=1e-7)
    np.testing.assert_allclose(law.fourth, moment(lambda x: (x - law.mean) ** 4) / mass, rtol=1e-7)
    e = np.array([-2.0, 0.0, 1.0])
    np.testing.assert_allclose(law.below(np.logaddexp(0, mu + sigma * e)), laws.phi(e), atol=1e-12)
    np.testing.assert_array_equal(law.below(np.array([-1.0, 0.0])), 0.0)


def test_two_values() -> None:
    law = laws.two_values(0.3, 2.0)
    x = np.repeat([0.0, 2.0], [300, 700])
    assert (law.mean, x.mean()) == (pytest.approx(1.4), 1.4)
    np.testing.assert_allclose([law.variance, law.fourth], [x.var(), ((x - x.mean()) ** 4).mean()])
    np.testing.assert_array_equal(law.strictly_below(np.array([0.0, 1.0, 2.0, 3.0])), [0.0, 0.3, 0.3, 1.0])
    assert ks_statistic(x, law) == pytest.approx(0.0, abs=1e-15)


# Tests


def test_the_statistic_is_that_of_scipy_and_its_p_value_an_upper_bound() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for n, shift in ((20, 0.1), (500, 0.0), (500, 0.2), (5000, 0.05)):
        x = rng.normal(shift, 1.0, n)
        expected = stats.kstest(x, "norm")
        d = ks_statistic(x, laws.gaussian(0.0, 1.0))
        assert d == pytest.approx(expected.statistic, abs=1e-14)
        assert ks_p_value(d, n) >= expected.pvalue
    assert ks_p_value(0.1, 1000) == pytest.approx(stats.kstwo.sf(0.1, 1000), rel=0.15)  # and a close one


def test_right_draws_fail_as_seldom_as_stated() -> None:
    """Each p-value falls below 0.05 in at most 5 % of 400 runs, give or take four standard deviations."""
    rng = np.random.default_rng(1)
    law = laws.half_gaussian(1.0)
    alarms = {}
    for _ in range(400):
        for test in judge(np.abs(rng.normal(size=(4, 8, 20))), law):
            alarms[test.of] = alarms.get(test.of, 0) + (test.p < 0.05)
    allowed = 400 * 0.05 + 4 * math.sqrt(400 * 0.05 * 0.95)
    assert len(alarms) == 6
    assert max(alarms.values()) <= allowed
    assert min(count for of, count in alarms.items() if of != "distribution") > 2  # and not because they see nothing


@pytest.mark.parametrize(
    ("spoilt", "of"),
    [
        (lambda x: x + 0.05, "mean"),
        (lambda x: x * 1.05, "variance"),
        (lambda x: np.sign(x) * np.sqrt(np.abs(x)) * 1.2, "distribution"),
        (lambda x: np.repeat(x[:1], len(x), axis=0), "independence of calls"),
        (lambda x: np.repeat(x[:, :1], x.shape[1], axis=1), "independence along axis 0"),
        (lambda x: np.repeat(x[:, :, :1], x.shape[2], axis=2), "independence along axis 1"),
    ],
)
def test_each_test_sees_what_it_is_for(spoilt: Callable[[np.ndarray], np.ndarray], of: str) -> None:
    x = np.random.default_rng(2).normal(size=(20, 30, 40))
    law = laws.gaussian(0.0, 1.0)
    assert min(test.p for test in judge(x, law)) > 1e-3
    assert {test.of: test.p for test in judge(spoilt(x), law)}[of] < 1e-7


# Functions


def normal(rng: np.random.Generator, like: np.ndarray) -> np.ndarray:
    return rng.standard_normal(like.shape).astype(like.dtype)


RIGHT: dict[str, Callable[..., Any]] = {
    "half_gaussian": lambda sigma0, rng: ops.half_gaussian(sigma0, normal(rng, sigma0)),
    "inverse_softplus_gaussian": lambda mu0, sigma0, rng: ops.inverse_softplus_gaussian(mu0, sigma0, normal(rng, mu0)),
    "gaussian_pool2d": lambda x, mu0, sigma0, rng: GaussianPool2d(
        x.shape[1],
        x.shape[2],
        parameters="fixed",
        mu0=float(mu0.data.flat[0]),
        sigma0=float(sigma0.data.flat[0]),
        eps=1e-12,
        rng=rng,
    )(x),
    "dropout": lambda x, p, rng: nn.Dropout(p, rng=rng)(x),
    "stat_rot_linear": lambda x, weight, angle, rng: rotated(x, weight, angle, rng),
}


def rotated(x: Tensor, weight: Tensor, angle: float, rng: np.random.Generator) -> Tensor:
    """Our layer's logits in training."""
    layer = StatRotLinear(weight.shape[1], weight.shape[0], angle=angle, rng=rng)
    layer.weight.data = weight.data
    return layer(x)


@pytest.mark.parametrize("op", RANDOM_OPS)
def test_our_own_layers_draw_from_the_stated_laws(op: str) -> None:
    report = check_random(RIGHT[op], op, draws=DRAWS, framework="minidl")
    assert report.passed, str(report)
    assert len(report.tests) == len(RANDOM_OPS[op].settings)
    assert str(report).endswith(f"{op}: as it should be; a right function fails with probability 1e-06")


def pool(x: np.ndarray, eta: np.ndarray, ddof: int = 0) -> np.ndarray:
    return x.mean((2, 3), keepdims=True) + eta * x.std((2, 3), keepdims=True, ddof=ddof)


def softplus_gaussian(mu0: np.ndarray, sigma0: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.logaddexp(0, mu0 + sigma0 * rng.standard_normal(mu0.shape))


def logits(x: np.ndarray, weight: np.ndarray, angle: float, rng: np.random.Generator, divisor: float) -> np.ndarray:
    z = x @ weight.T
    across = np.sqrt((x * x).sum(1)[:, None] * (weight * weight).sum(1) - z * z)
    return z * np.cos(angle) + rng.standard_normal(z.shape) * across * np.sin(angle) / divisor


@pytest.mark.parametrize(
    ("op", "fn", "named"),
    [
        ("half_gaussian", lambda sigma0, rng: sigma0 * rng.standard_normal(sigma0.shape), "no absolute value"),
        ("half_gaussian", lambda sigma0, rng: np.sqrt(sigma0) * abs(normal(rng, sigma0)), "σ₀ taken for a variance"),
        ("half_gaussian", lambda sigma0, rng: abs(normal(rng, sigma0)), "no σ₀"),
        ("inverse_softplus_gaussian", lambda m, s, rng: m + s * normal(rng, m), "no softplus"),
        ("inverse_softplus_gaussian", lambda m, s, rng: np.exp(m + s * normal(rng, m)), "exp in place of softplus"),
        ("inverse_softplus_gaussian", lambda m, s, rng: softplus_gaussian(m, s**2, rng), "σ₀² in place of σ₀"),
        ("inverse_softplus_gaussian", lambda m, s, rng: softplus_gaussian(0 * m, s, rng), "no μ₀"),
        (
            "gaussian_pool2d",
            lambda x, m, s, rng: pool(x, softplus_gaussian(m, s, rng), ddof=1),
            "the deviation divided by n − 1, not n",
        ),
        ("gaussian_pool2d", lambda x, m, s, rng: pool(x, s * abs(normal(rng, m))), "the half-Gaussian prior"),
        ("dropout", lambda x, p, rng: x * (rng.random(x.shape) < p) / p, "kept with probability p, scaled by 1/p"),
        ("dropout", lambda x, p, rng: x * (rng.random(x.shape) >= p), "not scaled by 1/(1 − p)"),
        ("dropout", lambda x, p, rng: x * (rng.random(x.shape) < p) / (1 - p), "kept with probability p"),
        (
            "stat_rot_linear",
            lambda x, w, angle, rng: logits(x, w, angle, rng, math.sqrt(w.shape[1] - 1)),
            "D in place of min(D, K)",
        ),
        (
            "stat_rot_linear",
            lambda x, w, angle, rng: logits(x, w, angle, rng, math.sqrt(min(w.shape))),
            "√D′ in place of √(D′ − 1)",
        ),
    ],
)
def test_mistakes_are_found_and_named(op: str, fn: Callable[..., Any], named: str) -> None:
    report = check_random(fn, op, draws=DRAWS, framework="numpy")
    assert not report.passed
    assert named in dict(report.fits).values(), str(report)
    assert f"it looks like: {named}" in str(report)


def test_noise_that_is_shared_is_found() -> None:
    shapes = {
        "calls": lambda s, rng: s * abs(np.random.default_rng(5).standard_normal(s.shape)),
        "channels": lambda s, rng: s * abs(rng.standard_normal((len(s), 1, 1, 1))),
        "images": lambda s, rng: s * abs(rng.standard_normal(s.shape[1:])),
    }
    where = {"calls": "of calls", "channels": "along axis 1", "images": "along axis 0"}
    for shared, fn in shapes.items():
        report = check_random(fn, "half_gaussian", draws=DRAWS, framework="numpy")
        wrong = {t.of for _, tests in report.tests for t in tests if t.p < report.level}
        assert f"independence {where[shared]}" in wrong


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda sigma0: sigma0[0], "must return shape"),
        (lambda sigma0: sigma0 * np.nan, "returns 400 numbers of 400 that are not finite"),
        (lambda sigma0: 1 / 0, "raises ZeroDivisionError: division by zero"),
        (lambda sigma0: "text", "raises TypeError: returned a str"),
    ],
)
def test_functions_that_cannot_be_judged(fn: Callable[..., Any], message: str) -> None:
    report = check_random(fn, "half_gaussian", draws=DRAWS, framework="numpy")
    assert not report.passed
    assert report.tests == ()
    assert len(report.refused) == 2
    assert message in report.refused[0]
    assert all("\n" not in line for line in report.refused)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"op": "relu"}, "op must be one of half_gaussian, .*got 'relu'"),
        ({"draws": 10}, "draws must be >= 1000, got 10"),
        ({"alarm": 0.0}, r"alarm must be in \(0, 1\), got 0.0"),
        ({"framework": "theano"}, "framework: must be one of"),
    ],
)
def test_arguments_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_random(**{"fn": RIGHT["half_gaussian"], "op": "half_gaussian", **options})


def test_a_torch_function_with_its_own_generator() -> None:
    torch = pytest.importorskip("torch")

    def mine(mu0, sigma0, generator):
        return torch.nn.functional.softplus(mu0 + sigma0 * torch.randn(mu0.shape, generator=generator))

    assert check_random(mine, "inverse_softplus_gaussian", draws=DRAWS).passed


def test_a_function_with_a_seed() -> None:
    def mine(x, p, seed):
        return x * (np.random.default_rng(seed).random(x.shape) >= p) / (1 - p)

    assert check_random(mine, "dropout", draws=DRAWS).passed


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = "def half(sigma0, rng):\n    return sigma0 * abs(rng.standard_normal(sigma0.shape))\n"
    (tmp_path / "drawing_here.py").write_text(code)
    monkeypatch.chdir(tmp_path)

    def ran(*argv: str) -> int:
        parser = argparse.ArgumentParser()
        statistics.configure(parser)
        return statistics.run(parser.parse_args(argv))

    assert ran("drawing_here:half", "--as", "half_gaussian", "--draws", "20000") == 0
    assert "half_gaussian: as it should be" in capsys.readouterr().out
    assert ran("drawing_here:half", "--as", "inverse_softplus_gaussian", "--draws", "20000") == 1
    with pytest.raises(UserError, match="cannot import drawing_here:none: AttributeError"):
        ran("drawing_here:none", "--as", "dropout")
    with pytest.raises(UserError, match="draws must be >= 1000"):
        ran("drawing_here:half", "--as", "half_gaussian", "--draws", "3")
