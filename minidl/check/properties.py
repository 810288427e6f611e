"""What is true of every op, checked on one call of it.

A property is a generator of violations, each a line that says what is wrong, and none where all is well.
`violations(case)` asks every property about every sample; the tests, the mutation run and the checks on a GPU are
made from it.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from minidl.autograd import Tensor, _topological_order
from minidl.check.spec.case import OpCase, Sample
from minidl.check.truth import Arrays, Truth, difference, fetched, forward
from minidl.device import Array, Device, asnumpy, get_array_module
from minidl.kernels import use_kernels

Property = Callable[[Truth], Iterator[str]]


def truths(case: OpCase, samples: Iterable[Sample] | None = None) -> list[Truth]:
    """A `Truth` for every sample; those of the specification if none are given."""
    return [Truth(case, s) for s in (case.samples(np.random.default_rng(0)) if samples is None else samples)]


def violations(
    case: OpCase, calls: Iterable[Truth] | None = None, properties: Iterable[Property] | None = None
) -> list[str]:
    """All that is wrong with an op, one line each; empty for a right one.

    Args:
        case: the specification of the op.
        calls: the calls to check it on; those of the specification if None.
        properties: which to check; all if None.

    Example:
        >>> from minidl.check.spec import CASES
        >>> violations(CASES[0])
        []
    """
    found = []
    for truth in truths(case) if calls is None else calls:
        for check in PROPERTIES if properties is None else properties:
            try:
                found += [f"{truth} {check.__name__}: {line}" for line in check(truth)]
            except Exception as error:
                error.add_note(f"in {check.__name__} of {truth}")
                raise
    return found


def compared(truth: Truth, y: np.ndarray, gxs: Arrays, gy: np.ndarray, dtype: Any = np.float64) -> Iterator[str]:
    """Output and gradients against the truth, within the rounding bound of `dtype`."""
    if (line := difference(y, truth.y, truth.output_bound(dtype), truth.output_dtype(dtype))) is not None:
        yield f"the output {line}"
    for i in truth.wanted:
        line = difference(gxs[i], truth.gradient(i, gy), truth.gradient_bound(i, gy, dtype), dtype)
        if line is not None:
            yield f"the gradient of input {i} {line}"


def forward_equals_the_reference(truth: Truth) -> Iterator[str]:
    """The output is what plain loops give."""
    y = forward(truth.case, truth.sample.inputs, truth.sample.params, truth.device)
    if (line := difference(y, truth.y, truth.output_bound(), truth.output_dtype(np.float64))) is not None:
        yield f"the output {line}"


def gradients_equal_numerical_derivatives(truth: Truth) -> Iterator[str]:
    """Every element of every gradient is that of complex step, or of central differences off kinks."""
    yield from truth.kinks()
    y, gxs = truth.results()
    yield from compared(truth, y, gxs, truth.gy)


def adjoint_identity_holds(truth: Truth) -> Iterator[str]:
    """Where y = A x, ⟨A x, gy⟩ = ⟨x, Aᵀ gy⟩."""
    y, gxs = truth.results()
    for i in truth.case.linear_in:
        x, gx = truth.sample.inputs[i], gxs[i]
        if x is None or gx is None:
            continue
        left, right = float(np.vdot(y, truth.gy)), float(np.vdot(x, gx))
        bound = truth.gamma(np.float64) * float((np.abs(truth.gy) * truth.magnitude).sum())
        if not abs(left - right) <= bound:
            yield f"input {i}: ⟨A x, gy⟩ = {left:.17g}, but ⟨x, Aᵀ gy⟩ = {right:.17g}"


def nothing_is_written_to(truth: Truth) -> Iterator[str]:
    """Inputs, parameters, output and cotangent keep their bits, and what the caller may write to stays so."""
    given, params = _copies(truth)
    xs = [None if x is None else Tensor(x, requires_grad=i in truth.wanted) for i, x in enumerate(given)]
    arrays = [None if x is None else x.data for x in xs]  # batch_norm assigns new ones to its running statistics
    gy = _copied(truth.gy, truth.device)
    y = truth.case.op(*xs, **params)
    output = _bits(y.data)
    if truth.wanted:
        y.backward(gy)
        for i in truth.wanted:
            if (x := xs[i]) is not None and isinstance(x.grad, np.ndarray) and x.grad.flags.writeable:
                yield f"the gradient of input {i} can be written to"
    plain = [x if i in truth.case.constants else given[i] for i, x in enumerate(xs)]
    truth.case.op(*plain, **params)  # arrays that are no Tensors

    for i, (x, given_x, right) in enumerate(zip(arrays, given, truth.sample.inputs, strict=True)):
        if x is not None and given_x is not None and right is not None:
            if _bits(x) != right.tobytes() or _bits(given_x) != right.tobytes():
                yield f"input {i} was written to"
            if _read_only(given_x):
                yield f"the caller's array for input {i} was made read-only"
    for name, value in truth.sample.params.items():
        if isinstance(value, np.ndarray):
            if _bits(params[name]) != value.tobytes():
                yield f"parameter {name} was written to"
            if _read_only(params[name]):
                yield f"the caller's array for parameter {name} was made read-only"
    if _bits(y.data) != output:
        yield "the output was written to"
    if _bits(gy) != truth.gy.tobytes() or _read_only(gy):
        yield "the cotangent was written to, or made read-only"


def backward_repeats(truth: Truth) -> Iterator[str]:
    """Backward run twice, and the whole call run twice, give the same bits, in arrays no later call writes to."""
    if not truth.wanted:
        return
    arrays: list[Array] = []
    bits: list[list[bytes]] = []
    gy = truth.device.asarray(truth.gy)
    for _ in range(2):
        xs = truth.leaves()
        y = truth.call(xs)
        for _ in range(2):
            y.backward(gy, retain_graph=True)
            results = [y.data, *(x.grad for x in xs if x is not None and x.grad is not None)]
            arrays += results
            bits.append([_bits(a) for a in results])
            for x in xs:
                if x is not None:
                    x.grad = None
    for when, other in zip(("a second backward", "a second call", "its second backward"), bits[1:], strict=True):
        if other != bits[0]:
            yield f"{when} gives other bits"

    others = [None if x is None else np.roll(x, 1) for x in truth.sample.inputs]
    truth.results(others, gy=2 * truth.gy)
    if [_bits(a) for a in arrays] != [was for call in bits for was in call]:
        yield "a later call wrote to the results of an earlier one"


def float32_stays_float32(truth: Truth) -> Iterator[str]:
    """float32 in, float32 out, output and gradients, and within float32's rounding of the truth."""
    single = [None if x is None else x.astype(np.float32) for x in truth.sample.inputs]
    params = {k: v.astype(np.float32) if _is_floating(v) else v for k, v in truth.sample.params.items()}
    gy = truth.gy.astype(np.float32)
    y, gxs = truth.results(single, params, gy)
    yield from compared(truth, y, gxs, gy.astype(np.float64), np.float32)


