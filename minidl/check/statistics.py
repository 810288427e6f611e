r"""Whether a random function draws from the law that it should.

For n draws x_i, F their law with mean μ, variance v and fourth central moment κ:

    distribution    D = sup |F_n - F|,     P(D > d) ≤ 2 exp(-2 n d²)       for every n and every F             (1)
    mean            z = (x̄ - μ) / √(v/n)                                                                       (2)
    variance        z = (v̂ - v) / √((κ - v²)/n),      v̂ = Σ (x_i - μ)²/n                                      (3)
    independence    z = 12 Σ (u_i - ½)(u_{i+1} - ½) / √m     over m neighbours along an axis, u = F(x)          (4)

(1) is the Kolmogorov-Smirnov statistic with the bound of Dvoretzky, Kiefer and Wolfowitz in Massart's form, which
needs no large n; z of (2)-(4) is standard normal for large n.  (4) finds noise that is shared: by channels, by images,
by calls.  Where single values have a probability, (x - μ)/√v stands for √12 (u - ½).

A test fails if its p-value is below α/T, T the number of all tests made: so a right function fails with probability
at most α, by Boole's inequality.  Massart, "The tight constant in the DKW inequality", Ann. Probab. 18(3), 1990.
"""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidl.check.frameworks import candidates, get_framework
from minidl.check.frameworks.base import Framework
from minidl.check.laws import Law
from minidl.check.random_ops import RANDOM_OPS, RandomOp, Setting
from minidl.errors import UserError

__all__ = ["RandomReport", "Test", "check_random", "judge", "ks_p_value", "ks_statistic"]

CALLS = 50  # of the function for each setting


@dataclass(frozen=True)
class Test:
    """One test of draws against a law.

    Attributes:
        of: "mean", "variance", "distribution", "independence of calls", …
        p: probability that a right function does as badly.
        says: what was seen and what is expected.
    """

    of: str
    p: float
    says: str

    __test__ = False  # pytest shall not collect it


@dataclass(frozen=True)
class RandomReport:
    """What the tests of a random function say.

    Attributes:
        op: the random op that it claims to be.
        tests: (setting, tests of the draws with it), in order.
        alarm: probability α that a right function fails.
        fits: what the draws look like instead, by setting; empty where nothing known fits.
        refused: why draws could not be judged at all; empty if they could.
    """

    op: str
    tests: tuple[tuple[str, tuple[Test, ...]], ...]
    alarm: float
    fits: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def level(self) -> float:
        """The p-value below which a single test fails."""
        return self.alarm / max(1, sum(len(tests) for _, tests in self.tests))

    @property
    def passed(self) -> bool:
        """Whether draws were made, and none of their tests fails."""
        return (
            bool(self.tests) and not self.refused and all(t.p >= self.level for _, tests in self.tests for t in tests)
        )

    def __str__(self) -> str:
        lines = []
        for setting, tests in self.tests:
            lines.append(f"{self.op}, {setting}")
            lines += [f"  {'ok   ' if t.p >= self.level else 'WRONG'}  {t.of}: {t.says}" for t in tests]
            lines += [f"  it looks like: {what}" for where, what in self.fits if where == setting]
        lines += [f"WRONG  {line}" for line in self.refused]
        rate = f"a right function fails with probability {self.alarm:.0e}"
        lines.append(f"{self.op}: {'as it should be' if self.passed else 'not the law it should be'}; {rate}")
        return "\n".join(lines)


def ks_statistic(draws: np.ndarray, law: Law) -> float:
    """D of (1).

    Example:
        >>> from minidl.check.laws import gaussian
        >>> ks_statistic(np.array([0.0]), gaussian(0.0, 1.0))
        0.5
    """
    x = np.sort(draws, axis=None)
    values, first = np.unique(x, return_index=True)
    after = np.append(first[1:], len(x)) / len(x)  # F_n at each value, and before it
    return float(
        max(np.abs(after - law.below(values)).max(), np.abs(first / len(x) - law.strictly_below(values)).max())
    )


def ks_p_value(d: float, n: int) -> float:
    """The bound of (1) on P(D > d).

    Example:
        >>> round(ks_p_value(0.05, 1000), 4)
        0.0135
    """
    return min(1.0, 2 * math.exp(-2 * n * d * d))


