"""A relu in the pass of what comes before it: not a bit differs from the two one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import Tensor, nn, ops
from minidl.kernels import cpu, use_kernels
from minidl.kernels.cpu.threads import use_threads
from minidl.models import create_model

DTYPES = (np.float32, np.float64)


def draw(*shape: int, seed: int = 0, dtype=np.float64) -> np.ndarray:
    """Standard normal numbers; a quarter of them zero, so that sums and norms meet the kink."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * (rng.random(shape) > 0.25)).astype(dtype)


def everything(op, inputs: list[np.ndarray], needs: tuple[bool, ...]) -> list[np.ndarray | None]:
    """y and the gradients of `inputs` for a random cotangent."""
    xs = [Tensor(x, requires_grad=need) for x, need in zip(inputs, needs, strict=True)]
    y = op(*xs)
    y.backward(draw(*y.shape, seed=9, dtype=y.dtype))
    return [y.data, *(x.grad for x in xs)]


def assert_same_bits(ours: list[np.ndarray | None], theirs: list[np.ndarray | None]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("needs", [(True, True, True), (True, False, False), (False, True, True)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kernels", ["reference", "array", "cpu"])
def test_batch_norm(kernels, training, dtype, needs) -> None:
    inputs = [draw(4, 3, 5, 2, dtype=dtype), draw(3, seed=1, dtype=dtype), draw(3, seed=2, dtype=dtype)]

    def run(op):
        mean, var = Tensor(draw(3, seed=3, dtype=dtype)), Tensor(1 + draw(3, seed=4, dtype=dtype) ** 2)
        results = everything(lambda x, w, b: op(x, mean, var, w, b, training), inputs, needs)
        return [*results, mean.data, var.data]

    with use_kernels(kernels):
        fused = run(lambda *args: ops.batch_norm(*args, relu=True))
        assert_same_bits(fused, run(lambda *args: ops.relu(ops.batch_norm(*args))))
    assert (fused[0] == 0).any() and (fused[0] > 0).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64, 3, 2, 5), (7, 6)])
def test_batch_norm_in_blocks_on_threads(monkeypatch, dtype, shape) -> None:
    monkeypatch.setattr("minidl.kernels.cpu.norm.BLOCK", 700)  # several blocks of a small array
    monkeypatch.setattr("minidl.kernels.cpu.norm.AFFINE_BLOCK", 700)
    x, gy = draw(*shape, dtype=dtype), draw(*shape, seed=1, dtype=dtype)
    w, b, r = (1 + draw(shape[1], seed=s, dtype=dtype) for s in (2, 3, 4))
    bits = set()
    for threads in (1, 2, 4):
        with use_threads(threads):
            y, mean, _ = cpu.batch_norm(x, w, b, 1e-5, relu=True)
            np.testing.assert_array_equal(y, cpu.relu(cpu.batch_norm(x, w, b, 1e-5)[0]))
            adjoint = cpu.batch_norm_adjoint(gy, x, mean, r, w, y)
            assert_same_bits(list(adjoint), list(cpu.batch_norm_adjoint(cpu.relu_adjoint(gy, y), x, mean, r, w)))
            bits.add(b"".join(a.tobytes() for a in (y, *adjoint, cpu.channel_affine(x, mean, r, b, relu=True))))
    assert len(bits) == 1


@pytest.mark.parametrize("needs", [(True, True), (False, True)])
@pytest.mark.parametrize("shapes", [((4, 3, 5, 2), (4, 3, 5, 2)), ((2, 3), (3,)), ((2, 1), (1, 3))])
@pytest.mark.parametrize("kernels", ["reference", "array", "cpu"])
def test_sum(kernels, shapes, needs) -> None:
    inputs = [draw(*shape, seed=s) for s, shape in enumerate(shapes)]
    with use_kernels(kernels):
        fused = everything(ops.add_relu, inputs, needs)
        assert_same_bits(fused, everything(lambda a, b: ops.relu(a + b), inputs, needs))


class Twice(nn.ReLU):
    """A subclass, which computes what it likes."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * ops.relu(x)


def test_layers_join_only_what_nobody_looks_at() -> None:
    norm, relu, x = nn.BatchNorm2d(3), nn.ReLU(), Tensor(draw(4, 3, 5, 2, dtype=np.float32))
    pair = nn.Sequential(norm, relu)
    expected = ops.relu(norm(x)).data
    for joined in (nn.after_norm(relu, norm, x), pair(x)):
        assert type(joined.grad_fn).__name__ == "BatchNorm"
        np.testing.assert_array_equal(joined.data, expected)
    np.testing.assert_array_equal(nn.after_norm(Twice(), norm, x).data, 2 * expected)
    np.testing.assert_array_equal(nn.after_sum(Twice(), x, x).data, 2 * ops.relu(x + x).data)
    np.testing.assert_array_equal(nn.Sequential(nn.Identity(), relu)(x).data, ops.relu(x).data)
    for watched in (norm, relu):
        seen: list[Tensor] = []
        remove = watched.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        assert type(pair(x).grad_fn).__name__ == "ReLU"
        np.testing.assert_array_equal(seen[0].data, expected if watched is relu else norm(x).data)
        remove()
    remove = relu.register_forward_hook(lambda module, inputs, output: None)
    assert type(nn.after_sum(relu, x, norm(x)).grad_fn).__name__ == "ReLU"
    remove()
    assert type(nn.after_sum(relu, x, norm(x)).grad_fn).__name__ == "AddReLU"


@pytest.mark.parametrize("name", ["resnet8", "resnet50", "densenet121"])
def test_a_network_computes_the_same_bits_watched_or_not(name) -> None:
    x, labels = draw(2, 3, 32, 32, dtype=np.float32), np.array([1, 0])
    runs = []
    for watch in (False, True):
        model = create_model(name, num_classes=3, rng=np.random.default_rng(0))
        if watch:
            for _, module in model.named_modules():
                module.register_forward_hook(lambda module, inputs, output: None)
        loss = ops.cross_entropy(model(Tensor(x)), labels)
        loss.backward()
        runs.append([loss.data, *(p.grad for p in model.parameters()), *model.state_dict().values()])
    assert_same_bits(*runs)
