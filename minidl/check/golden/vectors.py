"""Golden vectors: calls of operations, with all that they must give and how far rounding may carry it.

Of every sample of an operation's specification a group is made, `conv2d-0`, `conv2d-1`, …, which holds

    input.NAME      what is differentiated             constant.NAME    what is not: noise, weights of classes
    param.NAME      arrays among the keywords          cotangent        gy = ∂L/∂y of some loss L
    expected.output, expected.grad.NAME                y, and (∂y/∂x)ᵀ gy
    bound.output, bound.grad.NAME                      |result − expected| stays below, by `minidl.check.bounds`

Another implementation hands in `output` and `grad.NAME`.  Inputs are rounded to the export's dtype first; what is
expected is then computed from the rounded ones in float64, by plain loops and by derivatives of the forward alone.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minidl import ops
from minidl.check import bounds
from minidl.check.golden.arrays import Spec, write_group
from minidl.check.golden.folder import folder_written_whole
from minidl.check.golden.manifest import Entry, Group, Manifest, encode, write_manifest
from minidl.check.spec import CASES, OpCase, Sample
from minidl.check.truth import Truth
from minidl.errors import UserError

__all__ = ["argument_names", "export", "golden_group", "operation_names"]

ROLES = {"input": "input", "constant": "noise", "param": "parameter", "cotangent": "cotangent"}


def operation_names() -> list[str]:
    """What can be exported: every operation that has a specification."""
    return [case.name for case in CASES]


def export(
    operations: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    form: str = "npz",
    dtype: str = "float32",
    seed: int = 0,
) -> Manifest:
    """Write golden vectors of `operations` into a new folder, whole or not at all.

    Args:
        operations: names in `minidl.ops`.
        folder: where; it must not be there yet.
        form: "npz", "safetensors" or "raw".
        dtype: of inputs and results: "float32" or "float64".
        seed: from which inputs and cotangents are drawn; the same seed gives the same bytes.

    Raises:
        UserError: an operation is unknown, or the folder cannot be written or is there already.

    Example:
        >>> import tempfile
        >>> manifest = export(["relu"], os.path.join(tempfile.mkdtemp(), "vectors"))
        >>> [group.id for group in manifest.groups], list(manifest.groups[0].results)
        (['relu-0', 'relu-1', 'relu-2'], ['output', 'grad.x'])
    """
    cases = [_case(name) for name in dict.fromkeys(operations)]
    if not cases:
        raise UserError("export: name at least one operation")
    groups = []
    with folder_written_whole(folder) as beside:
        for case in cases:
            for number, sample in enumerate(case.samples(np.random.default_rng(seed))):
                group, arrays = golden_group(case, sample, number, dtype, seed)
                write_group(beside, group.id, arrays, form)
                groups.append(group)
        manifest = Manifest("operations", form, dtype, seed, tuple(groups), _formulas(cases))
        write_manifest(beside, manifest)
    return manifest


def _case(name: str) -> OpCase:
    for case in CASES:
        if case.name == name:
            return case
    near = ", ".join(difflib.get_close_matches(name, operation_names(), n=3)) or "; `--list` shows all"
    raise UserError(f"export: there is no operation {name!r}; try {near}")


def golden_group(
    case: OpCase, sample: Sample, number: int, dtype: str, seed: int
) -> tuple[Group, dict[str, np.ndarray]]:
    """The description and the arrays of one call; `number` is its place among the samples."""
    inputs = tuple(None if x is None else _rounded(np.asarray(x), dtype) for x in sample.inputs)
    truth = Truth(case, Sample(inputs, {name: _rounded(v, dtype) for name, v in sample.params.items()}))
    names = argument_names(case, len(inputs))
    arrays = {
        f"{'constant' if i in case.constants else 'input'}.{names[i]}": _stored(x, dtype)
        for i, x in enumerate(inputs)
        if x is not None
    }
    kept: dict[str, np.ndarray] = {}
    defaults = {
        name: p.default
        for name, p in inspect.signature(getattr(ops, case.name)).parameters.items()
        if p.default is not p.empty and name not in names
    }
    params = {name: encode(name, value, kept) for name, value in {**defaults, **truth.sample.params}.items()}
    arrays |= {name: _stored(value, dtype) for name, value in kept.items()}

    result_dtype = truth.output_dtype(dtype).name
    rng = np.random.default_rng([seed, number])
    gy = _rounded(np.asarray(rng.normal(size=truth.y.shape)), result_dtype)
    results = {"output": Spec(result_dtype, truth.y.shape)}
    expected, bound = {"output": truth.y}, {"output": truth.output_bound(np.dtype(dtype))}
    for i in truth.wanted:
        name = f"grad.{names[i]}"
        expected[name], bound[name] = truth.gradient(i, gy), truth.gradient_bound(i, gy, np.dtype(dtype))
        results[name] = Spec(dtype, expected[name].shape)
    entries = [Entry(name, ROLES[name.partition(".")[0]], Spec.of(a)) for name, a in arrays.items()]
    if truth.wanted:
        arrays["cotangent"] = gy.astype(result_dtype)
        entries.append(Entry("cotangent", "cotangent", Spec.of(arrays["cotangent"])))
    for role, values in (("expected", expected), ("bound", bound)):
        for name, value in values.items():
            arrays[f"{role}.{name}"] = np.asarray(value, np.float64)
            entries.append(Entry(f"{role}.{name}", role, Spec("float64", value.shape)))
    absent = tuple(names[i] for i, x in enumerate(inputs) if x is None)
    return Group(f"{case.name}-{number}", tuple(entries), results, case.name, params, absent), arrays


def argument_names(case: OpCase, count: int) -> list[str]:
    """What the op calls its first `count` inputs; xs0, xs1, … those of `*xs`.

    Example:
        >>> argument_names(_case("conv2d"), 3), argument_names(_case("concat"), 2)
        (['x', 'weight', 'bias'], ['xs0', 'xs1'])
    """

    def names() -> Iterator[str]:
        for name, parameter in inspect.signature(case.op).parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                yield from (f"{name}{i}" for i in range(count))
            yield name

    return [name for name, _ in zip(names(), range(count), strict=False)]


def _rounded(value: Any, dtype: str) -> Any:
    """Floating arrays as float64 numbers that `dtype` holds; anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(dtype).astype(np.float64)
    return value


def _stored(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype({"f": dtype, "b": "bool"}.get(array.dtype.kind, "int64"))


def _formulas(cases: Sequence[OpCase]) -> dict[str, str]:
    """The formula of each operation in one line, the derivation in its module, and how the bounds come about."""
    texts = {"bound": inspect.cleandoc(bounds.__doc__ or "")}
    for case in cases:
        module = sys.modules[getattr(ops, case.name).__module__]
        texts[case.name] = case.equations
        texts[f"{module.__name__}"] = inspect.cleandoc(module.__doc__ or "")
    return texts
