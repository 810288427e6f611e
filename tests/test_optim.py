"""Optimizers: the equations against PyTorch's, saving and going on, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minidl import nn
from minidl.optim import SGD, AdamW, Group, create_optimizer, optimizer_names, parameter_groups

STEPS = 10
SHAPES = [(3, 2), (4,), ()]


def parameters(dtype=np.float64) -> list[nn.Parameter]:
    rng = np.random.default_rng(0)
    return [nn.Parameter(np.asarray(rng.normal(size=shape), dtype)) for shape in SHAPES]


def gradients(step: int, dtype=np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(100 + step)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in SHAPES]


def take_steps(optimizer, params, steps=range(STEPS)) -> None:
    for step in steps:
        optimizer.lr = 0.1 / (1 + step)  # a schedule
        for p, g in zip(params, gradients(step, params[0].dtype), strict=True):
            p.grad = g
        optimizer.step()


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (SGD, "SGD", {"momentum": 0.0}),
        (SGD, "SGD", {"momentum": 0.0, "weight_decay": 0.01}),
        (SGD, "SGD", {"momentum": 0.9}),
        (SGD, "SGD", {"momentum": 0.8, "weight_decay": 0.01}),
        (SGD, "SGD", {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
        (AdamW, "AdamW", {}),
        (AdamW, "AdamW", {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
        (AdamW, "AdamW", {"betas": (0.0, 0.0), "weight_decay": 0.0}),
    ],
)
def test_ten_steps_equal_pytorchs(ours, theirs: str, options) -> None:
    torch = pytest.importorskip("torch")
    params = parameters()
    take_steps(ours(params, lr=0.1, **options), params)

    expected = [torch.nn.Parameter(torch.tensor(p.data)) for p in parameters()]
    optimizer = getattr(torch.optim, theirs)(expected, lr=0.1, **options)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        for p, g in zip(expected, gradients(step), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    for p, q in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_velocity_of_a_constant_gradient() -> None:
    """v_T = g (1 - μᵀ)/(1 - μ), the geometric sum."""
    p = nn.Parameter(np.zeros(1))
    sgd = SGD([p], lr=1.0, momentum=0.9)
    for _ in range(7):
        p.grad = np.array([2.0])
        sgd.step()
    np.testing.assert_allclose(sgd.state_dict()[0]["velocity.0"], 2 * (1 - 0.9**7) / 0.1, rtol=1e-14)


@pytest.mark.parametrize("name", optimizer_names())
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    whole, params = parameters(), parameters()
    take_steps(create_optimizer(name, whole, lr=0.1, weight_decay=0.01), whole)

    first = create_optimizer(name, params, lr=0.1, weight_decay=0.01)
    take_steps(first, params, range(4))
    arrays, scalars = first.state_dict()
    second = create_optimizer(name, params, lr=0.5, weight_decay=0.01)
    second.load_state_dict(arrays, json.loads(json.dumps(scalars)))
    assert second.lr == first.lr
    take_steps(second, params, range(4, STEPS))
    for p, q in zip(params, whole, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("name", optimizer_names())
def test_float32_stays_float32_and_old_arrays_are_not_written_to(name: str) -> None:
    params = parameters(np.float32)
    before = [p.data for p in params]
    copies = [a.copy() for a in before]
    optimizer = create_optimizer(name, params, lr=0.1)
    take_steps(optimizer, params, range(2))
    assert {p.dtype for p in params} == {np.dtype(np.float32)}
    assert {a.dtype for a in optimizer.state_dict()[0].values()} == {np.dtype(np.float32)}
    for a, b in zip(before, copies, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", optimizer_names())
def test_parameters_keep_c_order_whatever_the_gradients_order(name: str) -> None:
    p = nn.Parameter(np.ones((3, 4, 2)))
    optimizer = create_optimizer(name, [p], lr=0.1)
    for _ in range(2):
        p.grad = np.ones((4, 2, 3)).transpose(2, 0, 1)
        optimizer.step()
        assert p.data.flags.c_contiguous


@pytest.mark.parametrize("name", optimizer_names())
def test_a_parameter_without_gradient_stays(name: str) -> None:
    params = parameters()
    optimizer = create_optimizer(name, params, lr=0.1, weight_decay=0.1)
    before = params[1].data
    for p, g in zip(params, gradients(0), strict=True):
        p.grad = g
    params[1].grad = None
    optimizer.step()
    np.testing.assert_array_equal(params[1].data, before)
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


class PlainSGD:
    """(1)-(3) as they stand, for one parameter."""

    def __init__(self, p: np.ndarray) -> None:
        self.p, self.v = p, np.zeros_like(p)

    def step(self, g: np.ndarray, lr: float, decay: float) -> None:
        g = g + decay * self.p  # (1)
        self.v = 0.9 * self.v + g  # (2)
        self.p = self.p - lr * (g + 0.9 * self.v)  # (3)


class PlainAdamW:
    """(4)-(6) as they stand, for one parameter."""

    def __init__(self, p: np.ndarray) -> None:
        self.p, self.m, self.s, self.t = p, np.zeros_like(p), np.zeros_like(p), np.zeros(1)

    def step(self, g: np.ndarray, lr: float, decay: float) -> None:
        self.t += 1
        p = (1 - lr * decay) * self.p  # (4)
        self.m = 0.9 * self.m + (1 - 0.9) * g  # (5)
        self.s = 0.999 * self.s + (1 - 0.999) * g * g
        rate, unbias = ((c / (1 - beta**self.t)).astype(p.dtype) for c, beta in ((lr, 0.9), (1, 0.999)))
        self.p = p - rate * self.m / (np.sqrt(self.s * unbias) + 1e-8)  # (6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "plain"), [("sgd", PlainSGD), ("adamw", PlainAdamW)])
def test_one_update_of_all_is_that_of_each(name: str, plain, dtype) -> None:
    """Groups of other decay and learning rate, a parameter that now and then has no gradient, one that is replaced."""
    params = parameters(dtype)
    first, second = (Group((("a", params[0]), ("b", params[1])), 0.5), Group((("c", params[2]),), 0.0, lr_factor=0.25))
    options = {"nesterov": True} if name == "sgd" else {}
    optimizer = create_optimizer(name, [first, second], lr=0.1, **options)
    each = [plain(p.data) for p in params]
    for step in range(STEPS):
        if step == 5:
            params[1].data = each[1].p = params[1].data * 2  # as somebody who loads weights does
        optimizer.lr = 0.1 / (1 + step)
        moved = [0, 1, 2] if step % 3 else [0, 2]
        for i, g in enumerate(gradients(step, dtype)):
            params[i].grad = g if i in moved else None
            if i in moved:
                each[i].step(g, optimizer.lr * (0.25 if i == 2 else 1), 0 if i == 2 else 0.5)
        optimizer.step()
        for p, q in zip(params, each, strict=True):
            np.testing.assert_array_equal(p.data, q.p.reshape(p.shape), strict=True)  # (1,) of a rate meets ()


def test_parameters_of_two_dtypes_and_none_at_all() -> None:
    params = [nn.Parameter(np.ones(2, np.float32)), nn.Parameter(np.ones(3)), nn.Parameter(np.ones(1, np.float32))]
    sgd = SGD(params, lr=0.5, momentum=0.0)
    sgd.step()  # nothing to do
    for p in params:
        p.grad = np.ones_like(p.data)
    sgd.step()
    assert [p.dtype.name for p in params] == ["float32", "float64", "float32"]
    assert [p.data.tolist() for p in params] == [[0.5] * 2, [0.5] * 3, [0.5]]
    assert all(not p.data.flags.writeable for p in params)


def test_norms_and_biases_do_not_decay() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        conv=nn.Conv2d(1, 2, 3, rng=rng), norm=nn.BatchNorm2d(2), layer=nn.LayerNorm(2), fc=nn.Linear(2, 2, rng=rng)
    )
    decays, stays = parameter_groups(model, 0.1)
    assert [name for name, _ in decays.params] == ["conv.weight", "fc.weight"]
    assert [name for name, _ in stays.params] == [
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "layer.weight",
        "layer.bias",
        "fc.bias",
    ]
    assert (decays.weight_decay, stays.weight_decay) == (0.1, 0.0)


def test_groups_have_their_own_decay_and_learning_rate() -> None:
    a, b = nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))
    sgd = SGD([Group((("a", a),), 0.5), Group((("b", b),), 0.0, lr_factor=0.1)], lr=0.1, momentum=0.0)
    a.grad = b.grad = np.ones(1)
    sgd.step()
    np.testing.assert_allclose([a.data[0], b.data[0]], [1 - 0.1 * 1.5, 1 - 0.01])
    assert sorted(sgd.state_dict()[0]) == ["velocity.a", "velocity.b"]


def test_named_parameters_get_learning_rates_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(2, 2, rng=np.random.default_rng(0)), nn.BatchNorm1d(2))
    groups = parameter_groups(model, 0.1, {"0.bias": 0.5, "0.weight": 0.5, "1.bias": 3})
    found = [([name for name, _ in g.params], g.weight_decay, g.lr_factor) for g in groups]
    assert found == [(["1.weight"], 0, 1), (["0.weight"], 0.1, 0.5), (["0.bias"], 0, 0.5), (["1.bias"], 0, 3)]
    with pytest.raises(ValueError, match=r"lr_factors names '0\.sigma', which is no parameter of the model"):
        parameter_groups(model, 0.1, {"0.sigma": 2.0})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: SGD(p, lr=-1), ValueError, "SGD: lr must be a finite number >= 0, got -1"),
        (lambda p: SGD(p, lr=float("nan")), ValueError, "SGD: lr must be .* got nan"),
        (lambda p: SGD(p, lr=1, momentum=1.0), ValueError, r"SGD: momentum must be in \[0, 1\), got 1.0"),
        (lambda p: SGD(p, lr=1, momentum=0, nesterov=True), ValueError, "SGD: nesterov needs momentum > 0"),
        (lambda p: SGD(p, lr=1, weight_decay=-0.1), ValueError, "weight_decay must be .* got -0.1"),
        (lambda p: AdamW(p, betas=(0.9, 1.0)), ValueError, r"AdamW: beta 2 must be in \[0, 1\), got 1.0"),
        (lambda p: AdamW(p, eps=0), ValueError, "AdamW: eps must be > 0"),
        (lambda p: SGD([], lr=1), ValueError, "no parameters to train"),
        (lambda p: SGD([p[0], p[0]], lr=1), ValueError, "SGD: a parameter was given twice"),
        (lambda p: SGD([np.ones(2)], lr=1), TypeError, "params must be Parameters, got ndarray"),
        (lambda p: create_optimizer("sdg", p, lr=1), ValueError, "name must be one of sgd, adamw, got 'sdg'"),
    ],
)
def test_impossible_arguments_are_refused(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make(parameters())


def test_a_negative_square_is_refused() -> None:
    params = parameters()
    adam = AdamW(params)
    take_steps(adam, params, range(1))
    arrays, scalars = adam.state_dict()
    with pytest.raises(ValueError, match=r"AdamW.load_state_dict: square\.1 must be >= 0, got -1.0"):
        adam.load_state_dict(arrays | {"square.1": -np.ones(4)}, scalars)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, s: s.update(optimizer="AdamW"), "the state is of optimizer 'AdamW'"),
        (lambda a, s: s.pop("steps"), "steps must count the steps of these parameters, got None"),
        (lambda a, s: s["steps"].update({"9": 1}), "steps must count"),
        (lambda a, s: s["steps"].update({"0": 0}), "steps must count"),
        (lambda a, s: a.pop("velocity.1"), "velocity.1 is missing"),
        (lambda a, s: a.update({"mean.0": np.ones(1)}), "mean.0 is unknown"),
        (lambda a, s: a.update({"velocity.1": np.ones(3)}), r"velocity.1 must have shape \(4,\), got \(3,\)"),
        (lambda a, s: a.update({"velocity.1": np.full(4, np.nan)}), r"velocity\.1 must hold finite floating-point"),
        (lambda a, s: a.update({"velocity.1": np.ones(4, int)}), r"velocity\.1 must hold finite floating-point"),
        (lambda a, s: s.update(lr=-1.0), "lr must be a finite number >= 0, got -1.0"),
    ],
)
def test_a_foreign_state_is_refused(change, message: str) -> None:
    params = parameters()
    sgd = SGD(params, lr=0.1)
    take_steps(sgd, params, range(2))
    arrays, scalars = sgd.state_dict()
    change(arrays, scalars)
    with pytest.raises(ValueError, match=message):
        sgd.load_state_dict(arrays, scalars)
