"""`minidl.check.compare`: how functions are called, what frameworks they are of, and what a verdict says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.check import assert_conforms, compare
from minidl.check.calling import Calling, Signature, Unsupported
from minidl.check.compare import find_case
from minidl.check.drawing import elements, smallest_failing, specified
from minidl.check.frameworks import candidates, get_framework
from minidl.check.spec import CASES, Sample


def conv(x, w, b=None, stride=1, pad=0):
    """One number for both axes, as one writes it first."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    kh, kw = w.shape[2:]
    size = [(n - k) // stride + 1 for n, k in zip(x.shape[2:], (kh, kw), strict=True)]
    y = np.zeros((len(x), len(w), *size), x.dtype)
    for i, j in np.ndindex(*size):
        window = x[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
        y[:, :, i, j] = np.tensordot(window, w, ((1, 2, 3), (1, 2, 3)))
    return y if b is None else y + b[:, None, None]


def conv_backward(gy, x, w, b=None, stride=1, pad=0):
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    gx, gw = np.zeros_like(x), np.zeros_like(w)
    for i, j in np.ndindex(*gy.shape[2:]):
        at = np.s_[:, :, i * stride : i * stride + w.shape[2], j * stride : j * stride + w.shape[3]]
        gx[at] += np.tensordot(gy[:, :, i, j], w, (1, 0))
        gw += np.tensordot(gy[:, :, i, j], x[at], (0, 0))
    inner = gx[:, :, pad : gx.shape[2] - pad, pad : gx.shape[3] - pad]
    return inner, gw, gy.sum((0, 2, 3))


def test_a_function_with_some_of_the_arguments_and_other_names_conforms() -> None:
    verdict = compare(conv, "conv2d", backward=conv_backward, drawn=25)
    assert verdict.ok
    assert verdict.framework == "numpy" and verdict.dtype == "float64" and verdict.gradients == "its backward"
    assert any("one number for both axes" in line for line in verdict.details)
    assert verdict.worst is not None and 0 < verdict.worst.ratio < 1
    assert "conforms to conv2d" in str(verdict)
    assert verdict.precision == "float64, order of summation"


def test_the_smallest_failing_call_is_small() -> None:
    verdict = compare(lambda x, w, b=None, stride=1, pad=0: conv(x, w[..., ::-1, ::-1], b, stride, pad), "conv2d")
    assert not verdict.ok and verdict.diagnosis.name == "kernel flipped"
    assert "weight (1, 1, 1, 2)" in verdict.failing or "weight (1, 1, 2, 1)" in verdict.failing
    assert "DOES NOT conform" in str(verdict) and "× its rounding bound" in str(verdict)


def test_a_verdict_is_the_same_every_time_and_speaks_json() -> None:
    one, two = (compare(conv, "conv2d", backward=conv_backward, drawn=10, seed=3) for _ in range(2))
    assert str(one) == str(two)
    assert json.loads(json.dumps(one.as_dict()))["ok"] is True


def test_backward_may_take_a_cache() -> None:
    def forward(x, weight, bias=None):
        return x @ weight.T + (0 if bias is None else bias), (x, weight, bias)

    def backward(dout, cache):
        x, weight, bias = cache
        rows, g = x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])
        return dout @ weight, g.T @ rows, None if bias is None else g.sum(0)

    assert compare(forward, "linear", backward=backward, drawn=8).ok
    wrong = compare(
        forward,
        "linear",
        backward=lambda dout, cache: [2 * g if g is not None else g for g in backward(dout, cache)],
        drawn=8,
    )
    assert wrong.diagnosis.name == "factor 2"


def test_backward_may_return_a_dict() -> None:
    def backward(gy, x, weight, bias=None):
        rows, g = x.reshape(-1, x.shape[-1]), gy.reshape(-1, gy.shape[-1])
        return {"dx": gy @ weight, "weight": g.T @ rows, "bias": g.sum(0)}

    assert compare(
        lambda x, weight, bias=None: x @ weight.T + (0 if bias is None else bias), "linear", backward=backward, drawn=8
    ).ok


class TanhPair:
    """A class of objects that remember what backward needs."""

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, gy):
        return gy * (1 - self.y**2)


