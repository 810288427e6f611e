"""What a peer is, and what frameworks that compute op by op have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minidl.bench import nets
from minidl.bench.cases import Case

__all__ = ["LR", "MOMENTUM", "WEIGHT_DECAY", "Eager", "Peer", "Task", "fingerprint", "has_noise", "state_of"]

LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4

Arrays = dict[str, np.ndarray]


@dataclass
class Task:
    """A case that is ready to run.

    Attributes:
        run: computes it once; when it returns, everything has been computed.
        check: computes numbers that must be the same for every peer, up to rounding.  It may take training steps,
            and is called before the first `run`.
    """

    run: Callable[[], Any]
    check: Callable[[], list[float]]


class Peer(ABC):
    """A framework.

    Args:
        threads: how many it may use.
    """

    @abstractmethod
    def __init__(self, threads: int) -> None: ...

    @property
    @abstractmethod
    def version(self) -> str:
        """In words, with what it computes with."""

    @abstractmethod
    def modes(self, case: Case) -> tuple[str, ...]:
        """Ways to run `case` that may be the fastest; none, if the framework has no such op."""

    @abstractmethod
    def task(self, case: Case, arrays: Arrays, mode: str) -> Task:
        """`case` on `arrays`, ready to run."""


def fingerprint(array: Any) -> list[float]:
    """Two numbers of an array: its root mean square, and its mean product with a fixed wave, which sees the order.

    Example:
        >>> [round(v, 3) for v in fingerprint(np.array([3.0, 4.0]))]
        [3.536, 2.581]
    """
    a = np.asarray(array, dtype=np.float64).ravel()
    wave = np.cos(np.arange(a.size) * 1.0)
    return [float(np.sqrt(np.mean(a * a))), float(a @ wave / a.size)]


def has_noise(case: Case) -> bool:
    """Whether training draws random numbers, which no two frameworks share."""
    return case.params.get("pool") == "gaussian" or case.params.get("classifier") == "statrot"


def state_of(arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Parameters and buffers of a network by name."""
    state = {name[len("state/") :]: a for name, a in arrays.items() if name.startswith("state/")}
    buffers = {name: a for name, a in state.items() if name.rpartition(".")[2].startswith("running_")}
    return {name: a for name, a in state.items() if name not in buffers}, buffers


