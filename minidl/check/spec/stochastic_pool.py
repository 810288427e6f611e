"""Specification of local Gaussian pooling, its priors, and maximum-entropy pooling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from minidl import ops
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample
from minidl.check.spec.pool import (
    WINDOWS,
    grid_of,
    on_map,
    window_divisor,
    window_errors,
    window_parameters,
    windows_of,
)


def at_output(parameter: np.ndarray, x: np.ndarray, index: tuple[int, int]) -> np.ndarray:
    """(N, C) values of a parameter that broadcasts to (N, C, Ho, Wo), at one output."""
    i, j = (0 if length == 1 else k for length, k in zip((1, 1, *parameter.shape)[-2:], index, strict=True))
    whole = parameter.reshape((1,) * (4 - parameter.ndim) + parameter.shape)
    return np.broadcast_to(whole[:, :, i, j], x.shape[:2])


def reference_gaussian_pool2d(
    x, eta, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False, eps=1e-6
) -> np.ndarray:
    """μ + η √max(v, ε) of the list of samples that count, zeros of the padding among them if they do."""
    found = {}
    for index, rows, columns in windows_of(x, kernel_size, stride, padding, 1, ceil_mode):
        samples = [x[:, :, a, b] for a, b in on_map(x, rows, columns)]
        zeros = window_divisor(x, rows, columns, padding, count_include_pad) - len(samples)
        counted = np.array(samples + [np.zeros(x.shape[:2])] * zeros)
        deviation = np.sqrt(np.maximum(counted.var(axis=0), eps))
        found[index] = counted.mean(axis=0) + at_output(eta, x, index) * deviation
    return grid_of(found)


def reference_maxent_pool2d(x, lam, kernel_size, stride=None, padding=0, ceil_mode=False) -> np.ndarray:
    """Σ e^{λx} x / Σ e^{λx} over the samples that exist."""
    found = {}
    for index, rows, columns in windows_of(x, kernel_size, stride, padding, 1, ceil_mode):
        samples = np.array([x[:, :, a, b] for a, b in on_map(x, rows, columns)])
        weights = np.exp(at_output(lam, x, index) * samples)
        found[index] = (weights * samples).sum(axis=0) / weights.sum(axis=0)
    return grid_of(found)


def reference_half_gaussian(sigma0, noise) -> np.ndarray:
    """σ₀ |e|."""
    return sigma0 * np.abs(noise)


def reference_inverse_softplus_gaussian(mu0, sigma0, noise) -> np.ndarray:
    """ln(1 + exp(μ₀ + σ₀ e)), as it stands."""
    return np.log(1 + np.exp(mu0 + sigma0 * noise))


def shapes_of_parameter(x_shape: tuple[int, ...], output_size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """One for all, per channel, per image, per map, per position."""
    n, c = x_shape[:2]
    return [(), (1, c, 1, 1), (n, 1, 1, 1), (n, c, 1, 1), (n, c, *output_size), (c, 1, output_size[1])]


def _output_size(shape: tuple[int, ...], params: dict) -> tuple[int, ...]:
    window = {"stride": None, "padding": 0, "ceil_mode": False, **params}
    window.pop("count_include_pad", None)
    return tuple(1 + k for k in max(index for index, _, _ in windows_of(np.zeros(shape), dilation=1, **window)))


def gaussian_pool2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for i, (shape, params) in enumerate(WINDOWS):
        eta_shape = shapes_of_parameter(shape, _output_size(shape, params))[i]
        x, eta = rng.normal(size=shape), np.asarray(np.abs(rng.normal(size=eta_shape)))
        yield Sample((x, eta), params)
        if params.get("padding") or params.get("ceil_mode"):
            yield Sample((x, eta), {**params, "count_include_pad": True})
    x = rng.normal(size=(2, 2, 6, 5))  # some windows below the floor, some above
    yield Sample((x, np.array(1.3)), {"kernel_size": 2, "padding": 1, "eps": 0.5})
    yield Sample((x, np.array(-0.7)), {"kernel_size": (1, 2)})


def maxent_pool2d_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for i, (shape, params) in enumerate(WINDOWS):
        lam_shape = shapes_of_parameter(shape, _output_size(shape, params))[i]
        yield Sample((rng.normal(size=shape), np.asarray(rng.normal(size=lam_shape) * 2)), params)


def half_gaussian_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, noise_shape in [((), (2, 3)), ((1, 3, 1, 1), (2, 3, 2, 1)), ((2, 3), (2, 1))]:
        yield Sample((np.asarray(rng.uniform(0.2, 2, shape)), rng.normal(size=noise_shape)))


def inverse_softplus_gaussian_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for mu, sigma, noise in [((), (), (2, 3)), ((1, 3, 1, 1), (1, 3, 1, 1), (2, 3, 2, 1)), ((2, 3), (3,), (2, 1))]:
        yield Sample((np.asarray(rng.normal(size=mu)), np.asarray(rng.uniform(0.2, 2, sigma)), rng.normal(size=noise)))


def gaussian_pool2d_drawn():
    """Any windows, η of any shape, padding counted or not."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape, params = window_parameters(draw)
        eta_shape = draw(st.sampled_from(shapes_of_parameter(shape, _output_size(shape, params))))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        params["count_include_pad"] = draw(st.booleans())
        return Sample((rng.normal(size=shape), np.asarray(rng.uniform(0.1, 2, eta_shape))), params)

    return sample()