def memory_layout_is_indifferent(truth: Truth) -> Iterator[str]:
    """Inputs and cotangents in other memory orders, strided, reversed or broadcast, give the same."""
    there = truth.device
    flat = there.xp.broadcast_to(there.xp.asarray(1.5, truth.gy.dtype), truth.y.shape)  # strides 0, as behind a sum
    calls = [(name, laid, laid(there.asarray(truth.gy))) for name, laid in LAYOUTS.items()]
    for name, laid, gy in [*calls, ("broadcast cotangent", LAYOUTS["Fortran order"], flat)]:
        inputs = [None if x is None else laid(there.asarray(x)) for x in truth.sample.inputs]
        xs = [None if x is None else _view(x, i in truth.wanted) for i, x in enumerate(inputs)]
        y = truth.call(xs)
        if truth.wanted:
            y.backward(Tensor._owning(gy))
        gxs = [None if x is None else fetched(x.grad, there) for x in xs]
        yield from (f"{name}: {line}" for line in compared(truth, fetched(y.data, there), gxs, asnumpy(gy)))


def every_subset_of_gradients_can_be_asked_for(truth: Truth) -> Iterator[str]:
    """Which inputs require gradients changes no gradient; and none is computed that nobody needs."""
    n = len(truth.wanted)
    for size in range(n) if n <= 4 else (1, 2):
        for mask in combinations(truth.wanted, size):
            xs = truth.leaves(mask)
            y = truth.call(xs)
            if y.requires_grad != bool(mask) or (y.grad_fn is not None) != bool(mask):
                yield f"gradients asked for {mask}: the output has requires_grad={y.requires_grad}"
            if not mask or y.grad_fn is None:
                continue
            unasked: list[str] = []
            for fn in _topological_order(y.grad_fn):
                fn.backward = _watched(fn, unasked)  # type: ignore[assignment, method-assign]
            y.backward(truth.device.asarray(truth.gy))
            yield from unasked
            for i, x in enumerate(xs):
                if i in mask:
                    gx = None if x is None else fetched(x.grad, truth.device)
                    line = difference(gx, truth.gradient(i, truth.gy), truth.gradient_bound(i, truth.gy))
                    if line is not None:
                        yield f"gradients asked for {mask}: that of input {i} {line}"
                elif x is not None and x.grad is not None:
                    yield f"gradients asked for {mask}, but input {i} got one"


