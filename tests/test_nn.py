"""Module: names, the tree, state, hooks; initialisers; layers against the arguments they document."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from minidl import Tensor, nn
from minidl.device import CPU
from minidl.nn import init


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class Block(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 4, 3, padding=1, rng=rng())
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter([2.0])
        self.noise = rng()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def model() -> nn.Sequential:
    return nn.Sequential(Block(), nn.Sequential(head=nn.Conv2d(4, 2, 1, bias=False, rng=rng())))


def image(n: int = 2) -> Tensor:
    return Tensor(rng().normal(size=(n, 3, 5, 6)).astype(np.float32))


def test_names_are_paths_in_order_of_assignment() -> None:
    m = model()
    assert [name for name, _ in m.named_modules()] == ["", "0", "0.conv", "0.norm", "1", "1.head"]
    assert [name for name, _ in m.named_parameters()] == [
        "0.scale",
        "0.conv.weight",
        "0.conv.bias",
        "0.norm.weight",
        "0.norm.bias",
        "1.head.weight",
    ]
    assert [name for name, _ in m.named_buffers()] == ["0.norm.running_mean", "0.norm.running_var"]
    assert [name for name, _ in m.named_generators()] == ["0.noise"]
    assert len(list(m.parameters())) == 6


def test_replacing_a_parameter_or_module_keeps_its_place() -> None:
    m = model()
    names = list(m.state_dict())
    m[0].conv = nn.Conv2d(3, 4, 3, padding=1, rng=rng())
    m[0].norm.weight = nn.Parameter(np.ones(4, np.float32))
    assert list(m.state_dict()) == names


def test_a_shared_module_trains_once_and_is_saved_under_each_name() -> None:
    layer = nn.Linear(2, 2, rng=rng())
    m = nn.Sequential(layer, layer)
    assert [name for name, _ in m.named_parameters()] == ["0.weight", "0.bias"]
    assert list(m.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_submodules_by_path() -> None:
    m = model()
    assert m.get_submodule("") is m
    assert m.get_submodule("0.conv") is m[0].conv
    m.set_submodule("1.head", nn.Identity())
    assert isinstance(m[1][0], nn.Identity)
    assert m(image()).shape == (2, 4, 5, 6)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("0.pool", "0 has no submodule 'pool'; it has conv, norm"),
        ("2", "Sequential has no submodule '2'; it has 0, 1"),
        ("0.conv.weight", "0.conv has no submodule 'weight'; it has none"),
    ],
)
def test_a_wrong_path_says_which_part_is_missing(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model().get_submodule(path)
    with pytest.raises(ValueError, match=message):
        model().set_submodule(path, nn.Identity())


def test_set_submodule_takes_modules_only() -> None:
    with pytest.raises(TypeError, match="'0' must become a Module, got int"):
        model().set_submodule("0", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must name a submodule"):
        model().set_submodule("", nn.Identity())


def test_modules_may_be_replaced_while_they_are_named() -> None:
    m = model()
    for path, module in m.named_modules():
        if isinstance(module, nn.Conv2d):
            m.set_submodule(path, nn.Sequential(module, nn.Identity()))
    assert [n for n, c in m.named_modules() if isinstance(c, nn.Conv2d)] == ["0.conv.0", "1.head.0"]


def test_hooks_see_inputs_and_output_may_replace_it_and_can_be_removed() -> None:
    layer, seen = nn.Identity(), []
    remove_first = layer.register_forward_hook(lambda m, inputs, y: seen.append((m, inputs, y)))
    remove_second = layer.register_forward_hook(lambda m, inputs, y: y + 1)
    assert layer(1) == 2
    assert seen == [(layer, (1,), 1)]
    remove_second()
    assert layer(1) == 1
    remove_first()
    remove_first()  # twice does no harm
    layer(1)
    assert len(seen) == 2


def test_train_and_eval_reach_every_module() -> None:
    m = model()
    assert m.eval() is m
    assert not any(module.training for _, module in m.named_modules())
    assert all(module.training for _, module in m.train().named_modules())


def test_freezing() -> None:
    m = model().requires_grad_(False)
    assert not m(image()).requires_grad
    assert m.requires_grad_()(image()).requires_grad


def test_state_dict_round_trip_restores_every_bit() -> None:
    a, b = model(), model()
    a(image())  # moves the running statistics
    for p in a.parameters():
        p.data = p.data + 1
    b.load_state_dict(a.state_dict())
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(b.state_dict()[name], array)


def test_state_dict_is_a_snapshot() -> None:
    m = model()
    before = m.state_dict()
    copies = {name: array.copy() for name, array in before.items()}
    m(image())
    for p in m.parameters():
        p.data = p.data * 2
    for name, array in before.items():
        np.testing.assert_array_equal(array, copies[name])
        assert not array.flags.writeable


def test_loading_copies_converts_and_skips_pytorchs_counter() -> None:
    m = nn.BatchNorm2d(2)
    state = {name: array.astype(np.float64) for name, array in m.state_dict().items()}
    state["num_batches_tracked"] = np.array(7)
    m.load_state_dict(state)
    state["weight"][:] = 9
    np.testing.assert_array_equal(m.weight.data, [1, 1])
    assert m.weight.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("weight"), "weight is missing"),
        (lambda s: s.update(extra=np.ones(1)), "extra is not in the model"),
        (lambda s: s.update(weight=np.ones((3, 2))), r"weight must have shape \(2, 3\), got \(3, 2\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_whole(change, message: str) -> None:
    layer = nn.Linear(3, 2, rng=rng())
    before = layer.state_dict()
    state = {name: np.zeros_like(array) for name, array in before.items()}
    change(state)
    with pytest.raises(ValueError, match=f"Linear and the state differ: {message}"):
        layer.load_state_dict(state)
    np.testing.assert_array_equal(layer.weight.data, before["weight"])


def test_not_strict_loads_what_is_there_but_no_wrong_shape() -> None:
    layer = nn.Linear(3, 2, rng=rng())
    layer.load_state_dict({"bias": np.array([5.0, 6.0]), "other": np.ones(1)}, strict=False)
    np.testing.assert_array_equal(layer.bias.data, [5, 6])
    with pytest.raises(ValueError, match="bias must have shape"):
        layer.load_state_dict({"bias": np.ones(3)}, strict=False)


def test_astype_and_to_convert_everything_and_drop_gradients() -> None:
    m = model()
    m(image()).backward(np.ones((2, 2, 5, 6), np.float32))
    assert m.astype(np.float64).to(CPU) is m
    assert {p.dtype for p in (*m.parameters(), *(b for _, b in m.named_buffers()))} == {np.dtype(np.float64)}
    assert all(p.grad is None for p in m.parameters())
    assert m(Tensor(rng().normal(size=(2, 3, 5, 6)))).dtype == np.float64
    with pytest.raises(ValueError, match="float32 or float64, got int64"):
        m.astype(np.int64)


def test_a_deep_copy_shares_nothing() -> None:
    m = model()
    twin = copy.deepcopy(m)
    twin[0].conv.weight.data = np.zeros_like(twin[0].conv.weight.data)
    assert m[0].conv.weight.data.any()
    np.testing.assert_array_equal(twin[0].noise.random(3), m[0].noise.random(3))


def test_repr_shows_the_tree() -> None:
    assert repr(nn.Sequential(nn.Linear(2, 3, rng=rng()), nn.ModuleList([nn.ReLU()]))) == (
        "Sequential(\n  (0): Linear(2, 3)\n  (1): ModuleList(\n    (0): ReLU()\n  )\n)"
    )


# Initialisers


@pytest.mark.parametrize("shape", [(64, 32, 3, 3), (300, 200)])
@pytest.mark.parametrize(
    ("initializer", "std"),
    [
        (lambda s, r: init.kaiming_normal(s, rng=r), lambda i, o: math.sqrt(2 / i)),
        (lambda s, r: init.kaiming_normal(s, rng=r, mode="fan_out"), lambda i, o: math.sqrt(2 / o)),
        (lambda s, r: init.kaiming_uniform(s, rng=r, nonlinearity="linear"), lambda i, o: math.sqrt(1 / i)),
        (
            lambda s, r: init.kaiming_uniform(s, rng=r, nonlinearity="leaky_relu", slope=math.sqrt(5)),
            lambda i, o: math.sqrt(1 / (3 * i)),  # PyTorch's default for layers: uniform on ±1/√i
        ),
        (lambda s, r: init.fan_in_uniform(s, rng=r), lambda i, o: math.sqrt(1 / (3 * i))),
        (lambda s, r: init.xavier_normal(s, rng=r), lambda i, o: math.sqrt(2 / (i + o))),
        (lambda s, r: init.xavier_uniform(s, rng=r, gain=2.0), lambda i, o: 2 * math.sqrt(2 / (i + o))),
        (lambda s, r: init.normal(s, rng=r, std=0.01), lambda i, o: 0.01),
        (lambda s, r: init.uniform(s, rng=r, low=-3, high=3), lambda i, o: math.sqrt(3)),
    ],
)
def test_initialisers_have_the_stated_spread(shape, initializer, std) -> None:
    """The standard deviation of n > 18,000 draws is within 4 standard errors, 4/√(2n) < 2.2 %, of the stated one."""
    drawn = initializer(shape, rng())
    fan_in, fan_out = init.fans(shape)
    assert drawn.dtype == np.float32
    assert drawn.std() == pytest.approx(std(fan_in, fan_out), rel=0.022)
    assert abs(drawn.mean()) < 4 * drawn.std() / math.sqrt(drawn.size)
    np.testing.assert_array_equal(drawn, initializer(shape, rng()))


def test_uniform_initialisers_keep_within_their_bound() -> None:
    w = init.fan_in_uniform((50, 16, 5, 5), rng=rng())
    assert 0.99 / 20 < np.abs(w).max() <= 1 / 20


def test_constants() -> None:
    np.testing.assert_array_equal(init.constant((2,), value=3.0), [3, 3])
    np.testing.assert_array_equal(init.ones((2,)) - init.zeros((2,)), [1, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.normal((2,), rng=0), TypeError, "rng must be a numpy.random.Generator, got int"),  # type: ignore[arg-type]
        (lambda: init.kaiming_normal((2,), rng=rng()), ValueError, r"a fan needs .* got \(2,\)"),
        (lambda: init.kaiming_normal((2, 2), rng=rng(), mode="fan"), ValueError, "mode must be .* got 'fan'"),
        (lambda: init.gain("rulu"), ValueError, "nonlinearity must be one of .* got 'rulu'"),
    ],
)
def test_initialisers_refuse(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_skipping_initialisation_draws_nothing() -> None:
    generator = rng()
    with init.skip():
        layer = nn.Linear(3, 2, rng=generator)
    assert not layer.weight.data.any()
    assert generator.random() == rng().random()
    assert nn.Linear(3, 2, rng=generator).weight.data.any()


# Layers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=3, rng=rng()), "Conv2d: groups must divide .* groups=3, in_channels=4"),
        (lambda: nn.Conv2d(0, 6, 3, rng=rng()), "Conv2d: in_channels must be an integer >= 1, got 0"),
        (lambda: nn.Conv2d(3, 6, 3, stride=0, rng=rng()), "Conv2d: stride must be .* got 0"),
        (lambda: nn.ConvTranspose2d(3, 6, (3, 0), rng=rng()), "ConvTranspose2d: kernel_size must be"),
        (lambda: nn.Linear(3, 0, rng=rng()), "Linear: out_features must be"),
        (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features must be"),
        (lambda: nn.GroupNorm(3, 4), "GroupNorm: num_groups must divide num_channels=4, got 3"),
        (lambda: nn.LayerNorm(()), r"LayerNorm: normalized_shape must be lengths >= 1, got \(\)"),
    ],
)
def test_impossible_layers_are_refused_when_they_are_made(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_batch_norm_moves_its_estimates_in_training_only() -> None:
    layer = nn.BatchNorm2d(3, momentum=0.25)
    x = image(4)
    layer(x)
    np.testing.assert_allclose(layer.running_mean.data, 0.25 * x.data.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.data, 0.75 + 0.25 * x.data.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)
    before = layer.state_dict()
    layer.eval()(x)
    np.testing.assert_array_equal(layer.running_mean.data, before["running_mean"])


def test_batch_norm_without_estimates_uses_the_batch_in_evaluation_too() -> None:
    x = image(4)
    y = nn.BatchNorm2d(3, affine=False, track_running_stats=False).eval()(x)
    np.testing.assert_allclose(y.data.std(axis=(0, 2, 3)), 1, rtol=1e-4)


def test_batch_norm_counts_axes() -> None:
    with pytest.raises(ValueError, match=r"BatchNorm2d: x must have 4 axes, got shape \(2, 3\)"):
        nn.BatchNorm2d(3)(Tensor(np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"BatchNorm1d: x must have 2 or 3 axes"):
        nn.BatchNorm1d(3)(image())