def maxent_pool2d_drawn():
    """Any windows, λ of any shape and either sign."""
    from hypothesis import strategies as st

    @st.composite
    def sample(draw) -> Sample:
        shape, params = window_parameters(draw)
        lam_shape = draw(st.sampled_from(shapes_of_parameter(shape, _output_size(shape, params))))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        return Sample((rng.normal(size=shape), np.asarray(rng.normal(size=lam_shape) * 2)), params)

    return sample()


def with_parameter(errors: tuple[ErrorCase, ...]) -> tuple[ErrorCase, ...]:
    """The errors of windows for an op that takes a parameter after x."""
    return tuple(
        ErrorCase(Sample((*e.sample.inputs, np.array(1.0)), e.sample.params), e.exception, e.message) for e in errors
    )


def refused(message: str, *inputs: np.ndarray, **params) -> ErrorCase:
    return ErrorCase(Sample(inputs, params), ValueError, "^" + message)


def refused_when_read(message: str, *inputs: np.ndarray) -> ErrorCase:
    return replace(refused(message, *inputs), reads=True)


X = np.ones((1, 2, 4, 4))

CASES = [
    OpCase(
        name="gaussian_pool2d",
        op=ops.gaussian_pool2d,
        samples=gaussian_pool2d_samples,
        reference=reference_gaussian_pool2d,
        equations="Y = μ + η √max(v, ε) of each window",
        linear_in=(),
        kinks=(
            Kink(
                "v = ε: η does not act on x",
                Sample((np.array([[[[-1.0, 1.0], [1.0, -1.0]]]]), np.array(2.0)), {"kernel_size": 2, "eps": 1.0}),
                (np.full((1, 1, 2, 2), 0.25), np.array(1.0)),
            ),
        ),
        errors=(
            *with_parameter(window_errors("gaussian_pool2d")),
            refused(
                r"gaussian_pool2d: eta must broadcast to shape \(1, 2, 2, 2\), got \(3, 1, 1\)",
                X,
                np.ones((3, 1, 1)),
                kernel_size=2,
            ),
            refused(r"gaussian_pool2d: eps must be > 0, got 0.0", X, np.array(1.0), kernel_size=2, eps=0.0),
            refused(r"gaussian_pool2d: eps must be a number, got nan", X, np.array(1.0), kernel_size=2, eps=np.nan),
        ),
        draw=gaussian_pool2d_drawn,
    ),
    OpCase(
        name="half_gaussian",
        op=ops.half_gaussian,
        samples=half_gaussian_samples,
        reference=reference_half_gaussian,
        equations="η = σ₀ |e|",
        constants=(1,),
        linear_in=(0,),
        errors=(
            refused_when_read("half_gaussian: sigma0 must be >= 0, got -1.0", np.array(-1.0), np.ones(2)),
            refused_when_read("half_gaussian: sigma0 must be >= 0, got nan", np.array([1.0, np.nan]), np.ones(2)),
            refused(r"half_gaussian: shapes must broadcast, got \(3,\) and \(2,\)", np.ones(3), np.ones(2)),
        ),
    ),
    OpCase(
        name="inverse_softplus_gaussian",
        op=ops.inverse_softplus_gaussian,
        samples=inverse_softplus_gaussian_samples,
        reference=reference_inverse_softplus_gaussian,
        equations="η = ln(1 + exp(μ₀ + σ₀ e))",
        constants=(2,),
        errors=(
            refused_when_read(
                "inverse_softplus_gaussian: sigma0 must be >= 0, got -1.0", np.ones(2), np.array(-1.0), np.ones(2)
            ),
            refused_when_read(
                "inverse_softplus_gaussian: sigma0 must be >= 0, got nan", np.ones(2), np.array(np.nan), np.ones(2)
            ),
            refused(
                r"inverse_softplus_gaussian: shapes must broadcast, got \(2,\) and \(3,\) and \(\)",
                np.ones(2),
                np.ones(3),
                np.array(1.0),
            ),
        ),
    ),
    OpCase(
        name="maxent_pool2d",
        op=ops.maxent_pool2d,
        samples=maxent_pool2d_samples,
        reference=reference_maxent_pool2d,
        equations="y = Σ p x of each window, p = softmax(λ x)",
        errors=(
            *with_parameter(window_errors("maxent_pool2d")),
            refused(
                r"maxent_pool2d: lam must broadcast to shape \(1, 2, 2, 2\), got \(3, 1, 1\)",
                X,
                np.ones((3, 1, 1)),
                kernel_size=2,
            ),
        ),
        draw=maxent_pool2d_drawn,
    ),
]
