r"""Initial values of parameters, each drawn from the Generator it is given.

With fan the number of terms in one output's sum (fan_in) or of outputs one input reaches (fan_out),

    fan_in  = shape[1] · Π shape[2:]        fan_out = shape[0] · Π shape[2:]                            (1)
    Kaiming   std = gain / √fan             keeps the variance of activations (fan_in) or gradients      (2)
    Xavier    std = gain · √(2 / (fan_in + fan_out))                                                     (3)
    uniform   on [-√3 std, √3 std)          has that standard deviation                                  (4)

(2): He et al., "Delving deep into rectifiers", ICCV 2015.  (3): Glorot and Bengio, AISTATS 2010.

Each function returns a new array of `shape`.  A layer takes one as `weight_init=`; settings are fixed beforehand with
`functools.partial(init.kaiming_normal, mode="fan_out")`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

Initializer = Callable[..., np.ndarray]  # (shape, *, rng) -> array

_skipping: ContextVar[bool] = ContextVar("minidl_init_skipping", default=False)


@contextmanager
def skip() -> Iterator[None]:
    """Give zeros instead of drawing: for a model whose weights are loaded next, or that is only counted.

    The zeros take no memory until they are read.

    Example:
        >>> with skip():
        ...     normal((2,), rng=np.random.default_rng(0))
        array([0., 0.], dtype=float32)
    """
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def normal(
    shape: tuple[int, ...], *, rng: np.random.Generator, mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Draws from N(mean, std²).

    Args:
        shape: of the array.
        rng: where the draws come from.
        mean, std: of the normal law.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> normal((2, 3), rng=np.random.default_rng(0)).shape
        (2, 3)
    """
    if _skipping.get():
        return np.zeros(shape, dtype)
    return (mean + std * _generator(rng).standard_normal(shape, dtype=dtype)).astype(dtype, copy=False)