def edits_by_the_caller_change_no_gradient(truth: Truth) -> Iterator[str]:
    """Arrays given to the op, as Tensors, arrays or parameters, and then edited, leave its gradients alone."""
    for plain in [None, *truth.wanted] if len(truth.wanted) > 1 else [None]:  # the input given as an array, no Tensor
        given, params = _copies(truth)
        wanted = [i for i in truth.wanted if i != plain]
        xs = [x if x is None or i == plain else Tensor(x, requires_grad=i in wanted) for i, x in enumerate(given)]
        y = truth.case.op(*xs, **params)
        for array in (*given, *params.values()):
            if isinstance(array, truth.device.xp.ndarray):
                array[...] = ~array if array.dtype == bool else array * 0 + 7
        if wanted:
            y.backward(truth.device.asarray(truth.gy))
        gxs = [fetched(x.grad, truth.device) if isinstance(x, Tensor) else None for x in xs]
        for i in wanted:
            line = difference(gxs[i], truth.gradient(i, truth.gy), truth.gradient_bound(i, truth.gy))
            if line is not None:
                yield f"after edits, the gradient of input {i} {line}"
        output = fetched(y.data, truth.device)
        if (line := difference(output, truth.y, truth.output_bound(), truth.output_dtype(np.float64))) is not None:
            yield f"after edits, the output {line}"


def kernel_forms_agree(truth: Truth) -> Iterator[str]:
    """The readable and the fast form of the kernels give the same."""
    for form in ("array", "cpu") if truth.device.name == "cpu" else ("array",):
        with use_kernels(form):
            y, gxs = truth.results()
        yield from (f"kernels {form!r}: {line}" for line in compared(truth, y, gxs, truth.gy))


def nan_is_not_hidden(truth: Truth) -> Iterator[str]:
    """A NaN shows in every output that depends on it, and in every gradient that its cotangent reaches."""
    rng = np.random.default_rng(3)
    for i in truth.wanted:
        x, jacobian = truth.sample.inputs[i], truth.jacobians[i]
        assert x is not None and jacobian is not None
        for j in rng.permutation(x.size)[:4]:
            y = _forward_with(truth, i, j, np.nan)
            if y is not None and (hidden := ~np.isnan(y.ravel()) & _depends(truth, i, j)).any():
                yield f"input {i}: NaN at {j} does not reach output {int(np.argmax(hidden))}"
        for k in rng.permutation(truth.y.size)[:2]:
            gy = truth.gy.copy()
            gy.flat[k] = np.nan
            gx = truth.results(gy=gy)[1][i]
            assert gx is not None
            if (hidden := ~np.isnan(gx.ravel()) & (np.abs(jacobian[k]) > _noise(jacobian))).any():
                yield f"NaN in the cotangent at {k} does not reach gradient {i} at {int(np.argmax(hidden))}"


def memory_is_freed_by_reference_count(truth: Truth) -> Iterator[str]:
    """What forward kept goes with the output, without the garbage collector."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        xs = truth.leaves()
        y = truth.call(xs)
        kept = [weakref.ref(fn) for fn in _topological_order(y.grad_fn)] if y.grad_fn is not None else []
        del y
        yield from (f"{fn.name} closes a reference cycle" for ref in kept if (fn := ref()) is not None)
    finally:
        if enabled:
            gc.enable()


PROPERTIES: tuple[Property, ...] = (
    forward_equals_the_reference,
    gradients_equal_numerical_derivatives,
    adjoint_identity_holds,
    nothing_is_written_to,
    backward_repeats,
    float32_stays_float32,
    memory_layout_is_indifferent,
    every_subset_of_gradients_can_be_asked_for,
    edits_by_the_caller_change_no_gradient,
    kernel_forms_agree,
    nan_is_not_hidden,
    memory_is_freed_by_reference_count,
)


def _copied(array: np.ndarray, device: Device) -> Array:
    """An array of one's own on `device`, which an op may not write to."""
    return device.asarray(array.copy())