class Eager(Peer):
    """A framework that computes op by op and records what it did.

    A subclass names in `provides` the cases' ops that it has as methods, beyond the plain ones, and defines what is
    abstract here.  Maps are (N, C, H, W).
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    plain = frozenset({"conv2d", "batch_norm", "batch_norm_relu", "relu", "max_pool", "avg_pool", "cross_entropy"})
    mode = ""

    def modes(self, case: Case) -> tuple[str, ...]:
        wanted = nets.wants(case.params) if case.is_network else {case.op}
        return self.layouts(case) if wanted <= self.plain | self.provides | {"sgd"} else ()

    def layouts(self, case: Case) -> tuple[str, ...]:
        """Modes worth trying for a case that can be run."""
        return ("",)

    def task(self, case: Case, arrays: Arrays, mode: str) -> Task:
        self.mode = mode
        if case.op == "sgd":
            return self._sgd(arrays)
        return self._network(case, arrays, mode) if case.is_network else self._op(case, arrays, mode)

    # What a framework provides

    @abstractmethod
    def leaf(self, array: np.ndarray) -> Any:
        """A variable of its own with a gradient, maps in the layout of the mode."""

    @abstractmethod
    def constant(self, array: np.ndarray) -> Any:
        """Data: the array, maps in the layout of the mode."""

    @abstractmethod
    def backward(self, y: Any, gy: Any, leaves: list[Any]) -> None:
        """Gradients of `leaves` for the cotangent `gy` (None for a scalar), in place of earlier ones."""

    @abstractmethod
    def no_grad(self) -> AbstractContextManager[Any]:
        """Record nothing inside."""

    @abstractmethod
    def values(self, x: Any) -> np.ndarray:
        """A result as NumPy array."""

    @abstractmethod
    def gradient(self, leaf: Any) -> np.ndarray:
        """The gradient of a leaf."""

    @abstractmethod
    def optimizer(self, leaves: dict[str, Any]) -> Callable[[], None]:
        """The update of SGD with LR, MOMENTUM and WEIGHT_DECAY, of `leaves` by their gradients."""

    @abstractmethod
    def set_gradient(self, leaf: Any, gradient: np.ndarray) -> None:
        """Give a leaf a gradient."""

    # What is made of it

    def _op(self, case: Case, arrays: Arrays, mode: str) -> Task:
        f = getattr(self, "training_norm" if case.op == "batch_norm" else case.op)
        leaves = [self.leaf(arrays[name]) for name in case.shapes]
        constants = [self.constant(arrays["labels"])] if "labels" in arrays else []
        gy = self.constant(arrays["gy"]) if case.output else None

        def run() -> Any:
            self.mode = mode
            if not case.backward:
                with self.no_grad():
                    return f(*leaves, *constants, **case.params)
            y = f(*leaves, *constants, **case.params)
            self.backward(y, gy, leaves)
            return y

        def check() -> list[float]:
            numbers = fingerprint(self.values(run()))
            for leaf in leaves if case.backward else []:
                numbers += fingerprint(self.gradient(leaf))
            return numbers

        return Task(run, check)

    def _network(self, case: Case, arrays: Arrays, mode: str) -> Task:
        parameters, buffers = state_of(arrays)
        leaves = {name: self.leaf(a) for name, a in parameters.items()}
        held = {name: self.constant(a.copy()) for name, a in buffers.items()}  # updated in place
        constants: dict[str, Any] = {n: self.constant(arrays[n]) for n in ("shift", "basis") if n in arrays}
        train, infer = (nets.Net(self, leaves, held, case.params, training, constants) for training in (True, False))
        update = self.optimizer(leaves) if case.backward else None

        def predict() -> Any:
            self.mode = mode
            with self.no_grad():
                return self.values(nets.forward(infer, self.constant(arrays["x"])))

        def step() -> float:
            self.mode = mode
            logits = nets.forward(train, self.constant(arrays["x"]))
            loss = self.cross_entropy(logits, self.constant(arrays["labels"]))
            self.backward(loss, None, list(leaves.values()))
            assert update is not None
            update()
            return float(self.values(loss))

        def check() -> list[float]:
            numbers = fingerprint(predict())
            return numbers if update is None or has_noise(case) else [*numbers, step(), step()]

        return Task(predict if update is None else step, check)

    def _sgd(self, arrays: Arrays) -> Task:
        leaves = {name[2:]: self.leaf(a) for name, a in arrays.items() if name.startswith("p/")}
        for name, leaf in leaves.items():
            self.set_gradient(leaf, arrays[f"g/{name}"])
        update = self.optimizer(leaves)

        def check() -> list[float]:
            update()
            return [v for leaf in leaves.values() for v in fingerprint(self.values(leaf))]

        return Task(update, check)

    # Ops that some frameworks put together from others

    def training_norm(self, x: Any, weight: Any, bias: Any, **options: Any) -> Any:
        """Batch normalisation as a case of its own: by the batch, running estimates kept."""
        buffers = self.__dict__.setdefault("_running", {})
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            if len(buffers.get(f"op.{name}", ())) != x.shape[1]:
                buffers[f"op.{name}"] = self.constant(np.full(x.shape[1], value, np.float32))
        return self.batch_norm(x, weight, bias, buffers, "op", True, **options)

    def batch_norm_relu(self, x: Any, weight: Any, bias: Any) -> Any:
        """The two as networks call them."""
        return self.relu(self.training_norm(x, weight, bias))

    @abstractmethod
    def batch_norm(self, x: Any, weight: Any, bias: Any, buffers: dict[str, Any], path: str, training: bool) -> Any:
        """Batch normalisation, momentum 0.1, ε = 1e-5."""

    @abstractmethod
    def relu(self, x: Any) -> Any:
        """max(x, 0)."""

    @abstractmethod
    def cross_entropy(self, z: Any, labels: Any) -> Any:
        """The mean over the batch."""
