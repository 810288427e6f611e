"""The function under check: called with NumPy arrays, whatever it takes itself, and differentiated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.check.calling import Calling, Signature, Unsupported, input_names, name_of
from minidl.check.frameworks import Framework, as_numpy, candidates, get_framework, is_function_pair
from minidl.check.spec.case import OpCase, Sample

Gradients = dict[str, np.ndarray | None]


class Failure(Exception):
    """The function raised, or returned what is no array; the message says so in one line."""


@dataclass(frozen=True)
class Answer:
    """What the function returned for one call.

    Attributes:
        y: its output; formats that NumPy lacks come as float32.
        dtype: the output's dtype as its framework calls it.
        gradients: by input name; None where the function's output does not depend on that input, as autograd sees it.
        written: names of inputs that it wrote to.
        left: constants that it moved, such as running statistics, as it left them.
    """

    y: np.ndarray
    dtype: str
    gradients: Gradients
    written: tuple[str, ...] = ()
    left: dict[str, np.ndarray] = field(default_factory=dict)


class Subject:
    """Somebody's implementation of an op.

    Args:
        fn: the function; a class of plain objects with `forward` and `backward`; a `torch.autograd.Function`.
        case: the op that it claims to be.
        backward: its own backward: `backward(gy, *inputs, **params)`, or `backward(gy, cache)` where `fn` returns
            the pair (y, cache).  It returns gradients in the order of the inputs, or a dict by name.
        framework: whose arrays it takes; found out if None.
        rename: our names of arguments, and the function's.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        case: OpCase,
        *,
        backward: Callable[..., Any] | None = None,
        framework: str | None = None,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"compare: fn must be a function, got {type(fn).__name__}")
        self.fn, self.case, self.backward = fn, case, backward
        self.names = [framework] if framework else candidates(fn, backward)
        self.framework: Framework = get_framework(self.names[0])
        self.signature = Signature.of(case)
        self.pair = is_function_pair(fn) and not hasattr(fn, "apply")
        self.rename = dict(rename or {})
        self.calling = self._calling(fn)
        self.backward_calling: Calling | None = None
        if backward is not None:
            self.backward_calling = Calling(backward, self.signature, self._known_names(backward, 1), drop=1)
        self._placed = False

    def _calling(self, fn: Any) -> Calling:
        if self.pair:
            return Calling(fn.forward, self.signature, self.rename, drop=1)
        if isinstance(fn, type) and hasattr(fn, "apply") and hasattr(fn, "forward"):  # an autograd Function
            theirs = self.framework.name == "torch"
            return Calling(fn.apply, self.signature, self.rename, positional=theirs, drop=1, shown=fn.forward)
        shown = getattr(fn, "forward", None) if self.framework.name == "torch" else None
        return Calling(fn, self.signature, self.rename, shown=shown)

    def _known_names(self, fn: Callable[..., Any], drop: int) -> dict[str, str]:
        """The part of `rename` that a backward has parameters for."""
        probe = Calling(fn, self.signature, {}, drop=drop)
        return {ours: theirs for ours, theirs in self.rename.items() if theirs in probe.parameters}

    def lacks(self, name: str) -> bool:
        """Whether the function, or its backward, has no parameter for our argument `name`."""
        return self.calling.lacks(name) or (self.backward_calling is not None and self.backward_calling.lacks(name))

    @property
    def name(self) -> str:
        return name_of(self.fn)

    @property
    def differentiates(self) -> str:
        """How gradients are had: "torch.autograd", "its backward", or "" if not at all."""
        return "its backward" if self.backward is not None or self.pair else self.framework.autograd

    def settle(self, sample: Sample, dtype: str) -> None:
        """Find out which framework's arrays the function takes: the first whose call does not fail."""
        self._place(sample)
        if len(self.names) == 1:
            return
        for name in self.names:
            self.framework = get_framework(name)
            try:
                self(sample, dtype)
                break
            except Unsupported:
                break
            except (Failure, ValueError):
                continue
        else:
            self.framework = get_framework(self.names[0])
        self.names = [self.framework.name]

    def _place(self, sample: Sample) -> None:
        if not self._placed:
            names = [n.partition("[")[0] for n in input_names(self.case, len(sample.inputs))]
            self.calling.place(names)
            self._placed = True
            if self.backward_calling is not None:
                try:
                    self.backward_calling.place(names)
                except ValueError:  # no arguments of the op's: it takes (gy, cache)
                    self.backward_calling = None

    def __call__(self, sample: Sample, dtype: str, gy: np.ndarray | None = None, wanted: Sequence[int] = ()) -> Answer:
        """The output, and with a cotangent `gy` the gradients of the inputs whose places are `wanted`.

        Raises:
            Unsupported: the function cannot be given this call, or says that it does not implement it.
            Failure: it raised anything else, or returned no array.
        """
        self._place(sample)
        names = input_names(self.case, len(sample.inputs))
        with self.framework.setting(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of an overflow, say, which the result shows; or made errors by pytest
            native = [None if x is None else self.framework.asarray(x, dtype) for x in sample.inputs]
            params = {k: self._native(v, dtype) for k, v in sample.params.items()}
            before = [None if x is None else self.framework.numpy(x).copy() for x in native]
            try:
                y, gxs = self._answer(names, native, params, gy, list(wanted), dtype)
                answer = self._read(y)
            except (Unsupported, Failure):
                raise
            except NotImplementedError as error:
                raise Unsupported(_line(error) or "NotImplementedError") from error
            except Exception as error:
                raise Failure(f"raises {type(error).__name__}: {_line(error)}") from error
            after = {n: self.framework.numpy(x).copy() for n, x in zip(names, native, strict=True) if x is not None}
        moved = [
            name
            for name, was in zip(names, before, strict=True)
            if was is not None and not np.array_equal(after[name], was, equal_nan=True)
        ]
        constants = {names[i] for i in self.case.constants if i < len(names)}
        left = {name: after[name] for name in moved if name in constants}
        written = tuple(name for name in moved if name not in constants)
        return Answer(answer, self.framework.floating(y) or str(answer.dtype), gxs, written, left)

    def _native(self, value: Any, dtype: str) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            return self.framework.asarray(np.asarray(value), dtype)
        return value

    def _values(self, names: list[str], arrays: Sequence[Any], params: dict[str, Any]) -> dict[str, Any]:
        if names and names[0].startswith("tensors["):
            return {"tensors": list(arrays), **params}
        return dict(zip(names, arrays, strict=True)) | params

    def _answer(
        self,
        names: list[str],
        native: list[Any],
        params: dict[str, Any],
        gy: np.ndarray | None,
        wanted: list[int],
        dtype: str,
    ) -> tuple[Any, Gradients]:
        made = self.fn() if self.pair else None
        cache: list[Any] = []

        def call(*arrays: Any) -> Any:
            values = self._values(names, arrays, params)
            y = self.calling(values, made) if self.pair else self.calling(values)
            if self.case.name == "split" and isinstance(y, (list, tuple)):
                return self.framework.joined(y, params.get("axis", 0))
            if isinstance(y, tuple) and y:
                cache[:] = y[1:]
                return y[0]
            return y

        if gy is None or not wanted or not self.differentiates:
            return call(*native), {}
        cotangent = self.framework.asarray(gy, params.get("dtype", dtype))
        if self.backward is None and not self.pair:
            y, gxs = self.framework.pull_back(call, native, wanted, cotangent)
            return y, {} if gxs is None else {names[i]: g for i, g in zip(wanted, gxs, strict=True)}
        y = call(*native)
        if self._read(y).shape != gy.shape:
            return y, {}
        if made is not None:
            returned = made.backward(cotangent)
        elif self.backward_calling is None or cache:
            kept = cache[0] if len(cache) == 1 else tuple(cache)
            assert self.backward is not None
            returned = self.backward(cotangent, kept)
        else:
            returned = self.backward_calling(self._values(names, native, params), cotangent)
        return y, self._named(returned, names, wanted, native)

    def _named(self, returned: Any, names: list[str], wanted: list[int], native: list[Any]) -> Gradients:
        """The gradients that a backward returned, by name of input."""
        if isinstance(returned, Mapping):
            theirs = {ours: self.calling.theirs.get(ours, ours) for ours in names}
            found = {n: returned.get(n, returned.get(theirs[n], returned.get(f"d{theirs[n]}"))) for n in names}
            return {names[i]: self._gradient(found[names[i]]) for i in wanted}
        listed = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        given = [i for i, x in enumerate(native) if x is not None]
        for places in (wanted, given, range(len(native))):
            if len(listed) == len(places):
                by_place = dict(zip(places, listed, strict=True))
                return {names[i]: self._gradient(by_place.get(i)) for i in wanted}
        if len(listed) > len(native):  # as many as there could be inputs
            return {names[i]: self._gradient(listed[i]) for i in wanted}
        raise Failure(f"its backward returns {len(listed)} gradients, not {len(wanted)}")

    def _gradient(self, g: Any) -> np.ndarray | None:
        return None if g is None else self._read(g)

    def _read(self, y: Any) -> np.ndarray:
        try:
            return self.framework.numpy(y)
        except TypeError:
            try:
                return as_numpy(y)
            except TypeError as error:
                raise Failure(str(error)) from error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