def test_a_class_with_forward_and_backward() -> None:
    verdict = compare(TanhPair, "tanh", drawn=8)
    assert verdict.ok and verdict.gradients == "its backward"


@pytest.mark.parametrize(
    "op", ["conv2d", "softmax", "cross_entropy", "batch_norm", "concat", "split", "where", "getitem", "astype"]
)
def test_our_own_ops_conform_as_anybody_s(op: str) -> None:
    verdict = compare(getattr(ops, op), op, drawn=5)
    assert verdict.ok, str(verdict)
    assert verdict.framework == "minidl" and verdict.gradients == "Tensor.backward"


def test_what_is_wrong_beside_the_values() -> None:
    def in_place(x):
        x -= 1
        return np.tanh(x + 1)

    assert compare(in_place, "tanh", drawn=5).diagnosis.name == "writes to its input"
    rng = np.random.default_rng(0)
    assert compare(lambda x: np.tanh(x) + 1e-3 * rng.normal(), "tanh", drawn=5).diagnosis.name == "not deterministic"
    raising = compare(lambda x, axis=-1: np.exp(x)[99], "softmax", drawn=5)
    assert not raising.ok and raising.reason.startswith("raises IndexError: ")
    assert "returned a str, which is no array" in compare(lambda x: "tanh", "tanh", drawn=2).reason
    assert compare(lambda x: np.tanh(x)[..., None], "tanh", drawn=2).reason.startswith("wrong by more than rounding")


def test_calls_that_a_function_declares_unsupported_are_left_out_and_counted() -> None:
    def softmax(x, axis=-1):
        if axis not in (-1, x.ndim - 1):
            raise NotImplementedError("the last axis only")
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    verdict = compare(softmax, "softmax", drawn=20)
    assert verdict.ok and verdict.skipped["the last axis only"] > 0
    assert verdict.drawn == 20  # of those that it takes
    everything = compare(lambda x: 1 / 0, "tanh", skip=lambda sample: "not today")
    assert not everything.ok and "no call could be made of it: not today" in everything.reason


def test_other_defaults_are_noted_and_not_held_against_a_function() -> None:
    def leaky(x, negative_slope=0.2):
        return np.where(x > 0, x, negative_slope * x)

    verdict = compare(leaky, "leaky_relu", drawn=5)
    assert verdict.ok
    assert "the default of negative_slope is 0.2, that of leaky_relu 0.01" in verdict.details


def test_another_subgradient_is_noted_and_not_held_against_a_function() -> None:
    verdict = compare(lambda x: np.maximum(x, 0), "relu", backward=lambda gy, x: gy * (x >= 0), drawn=5)
    assert verdict.ok
    assert "at x = 0: 0 its gradient of x is [1.0, 1.0, 1.0]: another choice" in verdict.details


def test_without_a_backward_numpy_is_checked_forward_only_and_says_so() -> None:
    verdict = compare(np.exp, "exp", drawn=3)
    assert verdict.ok and verdict.gradients == ""
    assert any("gradients were not checked" in line for line in verdict.details)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"op": "conv"}, "there is no op 'conv'; did you mean conv2d"),
        ({"dtype": "int8"}, "dtype must be one of 'float64', .* got 'int8'"),
        ({"framework": "theano"}, "framework: must be one of 'numpy', .*, got 'theano'"),
        ({"rename": {"axes": "dim"}}, "rename: tanh has no argument 'axes'; it has x"),
        ({"rename": {"x": "input"}}, "rename: my_tanh has no parameter 'input'; it has x"),
    ],
)
def test_refused_arguments(arguments: dict, message: str) -> None:
    def my_tanh(x):
        return np.tanh(x)

    with pytest.raises(ValueError, match=message):
        compare(my_tanh, **{"op": "tanh", **arguments})


def test_a_parameter_nobody_knows_is_asked_about() -> None:
    with pytest.raises(ValueError, match=r"parameter 's' has no default and no counterpart in softmax\(x, axis\); say"):
        compare(lambda x, s: x, "softmax")
    with pytest.raises(TypeError, match="fn must be a function, got int"):
        compare(3, "softmax")


def test_assert_conforms_raises_with_the_verdict() -> None:
    with pytest.raises(AssertionError, match="DOES NOT conform to exp"):
        assert_conforms(np.expm1, "exp", drawn=3)
    assert assert_conforms(np.exp, "exp", drawn=3).ok


