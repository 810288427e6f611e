"""Convolution and transposed convolution: against PyTorch for every combination of parameters, and their own laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.kernels.cpu.layout import chwn


def gradients(op, x, weight, bias, **params):
    """The output, and the gradients of ⟨gy, y⟩ with a random gy."""
    leaves = [None if a is None else Tensor(a, requires_grad=True) for a in (x, weight, bias)]
    y = op(*leaves, **params)
    gy = np.random.default_rng(7).normal(size=y.shape).astype(y.dtype)
    y.backward(gy)
    return y.data, gy, [None if t is None else t.grad for t in leaves]


def compare_with_torch(name: str, x, weight, bias, **params) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads spin while they wait, on small maps most of their time
    y, gy, ours = gradients(getattr(ops, name), x, weight, bias, **params)
    leaves = [None if a is None else torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    theirs = getattr(torch.nn.functional, name)(*leaves, **params)
    theirs.backward(torch.tensor(gy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-11, atol=1e-11)
    for ours_i, leaf in zip(ours, leaves, strict=True):
        if leaf is not None:
            np.testing.assert_allclose(ours_i, leaf.grad.numpy(), rtol=1e-11, atol=1e-11)


# Values of each parameter; every combination that is allowed is compared.
STRIDES = [1, 2, (3, 1)]
DILATIONS = [1, (2, 3)]
GROUPS = [1, 2, 4]
KERNELS = [(1, 1), (3, 3), (2, 4)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch, on borders of unequal width
@pytest.mark.parametrize("padding", [0, 1, (2, 1), "same", "valid"], ids=str)
def test_conv2d_equals_torch_for_every_combination(padding) -> None:
    rng = np.random.default_rng(0)
    for kernel, stride, dilation, groups in itertools.product(KERNELS, STRIDES, DILATIONS, GROUPS):
        if padding == "same" and stride != 1:
            continue
        for bias in (None, rng.normal(size=4)):
            x, weight = rng.normal(size=(2, 8, 6, 10)), rng.normal(size=(4, 8 // groups, *kernel))
            compare_with_torch(
                "conv2d", x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
            )


@pytest.mark.parametrize("padding", [0, 1, (2, 1)], ids=str)
def test_conv2d_of_many_images_equals_torch(padding) -> None:
    rng = np.random.default_rng(0)
    for groups, size in itertools.product([1, 2], [(6, 7), (3, 3), (5, 4)]):
        x, weight = rng.normal(size=(16, 8, *size)), rng.normal(size=(4, 8 // groups, 3, 3))
        compare_with_torch("conv2d", x, weight, rng.normal(size=4), padding=padding, groups=groups)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch, on odd borders
@pytest.mark.parametrize("kernel", [(4, 3), (3, 2), (2, 2), (1, 4)])
def test_same_padding_of_even_kernels_puts_the_odd_zero_last(kernel) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 3, 6, 7)), rng.normal(size=(4, 3, *kernel))
    assert ops.conv2d(x, weight, padding="same").shape == (2, 4, 6, 7)
    compare_with_torch("conv2d", x, weight, None, padding="same")


@pytest.mark.parametrize("padding", [0, 1, (2, 1)], ids=str)
def test_conv_transpose2d_equals_torch_for_every_combination(padding) -> None:
    rng = np.random.default_rng(0)
    for kernel, stride, dilation, groups in itertools.product(KERNELS, STRIDES, DILATIONS, GROUPS):
        step = np.maximum(stride, dilation)  # output_padding stays below it
        for extra, bias in ((0, None), (1, rng.normal(size=8)), ((2, 0), None)):
            if (np.broadcast_to(extra, 2) >= step).any():
                continue
            x, weight = rng.normal(size=(2, 4, 5, 6)), rng.normal(size=(4, 8 // groups, *kernel))
            compare_with_torch(
                "conv_transpose2d",
                x,
                weight,
                bias,
                stride=stride,
                padding=padding,
                output_padding=extra,
                groups=groups,
                dilation=dilation,
            )


def test_depthwise_equals_torch() -> None:
    rng = np.random.default_rng(0)
    for multiplier, stride, padding in itertools.product([1, 2], [1, 2], [0, 1]):
        x, weight = rng.normal(size=(3, 6, 9, 8)), rng.normal(size=(6 * multiplier, 1, 3, 3))
        compare_with_torch("conv2d", x, weight, None, stride=stride, padding=padding, groups=6)


def test_rows_that_no_window_reads_have_gradient_exactly_zero() -> None:
    rng = np.random.default_rng(0)
    _, _, (gx, _, _) = gradients(
        ops.conv2d, rng.normal(size=(2, 3, 8, 9)), rng.normal(size=(4, 3, 3, 3)), None, stride=2
    )
    assert gx.shape == (2, 3, 8, 9)
    assert (gx[:, :, 7] == 0).all() and (gx[:, :, :7] != 0).all()


def test_a_dilated_kernel_is_one_with_zeros_between() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 3, 9, 8)), rng.normal(size=(4, 3, 3, 2))
    spread = np.zeros((4, 3, 5, 4))
    spread[:, :, ::2, ::3] = weight
    np.testing.assert_allclose(ops.conv2d(x, weight, dilation=(2, 3)).data, ops.conv2d(x, spread).data, atol=1e-13)


def test_a_1x1_kernel_is_a_matrix_product() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(6, 3, 1, 1)), rng.normal(size=6)
    rows = ops.linear(x.transpose(0, 2, 3, 1), weight[:, :, 0, 0], bias).data
    np.testing.assert_allclose(ops.conv2d(x, weight, bias).data, rows.transpose(0, 3, 1, 2), atol=1e-13)


def test_groups_are_separate_convolutions() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 6, 5, 4)), rng.normal(size=(4, 3, 3, 3))
    parts = [ops.conv2d(x[:, 3 * g : 3 * g + 3], weight[2 * g : 2 * g + 2]).data for g in range(2)]
    np.testing.assert_allclose(ops.conv2d(x, weight, groups=2).data, np.concatenate(parts, axis=1), atol=1e-13)


def test_convolution_equals_scipy() -> None:
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(1, 1, 7, 9)), rng.normal(size=(1, 1, 3, 4))
    np.testing.assert_allclose(
        ops.conv2d(x, weight).data[0, 0], signal.correlate2d(x[0, 0], weight[0, 0], mode="valid"), atol=1e-13
    )


def test_transposed_convolution_is_the_adjoint_of_convolution() -> None:
    rng = np.random.default_rng(0)
    x, weight, gy = rng.normal(size=(2, 3, 7, 8)), rng.normal(size=(4, 3, 3, 2)), rng.normal(size=(2, 4, 4, 4))
    y = ops.conv2d(x, weight, stride=2, padding=(1, 0)).data
    back = ops.conv_transpose2d(gy, weight, stride=2, padding=(1, 0)).data
    assert y.shape == gy.shape and back.shape == x.shape
    assert np.vdot(y, gy) == pytest.approx(np.vdot(x, back), rel=1e-13)


def test_only_what_is_needed_is_differentiated() -> None:
    weight = Tensor(np.ones((4, 3, 3, 3)), requires_grad=True)
    y = ops.conv2d(np.ones((2, 3, 5, 5)), weight)
    gx, gw, gb = y.grad_fn.backward(np.ones(y.shape))
    assert gx is None and gb is None and gw.shape == weight.shape


@pytest.mark.parametrize("bias", [None, np.ones(4, np.float32)], ids=["no bias", "bias"])
def test_outputs_and_gradients_lie_as_the_kernels_like_them(bias) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 3, 5, 6)).astype(np.float32), rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    y, _, (gx, _, _) = gradients(ops.conv2d, x, weight, bias, padding=1)
    for a in (y, gx):
        assert np.shares_memory(chwn(a), a)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.conv2d(np.ones((1, 3, 5, 5)), np.ones((4, 3, 3, 3)), stride=1.5), "conv2d: stride must be"),
        (lambda: ops.conv2d(np.ones((1, 3, 5, 5)), np.ones((4, 3, 3, 3)), stride=True), "conv2d: stride must be"),
        (lambda: ops.conv2d(np.ones((1, 3, 5, 5)), np.ones((4, 3, 3, 3)), groups=3.0), "conv2d: groups must be"),
        (lambda: ops.conv2d(np.ones((1, 3, 0, 5)), np.ones((4, 3, 3, 3))), "conv2d: x and weight must not be empty"),
        (lambda: ops.conv2d(np.ones((1, 3, 5, 5)), np.ones((0, 3, 3, 3))), "conv2d: x and weight must not be empty"),
    ],
)
def test_unusual_mistakes_are_named_too(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_operands_of_two_precisions_are_refused() -> None:
    with pytest.raises(TypeError, match="Conv2d: inputs must share one dtype, got float32 and float64"):
        ops.conv2d(np.ones((1, 3, 5, 5), np.float32), np.ones((4, 3, 3, 3)))
