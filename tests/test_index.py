"""Reading by places: repeated places, masks, copies, and agreement with NumPy's own scatter."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import Tensor, ops


def gradient(op, x: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The output, a random cotangent and the gradient."""
    t = Tensor(x, requires_grad=True)
    y = op(t)
    gy = np.random.default_rng(seed).normal(size=y.shape).astype(x.dtype)
    y.backward(gy)
    return y.data, gy, t.grad


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_many_repeats_add_up_as_in_numpy(axis: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 6, 7))
    indices = rng.integers(0, 3, size=400)  # most places many times, some never
    y, gy, gx = gradient(lambda t: ops.take(t, indices, axis), x)
    np.testing.assert_array_equal(y, x.take(indices, axis))
    expected = np.zeros(x.shape)
    np.add.at(expected, (*[slice(None)] * axis, indices), gy)
    np.testing.assert_allclose(gx, expected, rtol=1e-12, atol=1e-12)


def test_getitem_with_two_arrays_and_a_slice_adds_up_as_in_numpy() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 6, 7))
    key = (rng.integers(-5, 5, (4, 50)), slice(1, 5, 2), rng.integers(-7, 7, 50))
    y, gy, gx = gradient(lambda t: t[key], x)
    np.testing.assert_array_equal(y, x[key])
    expected = np.zeros(x.shape)
    np.add.at(expected, key, gy)
    np.testing.assert_allclose(gx, expected, rtol=1e-12, atol=1e-12)


def test_keys_are_copied() -> None:
    rows, mask, indices = np.array([0, 2]), np.array([True, False, True]), np.array([0, 2])
    x = Tensor(np.arange(3.0), requires_grad=True)
    ys = [x[rows], x[mask], x[(rows,)], ops.take(x, indices)]
    rows[:] = indices[:] = 1
    mask[:] = ~mask
    for y in ys:
        x.grad = None
        y.backward(np.array([1.0, 2.0]))
        assert x.grad.tolist() == [1.0, 0.0, 2.0]


def test_the_same_bits_in_every_run_and_float32() -> None:
    rng = np.random.default_rng(0)
    x, indices = rng.normal(size=(10, 3)).astype(np.float32), rng.integers(0, 10, 1000)
    first, second = (gradient(lambda t: ops.take(t, indices), x)[2] for _ in range(2))
    assert first.dtype == np.float32
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_padding_continues_as_in_numpy(mode: str, length: int) -> None:
    x = np.random.default_rng(0).normal(size=(length, 3))
    for widths in [((1, 2), (0, 0)), ((7, 4), (2, 5))]:
        y, gy, gx = gradient(lambda t, widths=widths: ops.pad(t, widths, mode), x)
        np.testing.assert_array_equal(y, np.pad(x, widths, mode))
        assert np.vdot(y, gy) == pytest.approx(np.vdot(x, gx), rel=1e-12)


def test_padding_keeps_the_memory_order_of_its_input() -> None:
    x = np.ones((3, 4, 5, 2), np.float32).transpose(3, 0, 1, 2)  # C, H, W, N in memory
    y = ops.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).data
    assert y.transpose(1, 2, 3, 0).flags.c_contiguous


def test_split_and_concat_undo_each_other() -> None:
    x = Tensor(np.random.default_rng(0).normal(size=(3, 7)), requires_grad=True)
    pieces = ops.split(x, 3, axis=1)
    assert [p.shape for p in pieces] == [(3, 3), (3, 3), (3, 1)]
    y = ops.concat(pieces, axis=1)
    np.testing.assert_array_equal(y.data, x.data)
    gy = np.random.default_rng(1).normal(size=(3, 7))
    y.backward(gy)
    np.testing.assert_array_equal(x.grad, gy)


def test_a_piece_that_is_not_used_gets_no_gradient() -> None:
    x = Tensor(np.ones(4), requires_grad=True)
    _, last = ops.split(x, [1, 3])
    (2.0 * last).sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 2.0, 2.0]


def test_views_of_a_tensor_cannot_be_written_to() -> None:
    x = Tensor(np.zeros((2, 3)))
    for y in (x[0], x.T, x.reshape(3, 2), x.broadcast_to(4, 2, 3), ops.flip(x)):
        with pytest.raises(ValueError, match="read-only"):
            y.data[...] = 1.0


def test_a_tensor_is_not_taken_for_a_list_of_tensors() -> None:
    for op in (ops.concat, ops.stack):
        with pytest.raises(ValueError, match="tensors must be a list or tuple of at least one, got Tensor"):
            op(Tensor(np.zeros((2, 2))))
