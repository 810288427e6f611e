"""Judge somebody's implementation of an op: `compare` says whether it conforms, and if not, which mistake it makes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from minidl.check.comparison import Comparison
from minidl.check.formats import DTYPES
from minidl.check.report import Verdict
from minidl.check.spec import CASES, OpCase, Sample
from minidl.check.subject import Subject


def compare(
    fn: Callable[..., Any],
    op: str,
    *,
    backward: Callable[..., Any] | None = None,
    dtype: str | None = None,
    drawn: int = 200,
    seed: int = 0,
    framework: str | None = None,
    rename: Mapping[str, str] | None = None,
    skip: Callable[[Sample], str | None] | None = None,
) -> Verdict:
    """Whether `fn` computes minidl's `op`, forward and backward, to rounding; and if not, why.

    It is called with the samples of the op's specification and with drawn ones.  What it returns may err by the
    rounding bound of its precision, which is derived for each call, and by no more.

    Args:
        fn: a function of NumPy, CuPy, PyTorch, JAX, TensorFlow or minidl arrays, with the op's arguments, or some of
            them; or a class with `forward` and `backward`.
        op: name in `minidl.ops`.
        backward: its own backward, `backward(gy, *inputs, **params)`, or `backward(gy, cache)` where `fn` returns the
            pair (y, cache).  Without it gradients are those of the framework's automatic differentiation.
        dtype: "float64", "float32", "float16" or "bfloat16"; None for float64, or float32 where that is all it knows.
        drawn: how many calls to draw; where one fails, the smallest that fails is looked for.
        seed: of the draws.
        framework: whose arrays `fn` takes; found out if None.
        rename: our names of arguments, and `fn`'s: {"padding": "pad"}.
        skip: says of a sample why it is to be left out, or None.

    Returns:
        The `Verdict`; print it.

    Raises:
        ValueError: there is no such op, dtype, framework or argument.
        TypeError: `fn` is no function.

    Example:
        >>> import numpy as np
        >>> def my_tanh(x):
        ...     return 1 - 2 / (1 + np.exp(2 * x))
        >>> compare(my_tanh, "tanh", backward=lambda gy, x: gy * (1 - my_tanh(x)), drawn=20).diagnosis.name
        'square forgotten'
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"compare: dtype must be one of {', '.join(map(repr, DTYPES))}, got {dtype!r}")
    case = find_case(op)
    subject = Subject(fn, case, backward=backward, framework=framework, rename=rename)
    return Comparison(subject, case, dtype, drawn, seed, skip).verdict()


def find_case(op: str) -> OpCase:
    """The specification of an op, by name.

    Raises:
        ValueError: there is none.
    """
    for case in CASES:
        if case.name == op:
            return case
    near = difflib.get_close_matches(op, [case.name for case in CASES], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"compare: there is no op {op!r}{hint}")


def assert_conforms(fn: Callable[..., Any], op: str, **options: Any) -> Verdict:
    """`compare`, for tests: an AssertionError that holds the verdict unless `fn` conforms.

    Args:
        fn: the function to check.
        op: the name of the op that it claims to be.
        options: as for `compare`.

    Returns:
        The verdict.

    Raises:
        AssertionError: it does not conform.

    Example:
        >>> import numpy as np
        >>> assert_conforms(lambda x: np.maximum(x, 0), "relu", drawn=10).ok
        True
    """
    __tracebackhide__ = True
    verdict = compare(fn, op, **options)
    if not verdict.ok:
        raise AssertionError(str(verdict))
    return verdict


__all__ = ["assert_conforms", "compare", "find_case"]