def judge(draws: np.ndarray, law: Law) -> Iterator[Test]:
    """Tests (1)-(4) of an array of draws whose first axis is the calls; all are independent under `law`.

    Example:
        >>> from minidl.check.laws import gaussian
        >>> draws = np.random.default_rng(0).normal(size=(20, 500))
        >>> [test.of for test in judge(draws, gaussian(0.0, 1.0))]
        ['mean', 'variance', 'distribution', 'independence of calls', 'independence along axis 0']
        >>> shared = np.repeat(draws[:, :1], 500, axis=1)  # one number a call
        >>> min(test.p for test in judge(shared, gaussian(0.0, 1.0)))
        0.0
    """
    n = draws.size
    z = (float(draws.mean()) - law.mean) / math.sqrt(law.variance / n)  # (2)
    yield Test("mean", _two_sided(z), f"{draws.mean():.5g}, exactly {law.mean:.5g}: z = {z:.2f}")
    if not law.atoms:  # of two values the mean says all
        around = float(np.square(draws - law.mean).mean())
        z = (around - law.variance) / math.sqrt((law.fourth - law.variance**2) / n)  # (3)
        yield Test("variance", _two_sided(z), f"{around:.5g}, exactly {law.variance:.5g}: z = {z:.2f}")
    d = ks_statistic(draws, law)  # (1)
    p = ks_p_value(d, n)
    yield Test("distribution", p, f"largest distance from that of {law.name}: {d:.4f}, p ≤ {p:.2g}")
    mean, variance, of = (law.mean, law.variance, draws) if law.atoms else (0.5, 1 / 12, law.below(draws))
    centred = (of - mean) / math.sqrt(variance)
    for axis, length in enumerate(draws.shape):
        if length > 1:
            products = np.take(centred, range(length - 1), axis) * np.take(centred, range(1, length), axis)
            z = float(products.sum()) / math.sqrt(products.size)  # (4)
            where = "of calls" if axis == 0 else f"along axis {axis - 1}"
            yield Test(f"independence {where}", _two_sided(z), f"neighbours' correlation: z = {z:.2f}")


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def check_random(
    fn: Callable[..., Any],
    op: str,
    *,
    draws: int = 100_000,
    alarm: float = 1e-6,
    seed: int = 0,
    dtype: str = "float32",
    framework: str | None = None,
) -> RandomReport:
    """Test the law of what a function draws.

    Args:
        fn: takes what the op takes but the noise, in order (see `minidl.check.random_ops`), as NumPy's, PyTorch's,
            JAX's, TensorFlow's or CuPy's arrays, and draws the noise itself.  If it has a parameter `rng`, it gets a
            numpy.random.Generator there, in `seed` a new integer each call, in `key` a new jax.random.key,
            in `generator` a torch.Generator.
        op: one of `RANDOM_OPS`.
        draws: numbers for each setting.
        alarm: probability that a right function fails.
        seed: of inputs, and of what `rng`, `seed`, `key` and `generator` get; otherwise `fn` has its own.
        dtype: of the arrays.
        framework: whose arrays `fn` takes; found out if None.

    Raises:
        ValueError: there is no such op, or `draws` or `alarm` is out of range.

    Example:
        >>> def mine(mu0, sigma0, rng):
        ...     return np.log1p(np.exp(mu0 + sigma0**2 * rng.standard_normal(mu0.shape)))
        >>> report = check_random(mine, "inverse_softplus_gaussian", draws=20_000, framework="numpy")
        >>> report.passed, dict(report.fits)["mu0=0, sigma0=0.7"]
        (False, 'σ₀² in place of σ₀')
    """
    if op not in RANDOM_OPS:
        raise ValueError(f"check_random: op must be one of {', '.join(RANDOM_OPS)}, got {op!r}")
    if draws < 1000:
        raise ValueError(f"check_random: draws must be >= 1000, got {draws}")
    if not 0 < alarm < 1:
        raise ValueError(f"check_random: alarm must be in (0, 1), got {alarm}")
    random_op = RANDOM_OPS[op]
    names = [framework] if framework else candidates(fn)
    tests, refused, drawn = [], [], {}
    for number, setting in enumerate(random_op.settings):
        shown = ", ".join(f"{name}={value:.4g}" for name, value in setting.items())
        rng = np.random.default_rng([seed, number])
        try:
            drawn[shown] = setting, _drawn(fn, random_op, setting, draws, rng, dtype, names)
        except _Unusable as error:
            refused.append(f"{shown}: {error}")
            continue
        tests.append((shown, tuple(judge(drawn[shown][1], random_op.law(setting)))))
    report = RandomReport(op, tuple(tests), alarm, refused=tuple(refused))
    fits = []
    for shown, of in tests:
        if any(t.p < report.level for t in of):
            setting, x = drawn[shown]
            fits += [(shown, what) for what, law in random_op.mistakes(setting).items() if _fits(x, law)][:1]
    return replace(report, fits=tuple(fits))


