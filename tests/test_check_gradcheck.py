"""The gradient check of any function: right ones pass by the sharpest means, wrong ones are told which and how."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import ops
from minidl.check import gradcheck
from minidl.check.slopes import slope

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
MASK = np.arange(12).reshape(3, 4)


def test_analytic_functions_are_checked_by_complex_step() -> None:
    report = gradcheck(np.sin, X, backward=lambda gy, x: gy * np.cos(x))
    assert report.ok and report.notes == ("x: by complex step",)
    assert 0 < report.worst["x"] < 1
    assert "the gradient is right" in str(report)


def test_others_by_differences_with_an_estimate_of_their_error() -> None:
    report = gradcheck(np.abs, X, backward=lambda gy, x: gy * np.sign(x))
    assert report.ok and "x: by central differences at three steps" in report.notes


def test_functions_that_refuse_complex_numbers_too() -> None:
    def cubes(x):
        return np.array([[float(v) ** 3 for v in row] for row in x])

    only_real = gradcheck(cubes, X, backward=lambda gy, x: 3 * gy * x**2)
    assert only_real.ok and "x: by central differences at three steps" in only_real.notes


def test_our_own_ops() -> None:
    report = gradcheck(ops.conv2d, RNG.normal(size=(1, 2, 4, 5)), RNG.normal(size=(3, 2, 3, 2)), RNG.normal(size=3))
    assert report.ok
    assert "weight: linear, and ⟨A d, gy⟩ = ⟨d, Aᵀgy⟩ holds" in report.notes
    assert gradcheck(lambda x: ops.layer_norm(x, normalized_shape=4), X).ok
    assert not gradcheck(lambda x: ops.softmax(x.detach() + x), X).ok


@pytest.mark.parametrize(
    ("backward", "says"),
    [
        (lambda gy, x: 2 * gy * np.cos(x), "x is 2 times the derivative, in every element: [0, 0] is"),
        (lambda gy, x: -gy * np.cos(x), "x is -1 times the derivative, in every element"),
        (lambda gy, x: np.cos(x), "x does not depend on the cotangent: "),
        (lambda gy, x: 0 * gy, "x is 0, in every element"),
        (lambda gy, x: gy * np.cos(x) * (MASK != 7), "x is wrong in 1 of 12 elements: [1, 3] is 0, not"),
        (lambda gy, x: gy * np.cos(2 * x), "x is wrong in every element"),
        (lambda gy, x: (gy * np.cos(x)).sum(0), "x has shape (4,), not (3, 4)"),
    ],
)
def test_a_wrong_gradient_is_told_which_element_and_how(backward, says: str) -> None:
    report = gradcheck(np.sin, X, backward=backward)
    assert not report.ok
    assert any(f"the gradient of {says}" in line for line in report.wrong), str(report)
    assert "the gradient is WRONG" in str(report)


def test_of_two_inputs_the_wrong_one_is_named() -> None:
    def backward(gy, image, kernel):
        return gy @ kernel.T, image.T @ gy / 3

    report = gradcheck(lambda image, kernel: image @ kernel, X, RNG.normal(size=(4, 2)), backward=backward)
    assert len(report.wrong) == 2
    assert report.wrong[0].startswith("the gradient of kernel is 0.333333 times the derivative")
    assert report.wrong[1].startswith("linear in kernel, but ⟨A d, gy⟩ = ")
    assert "image: linear, and ⟨A d, gy⟩ = ⟨d, Aᵀgy⟩ holds" in report.notes


def test_kinks_are_noticed_and_any_subgradient_is_right() -> None:
    x = np.array([0.0, 1.0, -1.0, 1e-6])
    for choice in (0.0, 1.0, -1.0, 0.5):
        report = gradcheck(np.abs, x, backward=lambda gy, x, c=choice: gy * np.where(x == 0, c, np.sign(x)))
        assert report.ok, str(report)
        assert any("x[0] is at a kink: one-sided derivatives -" in note for note in report.notes)
        assert any("x[3]: a kink lies near; measured with a step of" in note for note in report.notes)
    report = gradcheck(np.abs, x, backward=lambda gy, x: gy * np.where(x == 0, 1.5, np.sign(x)))
    assert not report.ok and "x is wrong in 1 of 4 elements: [0]" in report.wrong[0]


def test_maxima_with_ties() -> None:
    def largest(x):
        return x.max(axis=1)

    def to_the_first(gy, x):
        g = np.zeros_like(x)
        g[np.arange(len(x)), x.argmax(axis=1)] = gy
        return g

    x = np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])
    assert gradcheck(largest, x, backward=to_the_first).ok
    assert not gradcheck(largest, x, backward=lambda gy, x: gy[:, None] * (x > 0)).ok


def test_calls_that_do_not_keep_still() -> None:
    rng = np.random.default_rng(0)
    noisy = gradcheck(lambda x: x + rng.normal(), X, backward=lambda gy, x: gy)
    assert noisy.wrong == ("two equal calls give different outputs: it is not deterministic",)
    moody = gradcheck(np.sin, X, backward=lambda gy, x: gy * np.cos(x) * (1 + rng.normal()))
    assert moody.wrong == ("two equal calls give different gradients: backward is not deterministic, or remembers",)
    buffer = np.zeros((3, 4))

    def shared(gy, x):
        buffer[...] = gy * np.cos(x)
        return buffer

    assert gradcheck(np.sin, X, backward=shared).ok  # a copy is taken of what it returns


def test_many_elements_are_sampled_and_all_of_them_along_directions() -> None:
    x = RNG.normal(size=2000)
    right = gradcheck(np.exp, x, backward=lambda gy, x: gy * np.exp(x), elements=20)
    assert right.ok and "x: 20 of its 2000 elements, and 3 random directions" in right.notes
    hidden = 1777
    wrong = gradcheck(np.exp, x, backward=lambda gy, x: gy * np.exp(x) * (np.arange(2000) != hidden), elements=20)
    assert not wrong.ok and "along a random direction" in wrong.wrong[0]


def test_integers_and_masks_are_constants() -> None:
    report = gradcheck(lambda x, at: x[at], X, np.array([2, 0]), backward=lambda gy, x, at: np.eye(3)[:, at] @ gy)
    assert report.ok and list(report.worst) == ["x"]


def test_pytorch_and_its_detached_gradients() -> None:
    torch = pytest.importorskip("torch")
    assert gradcheck(torch.tanh, X).ok
    assert gradcheck(torch.nn.functional.relu, np.array([0.0, 1.0, -2.0])).ok
    report = gradcheck(lambda x: torch.sin(x).detach() * x, X)
    assert not report.ok and "x is wrong in every element" in report.wrong[0]


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(TypeError, match="must return a floating array, got int64"):
        gradcheck(lambda x: np.array([1, 2]), X, backward=lambda gy, x: gy)


@pytest.mark.parametrize(
    ("f", "value"), [(np.sin, 1.0), (lambda t: (2 + t) ** 5, 80.0), (lambda t: 1 / (1 + t), -1.0), (lambda t: 3.0, 0.0)]
)
def test_slopes_bound_their_error(f, value: float) -> None:
    s = slope(f, 1.0, 1e-16 * (1 + abs(f(0.0))))
    assert abs(s.value - value) <= s.error < 1e-7 * (1 + abs(value))
    assert s.sides is None and not s.near


@pytest.mark.parametrize("at", [1e-4, -3e-5, 2e-6])
def test_a_kink_within_the_step_is_stepped_around(at: float) -> None:
    s = slope(lambda t: abs(t - at), 1.0, 1e-16)
    assert s.near and s.sides is None and abs(s.value + np.sign(at)) <= s.error
    assert s.step < abs(at)


def test_a_function_that_refuses_places_far_away_is_not_linear() -> None:
    def root(x: np.ndarray) -> np.ndarray:
        if (x.real <= 0).any():
            raise ValueError("root: x must be > 0")
        return np.sqrt(x)

    report = gradcheck(root, np.full(4, 0.5), backward=lambda gy, x: gy / (2 * np.sqrt(x)))
    assert report.ok
    assert not any("linear" in note for note in report.notes)