def test_how_arguments_are_given() -> None:
    signature = Signature.of(find_case("sum"))
    calling = Calling(lambda a, dim=None: (a, dim), signature)
    calling.place(["x"])
    assert calling({"x": 1, "axis": 2}) == (1, 2)
    assert calling({"x": 1, "keepdims": False}) == (1, None)
    with pytest.raises(Unsupported, match="keepdims is not taken"):
        calling({"x": 1, "keepdims": True})
    renamed = Calling(lambda a, *, over, keep=True: (a, over, keep), signature, {"axis": "over", "keepdims": "keep"})
    renamed.place(["x"])
    assert renamed({"x": 1, "axis": 0}) == (1, 0, False)


def test_frameworks_are_found_out() -> None:
    assert candidates(np.exp) == ["numpy"]
    assert candidates(conv)[0] == "numpy"
    assert candidates(ops.conv2d) == ["minidl"]
    assert get_framework("minidl").numpy(Tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_frameworks_are_found_out_by_what_the_code_names() -> None:
    torch = pytest.importorskip("torch")

    def helper(x):
        return torch.tanh(x)

    assert candidates(torch.tanh) == ["torch"]
    assert candidates(lambda x: torch.tanh(x))[0] == "torch"
    assert candidates(lambda x: helper(x))[0] == "torch"
    assert candidates(torch.nn.Linear(1, 1)) == ["torch"]

    class Layer(torch.nn.Module):
        def forward(self, x):
            return x.tanh()

    assert candidates(Layer()) == ["torch"]


def test_a_framework_may_be_found_by_trying() -> None:
    pytest.importorskip("torch")
    verdict = compare(lambda x: x.sigmoid(), "sigmoid", drawn=3)
    assert verdict.ok and verdict.framework == "torch"


def test_modules_and_autograd_functions_of_pytorch() -> None:
    torch = pytest.importorskip("torch")

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, gy):
            a, b = ctx.saved_tensors
            return (gy * b).sum_to_size(a.shape), (gy * a).sum_to_size(b.shape)

    assert compare(Square, "mul", drawn=10).ok
    assert compare(torch.nn.GELU(), "gelu", drawn=3, skip=lambda s: "fixed" if s.params else None).ok


def test_a_detached_gradient_is_named() -> None:
    torch = pytest.importorskip("torch")
    verdict = compare(lambda a, b: a * b.detach(), "mul", drawn=5, framework="torch")
    assert verdict.diagnosis.name == "no gradient" and "gradient of b is missing" in verdict.reason
    assert torch is not None


def test_drawn_calls_shrink_without_hypothesis_strategies_too() -> None:
    case = find_case("batch_norm")
    found = smallest_failing(case, lambda s: s.params.get("training", False), drawn=20, seed=0)
    assert found is not None and found.params["training"]
    assert elements(found) == min(elements(s) for s in specified(case, 1_000_003) if s.params.get("training"))
    assert smallest_failing(case, lambda s: False, drawn=20, seed=0) is None
    assert smallest_failing(case, lambda s: None, drawn=20, seed=0) is None


def test_specified_calls_are_those_of_the_specification_and_fitting_ones() -> None:
    for case in CASES:
        n = len(list(case.samples(np.random.default_rng(0))))
        assert len(specified(case)) - n in (0, 1)
        assert all(isinstance(s, Sample) for s in specified(case))


def test_cupy_arrays_go_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NumPy in the place of the GPU's module: what the adapter asks of it, both have."""
    from minidl.check.frameworks import arrays
    from minidl.device import Device

    monkeypatch.setattr(arrays, "get_device", lambda name: Device(name, np))
    cupy = arrays.CuPy()
    assert cupy.name == "cupy" and not cupy.autograd
    there = cupy.asarray(np.arange(3.0), "float32")
    assert there.dtype == np.float32 and cupy.floating(there) == "float32"
    np.testing.assert_array_equal(cupy.numpy(there), [0, 1, 2])
    np.testing.assert_array_equal(cupy.joined([there, there], 0), [0, 1, 2, 0, 2, 4])
    with pytest.raises(ValueError, match="cupy has no bfloat16"):
        cupy.asarray(np.ones(2), "bfloat16")