def _fits(draws: np.ndarray, law: Law) -> bool:
    return ks_p_value(ks_statistic(draws, law), draws.size) > 1e-4


class _Unusable(Exception):
    """The function cannot be called, or returned what cannot be judged; one line."""


def _drawn(
    fn: Callable[..., Any],
    op: RandomOp,
    setting: Setting,
    draws: int,
    rng: np.random.Generator,
    dtype: str,
    names: list[str],
) -> np.ndarray:
    """What `CALLS` calls draw, as draws from the law: shape (calls, …).  Settles the framework in `names`."""
    arguments = op.arguments(setting, draws // CALLS, rng)
    arguments = {k: v.astype(dtype).astype(float) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    shape = _result_shape(arguments)
    sources = _sources(fn, rng)
    found: list[np.ndarray] = []
    errors: list[str] = []
    for name in list(names):
        framework = get_framework(name)
        try:
            found = [_call(fn, framework, arguments, dtype, sources) for _ in range(CALLS)]
            names[:] = [name]
            break
        except Exception as error:  # of somebody's function, whatever it is
            errors.append(f"raises {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    if not found:
        raise _Unusable(errors[0])
    for y in found:
        if y.shape != shape:
            raise _Unusable(f"must return shape {shape}, got {y.shape}")
        if not np.isfinite(y).all():
            raise _Unusable(f"returns {int((~np.isfinite(y)).sum()):,} numbers of {y.size:,} that are not finite")
    return np.stack([op.draws(y.astype(float), arguments, setting) for y in found])


def _result_shape(arguments: dict[str, Any]) -> tuple[int, ...]:
    if "weight" in arguments:
        return len(arguments["x"]), len(arguments["weight"])
    return next(a.shape for name, a in reversed(arguments.items()) if isinstance(a, np.ndarray))


def _call(
    fn: Callable[..., Any],
    framework: Framework,
    arguments: dict[str, Any],
    dtype: str,
    sources: dict[str, Callable[[], Any]],
) -> np.ndarray:
    with framework.setting():
        given = [framework.asarray(a, dtype) if isinstance(a, np.ndarray) else a for a in arguments.values()]
        return framework.numpy(fn(*given, **{name: make() for name, make in sources.items()}))


def _sources(fn: Callable[..., Any], rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """What the function takes to draw from, by the name of its parameter."""

    def key() -> Any:
        import jax

        return jax.random.key(int(rng.integers(2**31)))

    def generator() -> Any:
        import torch

        return torch.Generator().manual_seed(int(rng.integers(2**31)))

    known = {"rng": lambda: rng, "seed": lambda: int(rng.integers(2**31)), "key": key, "generator": generator}
    try:
        parameters = inspect.signature(fn).parameters
    except (ValueError, TypeError):  # a builtin
        return {}
    return {name: make for name, make in known.items() if name in parameters}


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m minidl.check statistics`."""
    parser.add_argument(
        "function", metavar="MODULE:FUNCTION", help="what draws: importable from here, or FILE.py:FUNCTION"
    )
    parser.add_argument("--as", dest="op", choices=tuple(RANDOM_OPS), required=True, help="the op that it claims to be")
    parser.add_argument("--draws", type=int, default=100_000, help="numbers for each setting (default: 100000)")
    parser.add_argument("--alarm", type=float, default=1e-6, help="probability that a right one fails (default: 1e-6)")
    parser.add_argument("--seed", type=int, default=0, help="of inputs, and of its rng, seed, key or generator")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="of arrays")
    parser.add_argument("--framework", help="whose arrays it takes (default: found out)")


def run(args: argparse.Namespace) -> int:
    """Print the tests; 0 if the law is right, 1 if it is not.

    Raises:
        UserError: the function cannot be imported, or an argument is out of range.
    """
    from minidl.check.command import imported

    fn = imported(args.function)
    try:
        report = check_random(
            fn,
            args.op,
            draws=args.draws,
            alarm=args.alarm,
            seed=args.seed,
            dtype=args.dtype,
            framework=args.framework,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    print(report)
    return 0 if report.passed else 1
