"""Pooling: against PyTorch, the three forms of the kernels against each other, and what a sum of windows must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Tensor, ops
from minidl.check.spec.pool import avg_pool2d_drawn, max_pool2d_drawn
from minidl.kernels import use_kernels
from minidl.kernels.cpu.threads import use_threads

FORMS = ["reference", "array", "cpu"]


def run(op, x: np.ndarray, gy_seed: int = 1, **params) -> tuple[np.ndarray, np.ndarray]:
    """y, and gx for a random cotangent."""
    x_tensor = Tensor(x, requires_grad=True)
    y = op(x_tensor, **params)
    y.backward(np.random.default_rng(gy_seed).normal(size=y.shape).astype(y.dtype))
    return y.data, x_tensor.grad


def run_torch(torch, name: str, x: np.ndarray, gy_seed: int = 1, **params) -> tuple[np.ndarray, np.ndarray]:
    x_tensor = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, name)(x_tensor, **params)
    y.backward(torch.tensor(np.random.default_rng(gy_seed).normal(size=y.shape)))
    return y.detach().numpy(), x_tensor.grad.numpy()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(max_pool2d_drawn(), st.booleans())
def test_max_pool_equals_pytorch(sample, tied) -> None:
    torch = pytest.importorskip("torch")
    x = np.round(sample.inputs[0]) if tied else sample.inputs[0]  # ties: the first maximum takes all
    for ours, theirs in zip(
        run(ops.max_pool2d, x, **sample.params), run_torch(torch, "max_pool2d", x, **sample.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(avg_pool2d_drawn())
def test_avg_pool_equals_pytorch(sample) -> None:
    torch = pytest.importorskip("torch")
    x = sample.inputs[0]
    for ours, theirs in zip(
        run(ops.avg_pool2d, x, **sample.params), run_torch(torch, "avg_pool2d", x, **sample.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [1, (2, 3), (5, 4), (7, 9), (None, 2), (3, None)])
def test_adaptive_avg_pool_equals_pytorch(size) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 6))
    ours = run(ops.adaptive_avg_pool2d, x, output_size=size)
    theirs = run_torch(torch, "adaptive_avg_pool2d", x, output_size=size)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@settings(max_examples=15, derandomize=True, deadline=None)
@given(max_pool2d_drawn(), st.sampled_from([np.float32, np.float64]))
def test_forms_of_max_pool_agree(sample, dtype) -> None:
    x = np.round(sample.inputs[0]).astype(dtype)
    results = []
    for form in FORMS:
        with use_kernels(form):
            results.append(run(ops.max_pool2d, x, **sample.params))
    for y, gx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_allclose(gx, results[0][1], rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)


@settings(max_examples=15, derandomize=True, deadline=None)
@given(avg_pool2d_drawn(), st.sampled_from([np.float32, np.float64]))
def test_forms_of_avg_pool_agree(sample, dtype) -> None:
    x = sample.inputs[0].astype(dtype)
    results = []
    for form in FORMS:
        with use_kernels(form):
            results.append(run(ops.avg_pool2d, x, **sample.params))
    bound = 16 * np.finfo(dtype).eps * max(1, np.abs(x).max())  # 16 additions at most
    for y, gx in results[1:]:
        np.testing.assert_allclose(y, results[0][0], rtol=0, atol=bound)
        np.testing.assert_allclose(gx, results[0][1], rtol=0, atol=4 * bound)  # |gy| < 4


def test_forms_of_adaptive_avg_pool_agree() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 6))
    results = []
    for form in FORMS:
        with use_kernels(form):
            results.append(run(ops.adaptive_avg_pool2d, x, output_size=(3, 4)))
    for y, gx in results[1:]:
        np.testing.assert_allclose(y, results[0][0], rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(gx, results[0][1], rtol=1e-14, atol=1e-14)


def test_nan_is_not_hidden_by_a_larger_number() -> None:
    x = np.array([[[[1.0, np.nan], [3.0, 2.0]]]])
    for form in FORMS:
        with use_kernels(form):
            y, gx = run(ops.max_pool2d, x, kernel_size=2)
            assert np.isnan(y).all()
            assert (np.flatnonzero(gx) == [1]).all()


def test_padding_is_not_zero_for_the_maximum() -> None:
    y, _ = run(ops.max_pool2d, np.full((1, 1, 3, 3), -2.0), kernel_size=3, padding=1, stride=1)
    np.testing.assert_array_equal(y, -2.0)


def test_leftover_samples_get_no_gradient() -> None:
    for op in (ops.max_pool2d, ops.avg_pool2d):
        _, gx = run(op, np.random.default_rng(0).normal(size=(1, 2, 7, 6)), kernel_size=2)
        assert gx.shape == (1, 2, 7, 6)
        assert not gx[:, :, 6].any()
        assert gx[:, :, :6].any()


def test_shift_equivariance_gives_gx_the_sum_of_gy() -> None:
    """pool(x + c) = pool(x) + c, hence Σ gx = Σ gy."""
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 7))
    windows = {"kernel_size": 3, "stride": 2, "padding": 1}
    for op, params in [
        (ops.max_pool2d, windows),
        (ops.avg_pool2d, {**windows, "count_include_pad": False}),
        (ops.adaptive_avg_pool2d, {"output_size": (4, 3)}),
    ]:
        y, gx = run(op, x, **params)
        assert gx.sum() == pytest.approx(np.random.default_rng(1).normal(size=y.shape).sum(), abs=1e-12)
        np.testing.assert_allclose(op(Tensor(x + 7.0), **params).data, y + 7.0, rtol=1e-13)


def test_global_average_is_the_mean() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    y, gx = run(ops.adaptive_avg_pool2d, x, output_size=1)
    np.testing.assert_allclose(y[:, :, 0, 0], x.mean(axis=(2, 3)), rtol=1e-13)
    np.testing.assert_allclose(gx, np.broadcast_to(gx[:, :, :1, :1], gx.shape), rtol=1e-13)


def test_layout_in_memory_changes_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 6, 5))
    spatial_first = np.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
    for op, params in [
        (ops.max_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (ops.avg_pool2d, {"kernel_size": 2}),
        (ops.adaptive_avg_pool2d, {"output_size": (4, 3)}),
    ]:
        for a, b in zip(run(op, x, **params), run(op, spatial_first, **params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("op", "params"),
    [
        (ops.max_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (ops.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (ops.adaptive_avg_pool2d, {"output_size": (7, 1)}),
    ],
)
def test_threads_change_no_bit(op, params) -> None:
    x = np.random.default_rng(0).normal(size=(8, 12, 64, 63)).astype(np.float32)  # several blocks
    results = []
    for threads in (1, 2, 4):
        with use_threads(threads):
            results.append(run(op, x, **params))
    for y, gx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(gx, results[0][1])
