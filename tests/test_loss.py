"""Losses: every combination of their parameters against PyTorch, large logits, and labels that are refused."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from minidl import Tensor, ops

REDUCTIONS = ["mean", "sum", "none"]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return 2 * np.random.default_rng(seed).normal(size=shape)


def probabilities(*shape: int, axis: int, seed: int = 1) -> np.ndarray:
    q = np.random.default_rng(seed).uniform(0.1, 1, size=shape)
    return q / q.sum(axis=axis, keepdims=True)


def assert_equal(ours, theirs, inputs: list[np.ndarray], torch) -> None:
    """Value and gradients of two functions of `inputs`, for the same random cotangent."""
    xs, ts = [Tensor(x, requires_grad=True) for x in inputs], [torch.tensor(x, requires_grad=True) for x in inputs]
    y, t = ours(*xs), theirs(*ts)
    np.testing.assert_allclose(y.data, t.detach().numpy(), rtol=1e-12, atol=1e-12)
    gy = draw(*y.shape, seed=9)
    y.backward(np.asarray(gy))
    t.backward(torch.tensor(gy))
    for a, b in zip(xs, ts, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 4), (4,), (3, 4, 2), (2, 4, 3, 2)])
def test_cross_entropy_of_labels_equals_pytorch(shape, reduction, label_smoothing) -> None:
    torch = pytest.importorskip("torch")
    logits = draw(*shape)
    axis = min(1, len(shape) - 1)
    labels = np.random.default_rng(2).integers(4, size=shape[:axis] + shape[axis + 1 :])
    labels.flat[0] = 2
    weight = np.array([0.5, 2.0, 1.0, 0.0])
    for w, ignore_index in product([None, weight], [-100, 1, 3]):
        target = labels.copy()
        if target.size > 1:
            target.flat[1] = ignore_index
        params = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
        assert_equal(
            lambda z, w=w, target=target, params=params: ops.cross_entropy(z, target, w, **params),
            lambda z, w=w, target=target, params=params: torch.nn.functional.cross_entropy(
                z, torch.tensor(target), None if w is None else torch.tensor(w), **params
            ),
            [logits],
            torch,
        )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 4), (4,), (3, 4, 2)])
def test_cross_entropy_of_probabilities_equals_pytorch(shape, reduction, label_smoothing, weighted) -> None:
    torch = pytest.importorskip("torch")
    weight = np.array([0.5, 2.0, 1.0, 0.0]) if weighted else None
    params = {"reduction": reduction, "label_smoothing": label_smoothing}
    assert_equal(
        lambda z, q: ops.cross_entropy(z, q, weight, **params),
        lambda z, q: torch.nn.functional.cross_entropy(
            z, q, None if weight is None else torch.tensor(weight), **params
        ),
        [draw(*shape), probabilities(*shape, axis=min(1, len(shape) - 1))],
        torch,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_mse_loss_equals_pytorch(shape, reduction) -> None:
    torch = pytest.importorskip("torch")
    assert_equal(
        lambda x, t: ops.mse_loss(x, t, reduction=reduction),
        lambda x, t: torch.nn.functional.mse_loss(x, t, reduction=reduction),
        [np.asarray(draw(*shape)), np.asarray(draw(*shape, seed=1))],
        torch,
    )


@pytest.mark.parametrize("pos_weight", [None, (4,), (3, 1), ()])
@pytest.mark.parametrize("weight", [None, (3, 4), (3, 1)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_equals_pytorch(reduction, weight, pos_weight) -> None:
    torch = pytest.importorskip("torch")
    factors = [None if f is None else np.asarray(np.exp(draw(*f, seed=5))) for f in (weight, pos_weight)]

    def theirs(x, t):
        w, p = (None if f is None else torch.tensor(f) for f in factors)
        return torch.nn.functional.binary_cross_entropy_with_logits(x, t, w, pos_weight=p, reduction=reduction)

    assert_equal(
        lambda x, t: ops.binary_cross_entropy_with_logits(x, t, *factors, reduction=reduction),
        theirs,
        [draw(3, 4), np.random.default_rng(1).random((3, 4))],
        torch,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_lose_nothing(dtype) -> None:
    """Differences of 1000 and a common offset of 1e6: the loss is that difference, the gradient p - t."""
    z = Tensor(np.array([[1e6, 1e6 - 1000, 1e6 - 2000], [-1e6, -1e6, -1e6]], dtype), requires_grad=True)
    losses = ops.cross_entropy(z, [1, 2], reduction="none")
    np.testing.assert_allclose(losses.data, [1000, math.log(3)], rtol=np.finfo(dtype).eps * 4)
    losses.backward(np.ones(2, dtype))
    np.testing.assert_allclose(z.grad, [[1, -1, 0], [1 / 3, 1 / 3, -2 / 3]], rtol=np.finfo(dtype).eps * 4)


def test_small_losses_and_their_gradients_keep_their_digits() -> None:
    """σ(x) rounds to 1 where -log σ(x) is still 2e-9."""
    x = Tensor(np.float32([20.0, -20.0, 80.0]), requires_grad=True)
    losses = ops.binary_cross_entropy_with_logits(x, np.float32([1, 0, 1]), reduction="none")
    small = np.exp([-20.0, -20.0, -80.0])
    np.testing.assert_allclose(losses.data, np.log1p(small), rtol=1e-6)
    losses.backward(np.ones(3, np.float32))
    np.testing.assert_allclose(x.grad, [-1, 1, -1] * small / (1 + small), rtol=1e-6)


def test_binary_cross_entropy_of_large_logits() -> None:
    x = Tensor(np.float32([1e4, 1e4, -1e4, -1e4]), requires_grad=True)
    losses = ops.binary_cross_entropy_with_logits(x, np.float32([1, 0, 1, 0]), reduction="none")
    np.testing.assert_array_equal(losses.data, [0, 1e4, 1e4, 0])
    losses.backward(np.ones(4, np.float32))
    np.testing.assert_array_equal(x.grad, [0, 1, -1, 0])


def test_a_class_ruled_out_by_minus_infinity() -> None:
    """Masking a class with -∞ leaves the loss and the gradients of the others finite."""
    z = Tensor([[0.0, -np.inf, 0.0]], requires_grad=True)
    loss = ops.cross_entropy(z, [0])
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)
    np.testing.assert_allclose(z.grad, [[-0.5, 0, 0.5]])


def test_nan_reaches_the_loss_and_the_gradient_of_its_row_only() -> None:
    z = Tensor(np.array([[0.0, np.nan], [1.0, 2.0]]), requires_grad=True)
    losses = ops.cross_entropy(z, [0, 1], reduction="none")
    assert np.isnan(losses.data).tolist() == [True, False]
    losses.backward(np.ones(2))
    assert np.isnan(z.grad).tolist() == [[True, True], [False, False]]


def test_gradients_of_a_row_add_up_to_nothing() -> None:
    z = Tensor(draw(5, 4), requires_grad=True)
    ops.cross_entropy(z, [0, 1, 2, 3, -100], label_smoothing=0.1).backward()
    np.testing.assert_allclose(z.grad.sum(axis=1), 0, atol=1e-16)
    np.testing.assert_array_equal(z.grad[4], 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type(dtype) -> None:
    z = draw(3, 4)
    expected = ops.cross_entropy(z, [0, 3, 1]).item()
    assert ops.cross_entropy(z, np.array([0, 3, 1], dtype)).item() == expected
    with pytest.raises(ValueError, match=r"cross_entropy: labels must be in \[0, 4\), got 200 at row 2"):
        ops.cross_entropy(z, np.array([0, 3, 200], dtype))


def test_messages_name_the_first_bad_label_of_a_single_row() -> None:
    with pytest.raises(ValueError, match=r"cross_entropy: labels must be in \[0, 4\), got 4$"):
        ops.cross_entropy(draw(4), 4)


def test_class_weights_are_constants_of_the_same_dtype() -> None:
    z = Tensor(draw(2, 3).astype(np.float32), requires_grad=True)
    with pytest.raises(TypeError, match="CrossEntropy: inputs must share one dtype, got float32 and float64"):
        ops.cross_entropy(z, [0, 1], np.ones(3))
    loss = ops.cross_entropy(z, [0, 1], [1, 2, 3], label_smoothing=np.float64(0.1))
    assert loss.dtype == np.float32  # numbers in a list are weak, and NumPy's numbers too
    loss = ops.cross_entropy(z, [0, 1], Tensor([1.0, 2.0, 3.0], requires_grad=True))
    with pytest.raises(NotImplementedError, match=r"no gradient is defined for argument 2 \(weight\)"):
        loss.backward()


def test_labels_all_ignored_sum_to_nothing() -> None:
    z = Tensor(draw(2, 3), requires_grad=True)
    loss = ops.cross_entropy(z, [-100, -100], reduction="sum")
    loss.backward()
    assert loss.item() == 0
    np.testing.assert_array_equal(z.grad, 0)
