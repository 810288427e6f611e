"""Reverse-mode automatic differentiation: Tensor, Function and `backward`.

A computation y = f(x) is recorded as   y.grad_fn ──▶ Function f ──▶ f.inputs = (x, …).
For a loss L and a cotangent gy = ∂L/∂y, `Function.backward` returns gx = (∂y/∂x)ᵀ gy, and
`Tensor.backward` applies that rule from the loss to the leaves, each Function once, after all its users.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minidl.device import Array, asnumpy, get_array_module
from minidl.guards import (
    casting,
    checked_cotangent,
    checked_gradients,
    floating_copy,
    frozen,
    one_device,
    one_dtype,
    refuse_tensors_within,
)
from minidl.kernels import kernels_for
from minidl.kernels.half import in_single

_grad_enabled: ContextVar[bool] = ContextVar("minidl_grad_enabled", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Record no graph inside; usable as `with no_grad():` or as a decorator `@no_grad()`.

    Example:
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> with no_grad():
        ...     (x * x).requires_grad
        False
    """
    token = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(token)


def _run(fn: Function, method: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
    return method(*arrays, **params)


_observer: ContextVar[Callable[..., Any]] = ContextVar("minidl_observer", default=_run)


@contextmanager
def observe(observer: Callable[..., Any]) -> Iterator[None]:
    """Let `observer` run every forward and backward inside, to time them or to look at what goes in and out.

    Args:
        observer: called as observer(fn, method, *arrays, **params), where `method` is the Function's own `forward`
            or `backward`; returns what method(*arrays, **params) returns.

    Example:
        >>> def tell(fn, method, *arrays, **params):
        ...     print(fn.name, method.__name__)
        ...     return method(*arrays, **params)
        >>> x = Tensor([2.0], requires_grad=True)
        >>> with observe(tell):
        ...     (x * x).backward()
        Mul forward
        Mul backward
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


class Tensor:
    """An array, and the Function application that produced it (None for a leaf).

    Args:
        data: array or nested list of numbers.  Copied, and held read-only: an array edited between forward
            and backward would give a silently wrong gradient.  Floating point; integers and Python numbers
            become float32.
        requires_grad: whether `backward` accumulates into `.grad`.

    Attributes:
        data: the array, NumPy or CuPy, read-only.  Assign a new one to change the value.
        grad: ∂L/∂self as an array of the same shape and dtype, or None.
        grad_fn: the Function this is the output of, or None.

    Raises:
        TypeError: `data` holds anything but numbers; a list of Tensors among it, whose graph would be lost.

    Example:
        >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        array([2., 4., 6.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_data", "grad", "grad_fn", "requires_grad")
    __array_ufunc__ = None  # ndarray + Tensor calls Tensor.__radd__

    if TYPE_CHECKING:  # what minidl.ops.operators attaches: operators, and methods such as x.sum()
        __add__ = __sub__ = __mul__ = __truediv__ = __pow__ = __matmul__ = cast(
            Callable[["Tensor", Any], "Tensor"], None
        )
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rpow__ = __rmatmul__ = __getitem__ = __add__
        __neg__ = __abs__ = cast(Callable[["Tensor"], "Tensor"], None)

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, data: Any, *, requires_grad: bool = False) -> None:
        self.data = data
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.grad_fn: Function | None = None

    @classmethod
    def _owning(cls, array: Array) -> Tensor:
        """A Tensor around an array nobody else will write to (an op's fresh output, or a view of one)."""
        self = cls.__new__(cls)
        self._data = frozen(array)
        self.requires_grad, self.grad, self.grad_fn = False, None, None
        return self

    @property
    def data(self) -> Array:
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = frozen(floating_copy(value.data if isinstance(value, Tensor) else value))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return int(self._data.size)

    def __len__(self) -> int:
        return len(self._data)

    def item(self) -> float:
        """The only element, as a Python number."""
        return self._data.item()

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array (read-only where it shares memory)."""
        return asnumpy(self._data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def detach(self) -> Tensor:
        """The same value, cut from the graph."""
        return Tensor._owning(self._data)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A leaf of its own; it may share the arrays, since nobody writes to them."""
        if self.grad_fn is not None:
            raise TypeError("Tensor: only a leaf can be copied; use .detach()")
        return copy(self)

    def retain_grad(self) -> None:
        """Keep `.grad` of this intermediate tensor too (as Grad-CAM needs)."""
        if self.grad_fn is not None:
            self.grad_fn.retained = weakref.ref(self)  # weak: a strong one would close a cycle

    def __repr__(self) -> str:
        made_by = f", grad_fn={self.grad_fn.name}" if self.grad_fn else ""
        leaf = ", requires_grad=True" if self.requires_grad and not self.grad_fn else ""
        return f"Tensor({np.array2string(self.numpy(), prefix='Tensor(')}, {self.dtype}{made_by}{leaf})"

    def backward(self, grad_output: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Accumulate ∂(grad_output · self)/∂leaf into `leaf.grad` for every leaf that requires it.

        Args:
            grad_output: cotangent, shape and dtype of self; 1 if None, for a tensor of one element.
            retain_graph: keep what forward saved, so that backward can run again.
            create_graph: not supported; gradients are arrays, and have no gradient themselves.

        Raises:
            ValueError: `grad_output` is missing or of another shape or dtype, or nothing here requires a gradient.
            RuntimeError: an earlier backward freed this graph.
            NotImplementedError: a second derivative was asked for.
        """
        if create_graph:
            raise NotImplementedError("backward: second derivatives are not supported; create_graph must be False")
        gy = checked_cotangent(self, grad_output)
        if self.grad_fn is None:
            if not self.requires_grad:
                raise ValueError("backward: this tensor depends on no tensor with requires_grad=True")
            _accumulate(self, gy)
            return

        cotangents = {self.grad_fn: gy}  # ∂L/∂(output of fn), complete once every user of fn was visited
        for fn in reversed(_topological_order(self.grad_fn)):
            gy = frozen(fn.xp.asarray(cotangents.pop(fn)))  # asarray: NumPy's arithmetic on 0-d arrays returns scalars
            if (kept := fn.retained() if fn.retained else None) is not None:
                _accumulate(kept, gy)
            for x, gx in checked_gradients(fn, _observer.get()(fn, fn.backward, gy)):
                if x.grad_fn is not None:
                    others = cotangents.get(x.grad_fn)
                    cotangents[x.grad_fn] = gx if others is None else fn.kernels.add(others, gx)
                else:
                    _accumulate(x, gx)
            if not retain_graph:
                fn.release()


class Function:
    """One application of an operation: computes, remembers, and knows its own vector-Jacobian product.

    Subclasses implement, on plain arrays,

        forward(self, x_1, …, x_n, **params) -> y
        backward(self, gy) -> (gx_1, …, gx_n)        gx_i = (∂y/∂x_i)ᵀ gy, or None where needs_grad[i] is False

    and keep on `self` whatever backward needs.  An input may be None (an absent bias).  They see

        self.xp          numpy or cupy
        self.kernels     the heavy routines for that module
        self.needs_grad  one bool per input

    and never write to an input, to `gy`, or to what forward saved: backward run twice gives the same bits.

    Example:
        >>> class Square(Function):
        ...     def forward(self, x):
        ...         self.x = x
        ...         return x * x
        ...
        ...     def backward(self, gy):
        ...         return (2 * self.x * gy,)
        >>> x = Tensor([3.0], requires_grad=True)
        >>> Square.apply(x).backward()
        >>> x.grad
        array([6.], dtype=float32)
    """

    inputs: tuple[Tensor | None, ...] = ()
    needs_grad: tuple[bool, ...] = ()
    retained: weakref.ref[Tensor] | None = None
    released = False

    def forward(self, *arrays: Array, **params: Any) -> Array:
        raise NotImplementedError(f"{self.name}: forward is not defined")

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        raise NotImplementedError(f"{self.name}: backward is not defined; this operation has no gradient")

    @property
    def name(self) -> str:
        """The name of the class, as messages call the operation."""
        return type(self).__name__

    @classmethod
    def apply(cls, *inputs: Tensor | None, **params: Any) -> Tensor:
        """Apply a fresh instance to `inputs`; `params` go to forward as they are."""
        return cls()(*inputs, **params)

    def __call__(self, *inputs: Tensor | None, **params: Any) -> Tensor:
        if self.inputs or self.released:
            raise RuntimeError(f"{self.name}: an instance is one application of the operation; make another")
        if (cast_inputs := casting.get()) is not None:
            inputs = cast_inputs(self, inputs)
        arrays = [None if x is None else x.data for x in inputs]
        self.xp = get_array_module(*arrays)
        self.kernels = kernels_for(self.xp)
        if any(a is not None and a.dtype == np.float16 for a in arrays):
            self.kernels = in_single(self.kernels)
        recording = _grad_enabled.get()
        self.needs_grad = tuple(recording and x is not None and x.requires_grad for x in inputs)
        one_dtype(self.name, arrays)
        one_device(self.name, self.xp, arrays)
        y = _observer.get()(self, self.forward, *arrays, **params)
        y = Tensor._owning(self.xp.asarray(y))  # NumPy reductions return scalars
        if any(self.needs_grad):
            self.inputs = inputs
            y.requires_grad, y.grad_fn = True, self  # y → self → inputs: no cycle, freed by reference count
        return y

    def release(self) -> None:
        """Drop everything saved by forward, and the link to the inputs."""
        self.__dict__ = {"released": True}


def _topological_order(root: Function) -> list[Function]:
    """Every Function below `root`, inputs before users.  Iterative: depth is unbounded."""
    order: list[Function] = []
    seen: set[Function] = set()
    stack = [(root, False)]
    while stack:
        fn, inputs_done = stack.pop()
        if inputs_done:
            order.append(fn)
        elif fn not in seen:
            if fn.released:
                raise RuntimeError(
                    "backward: an earlier backward freed part of this graph; call that one with retain_graph=True"
                )
            seen.add(fn)
            stack.append((fn, True))
            stack.extend((x.grad_fn, False) for x in fn.inputs if x is not None and x.grad_fn is not None)
    return order


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """`value` as a Tensor; numbers, lists and integer arrays take the dtype and device of `like`.

    They are weak, as Python numbers are in NumPy: `x * 2.0` never widens a float32 `x`.

    Args:
        value: a Tensor, which is returned as it is, an array, a number or a nested list.
        like: whose dtype and device they take; float32 on the CPU if None.

    Returns:
        A Tensor of the shape of `value`.

    Raises:
        TypeError: `value` holds anything but numbers.

    Example:
        >>> as_tensor([1, 2], like=Tensor(np.ones(2))).dtype
        dtype('float64')
    """
    if isinstance(value, Tensor):
        return value
    if like is None or (hasattr(value, "dtype") and value.dtype.kind not in "biu" and value.ndim):
        return Tensor(value)
    refuse_tensors_within(value)
    array = get_array_module(like.data).asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"Tensor: data must be numbers, got {value!r}")
    return Tensor._owning(array.astype(like.dtype))


def _accumulate(leaf: Tensor, gx: Array) -> None:
    total = gx if leaf.grad is None else leaf.grad + gx  # never in place: gx may be shared
    leaf.grad = frozen(get_array_module(gx).asarray(total))