def _copies(truth: Truth) -> tuple[list[Array | None], dict[str, Any]]:
    """Copies on the device of all arrays that the op is given: inputs and parameters, labels and masks among them."""
    inputs = [None if x is None else _copied(x, truth.device) for x in truth.sample.inputs]
    params = truth.sample.params.items()
    return inputs, {k: _copied(v, truth.device) if isinstance(v, np.ndarray) else v for k, v in params}


def _bits(array: Array) -> bytes:
    return asnumpy(array).tobytes()


def _read_only(array: Array) -> bool:
    """Whether NumPy refuses to write to it; CuPy never does."""
    return isinstance(array, np.ndarray) and not array.flags.writeable


def _strided(x: Array) -> Array:
    """`x` as every second element of a larger array."""
    wide = get_array_module(x).full([2 * n for n in x.shape], np.nan, x.dtype)
    every_second: tuple[Any, ...] = (..., *[slice(None, None, 2)] * x.ndim)  # "..." keeps a 0-d array an array
    view = wide[every_second]
    view[...] = x
    return view


def _reversed(x: Array) -> Array:
    """`x` with negative strides."""
    back: tuple[Any, ...] = (..., *[slice(None, None, -1)] * x.ndim)
    return x[back].copy()[back]


def _channels_first(x: Array) -> Array:
    """`x` (N, C, …) with its batch axis last in memory, as the fast kernels keep images: C, H, W, N."""
    xp = get_array_module(x)
    return xp.moveaxis(xp.moveaxis(x, 0, -1).copy(), -1, 0) if x.ndim > 1 else x.copy()


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": lambda x: get_array_module(x).array(x, order="F"),
    "strided": _strided,
    "reversed": _reversed,
    "batch axis last": _channels_first,
}


def _view(x: Array, requires_grad: bool) -> Tensor:
    """A Tensor on `x` itself: `Tensor(x)` would copy a strided view into a dense array."""
    tensor = Tensor._owning(x)
    tensor.requires_grad = requires_grad
    return tensor


def _watched(fn: Any, unasked: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """`fn.backward`, noting gradients that it computes and nobody needs."""
    backward, name, needs_grad = fn.backward, fn.name, fn.needs_grad

    def watched(gy: Any) -> tuple[Any, ...]:
        gxs = backward(gy)
        unasked.extend(
            f"{name} computes a gradient nobody needs, of argument {i}"
            for i, (needed, gx) in enumerate(zip(needs_grad, gxs, strict=True))
            if gx is not None and not needed
        )
        return gxs

    return watched


def _is_floating(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _noise(jacobian: np.ndarray) -> float:
    """Below this an element of a Jacobian may be 0."""
    return 1e-6 * float(np.abs(jacobian).max(initial=0.0))


def _forward_with(truth: Truth, i: int, j: int, value: float) -> np.ndarray | None:
    """The output with element j of input i replaced; None where the op refuses the value."""
    inputs = [None if x is None else x.copy() for x in truth.sample.inputs]
    x = inputs[i]
    assert x is not None
    x.flat[j] = value
    try:
        with np.errstate(all="ignore"):
            return forward(truth.case, inputs, truth.sample.params, truth.device)
    except ValueError:
        return None


def _depends(truth: Truth, i: int, j: int) -> np.ndarray:
    """Which outputs depend on element j of input i: by the Jacobian, or as a large change shows."""
    jacobian = truth.jacobians[i]
    assert jacobian is not None
    depends = np.abs(jacobian[:, j]) > _noise(jacobian)
    if (far := _forward_with(truth, i, j, 8.0)) is not None:
        depends |= np.abs(far - truth.y).ravel() > 1e-6 * (1 + np.abs(truth.y).ravel())
    return depends