def uniform(
    shape: tuple[int, ...], *, rng: np.random.Generator, low: float = 0.0, high: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Draws from the uniform distribution on [low, high).

    Args:
        shape: of the array.
        rng: where the draws come from.
        low, high: the ends of the interval.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> w = uniform((100,), rng=np.random.default_rng(0), low=-1.0)
        >>> bool(w.min() >= -1 and w.max() < 1)
        True
    """
    if _skipping.get():
        return np.zeros(shape, dtype)
    return (low + (high - low) * _generator(rng).random(shape, dtype=dtype)).astype(dtype, copy=False)


def constant(
    shape: tuple[int, ...], *, value: float, rng: np.random.Generator | None = None, dtype: Any = np.float32
) -> np.ndarray:
    """The same value everywhere.

    Args:
        shape: of the array.
        value: the number.
        rng: there to be called like the others, and not used.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> constant((2,), value=0.5)
        array([0.5, 0.5], dtype=float32)
    """
    return np.full(shape, value, dtype)


def zeros(shape: tuple[int, ...], *, rng: np.random.Generator | None = None, dtype: Any = np.float32) -> np.ndarray:
    """Zeros.

    Args:
        shape: of the array.
        rng: there to be called like the others, and not used.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> zeros((2,))
        array([0., 0.], dtype=float32)
    """
    return np.zeros(shape, dtype)


def ones(shape: tuple[int, ...], *, rng: np.random.Generator | None = None, dtype: Any = np.float32) -> np.ndarray:
    """Ones.

    Args:
        shape: of the array.
        rng: there to be called like the others, and not used.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> ones((2,))
        array([1., 1.], dtype=float32)
    """
    return np.ones(shape, dtype)


def kaiming_normal(
    shape: tuple[int, ...],
    *,
    rng: np.random.Generator,
    mode: str = "fan_in",
    nonlinearity: str = "relu",
    slope: float = 0.0,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Normal draws with the standard deviation (2).

    Args:
        shape: (O, C, …) of a convolution or (O, K) of a linear layer.
        rng: where the draws come from.
        mode: "fan_in" or "fan_out".
        nonlinearity: what follows; see `gain`.
        slope: negative slope, for "leaky_relu".
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> w = kaiming_normal((64, 32, 3, 3), rng=np.random.default_rng(0))
        >>> bool(abs(w.std() / np.sqrt(2 / (32 * 9)) - 1) < 0.02)
        True
    """
    return normal(shape, rng=rng, std=gain(nonlinearity, slope) / math.sqrt(_fan(shape, mode)), dtype=dtype)  # (2)


def kaiming_uniform(
    shape: tuple[int, ...],
    *,
    rng: np.random.Generator,
    mode: str = "fan_in",
    nonlinearity: str = "relu",
    slope: float = 0.0,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Uniform draws with the standard deviation (2).

    Args:
        shape: (O, C, …) of a convolution or (O, K) of a linear layer.
        rng: where the draws come from.
        mode: "fan_in" or "fan_out".
        nonlinearity: what follows; see `gain`.
        slope: negative slope, for "leaky_relu".
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> w = kaiming_uniform((64, 32, 3, 3), rng=np.random.default_rng(0))
        >>> bool(abs(w.std() / np.sqrt(2 / (32 * 9)) - 1) < 0.02)
        True
    """
    bound = math.sqrt(3) * gain(nonlinearity, slope) / math.sqrt(_fan(shape, mode))  # (4), (2)
    return uniform(shape, rng=rng, low=-bound, high=bound, dtype=dtype)


def xavier_normal(
    shape: tuple[int, ...], *, rng: np.random.Generator, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Normal draws with the standard deviation (3).

    Args:
        shape: (O, C, …) of a convolution or (O, K) of a linear layer.
        rng: where the draws come from.
        gain: a factor for the nonlinearity that follows; see `gain`.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> w = xavier_normal((64, 32, 3, 3), rng=np.random.default_rng(0))
        >>> bool(abs(w.std() / np.sqrt(2 / (96 * 9)) - 1) < 0.02)
        True
    """
    return normal(shape, rng=rng, std=gain * math.sqrt(2 / sum(fans(shape))), dtype=dtype)  # (3)


def xavier_uniform(
    shape: tuple[int, ...], *, rng: np.random.Generator, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Uniform draws with the standard deviation (3).

    Args:
        shape: (O, C, …) of a convolution or (O, K) of a linear layer.
        rng: where the draws come from.
        gain: a factor for the nonlinearity that follows; see `gain`.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> w = xavier_uniform((64, 32, 3, 3), rng=np.random.default_rng(0))
        >>> bool(abs(w.std() / np.sqrt(2 / (96 * 9)) - 1) < 0.02)
        True
    """
    bound = math.sqrt(3) * gain * math.sqrt(2 / sum(fans(shape)))  # (4), (3)
    return uniform(shape, rng=rng, low=-bound, high=bound, dtype=dtype)


def fan_in_uniform(
    shape: tuple[int, ...], *, rng: np.random.Generator, fan_in: int | None = None, dtype: Any = np.float32
) -> np.ndarray:
    """Uniform on ±1/√fan_in: PyTorch's default for convolutions, linear layers and (given `fan_in`) their biases.

    Args:
        shape: (O, C, …) of a convolution or (O, K) of a linear layer; any with `fan_in`.
        rng: where the draws come from.
        fan_in: of the weight; None for that of `shape`.
        dtype: float32 or float64.

    Returns:
        Array of that shape and dtype.

    Example:
        >>> w = fan_in_uniform((8, 100), rng=np.random.default_rng(0))
        >>> bool(0.09 < abs(w).max() <= 0.1)
        True
    """
    bound = 1 / math.sqrt(fans(shape)[0] if fan_in is None else fan_in)
    return uniform(shape, rng=rng, low=-bound, high=bound, dtype=dtype)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight; see (1).

    Args:
        shape: of the weight, (O, C, …).

    Returns:
        The number of inputs to an output, and of outputs that an input reaches.

    Raises:
        ValueError: fewer than two axes, or no element.

    Example:
        >>> fans((64, 32, 3, 3))
        (288, 576)
    """
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"init: a fan needs a weight of shape (O, C, …), got {shape}")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps  # (1)


def gain(nonlinearity: str, slope: float = 0.0) -> float:
    """The factor by which (2) makes up for what a nonlinearity removes; PyTorch's `calculate_gain`.

    Args:
        nonlinearity: "linear", "sigmoid", "relu", "leaky_relu" or "tanh" (5/3).
        slope: negative slope, for "leaky_relu".

    Returns:
        The factor.

    Raises:
        ValueError: there is no such nonlinearity.

    Example:
        >>> round(gain("relu") ** 2, 6)
        2.0
    """
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
        "tanh": 5 / 3,
    }
    if nonlinearity not in gains:
        raise ValueError(f"init: nonlinearity must be one of {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _fan(shape: tuple[int, ...], mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return fans(shape)[mode == "fan_out"]


def _generator(rng: Any) -> np.random.Generator:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"init: rng must be a numpy.random.Generator, got {type(rng).__name__}")
    return rng
