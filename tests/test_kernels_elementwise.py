"""Kernels of one element: the forms agree to the last bit, in every memory layout and for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.kernels import array, cpu, reference
from minidl.kernels.cpu.threads import use_threads

LAYOUTS = {
    "dense": lambda x: x,
    "batch axis last": lambda x: np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed": lambda x: x[:, ::-1].copy()[:, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
}


def special(dtype, seed: int) -> np.ndarray:
    """Normal numbers, and every value at which a trick with bits could fail."""
    info = np.finfo(dtype)
    values = [0.0, -0.0, info.max, -info.max, info.tiny, -info.tiny, info.smallest_subnormal, np.inf, -np.inf, 1.0]
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([values, rng.normal(size=110)])).astype(dtype).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_forms_agree_to_the_last_bit(monkeypatch, first, second, dtype) -> None:
    monkeypatch.setattr("minidl.kernels.cpu.elementwise.BLOCK", 16)  # several runs of a small array
    x, gy = LAYOUTS[first](special(dtype, 0)), LAYOUTS[second](special(dtype, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for name, arguments in [("relu", (x,)), ("relu_adjoint", (gy, x)), ("add", (x, gy)), ("add_relu", (x, gy))]:
            expected = getattr(reference, name)(*arguments)
            for form in (array, cpu):
                y = getattr(form, name)(*arguments)
                assert y.dtype == dtype
                np.testing.assert_array_equal(y, expected, err_msg=f"{name} {form.__name__}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_is_not_hidden(dtype) -> None:
    x = np.array([np.nan, -np.nan, 1, -1], dtype)
    one = np.ones(4, dtype)
    for form in (reference, array, cpu):
        assert np.isnan(form.relu(x)).tolist() == [True, True, False, False]
        assert np.isnan(form.relu_adjoint(x, one)).tolist() == [True, True, False, False]
        assert np.isnan(form.add_relu(x, one)).tolist() == [True, True, False, False]


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((0, 2), (0, 2))])
def test_add_broadcasts(shapes) -> None:
    a, b = (np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(shapes))
    for form in (reference, array, cpu):
        np.testing.assert_array_equal(form.add(a, b), a + b)
        np.testing.assert_array_equal(form.add_relu(a, b), np.maximum(a + b, 0))


def test_results_keep_the_layout_and_do_not_depend_on_threads(monkeypatch) -> None:
    monkeypatch.setattr("minidl.kernels.cpu.elementwise.BLOCK", 1000)
    x, gy = (LAYOUTS["batch axis last"](np.random.default_rng(i).normal(size=(32, 3, 4, 16))) for i in (0, 1))
    bits = set()
    for threads in (1, 2, 4):
        with use_threads(threads):
            results = [cpu.relu(x), cpu.relu_adjoint(gy, x), cpu.add(x, gy), cpu.add_relu(x, gy)]
            assert all(result.strides == x.strides for result in results)
            bits.add(b"".join(result.tobytes() for result in results))
    assert len(bits) == 1
