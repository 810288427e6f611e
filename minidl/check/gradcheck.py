"""Check the gradient of any function: `gradcheck(fn, x, w)` says which element of which input is wrong, and how."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.check.calling import name_of
from minidl.check.frameworks import Framework, as_numpy, candidates, get_framework
from minidl.check.slopes import Slope, slope

EPS = 2.0**-53
IMAGINARY = 1e-20  # of the complex step


@dataclass(frozen=True)
class GradReport:
    """What `gradcheck` found.

    Attributes:
        function: its name.
        ok: whether every gradient is that of the function.
        wrong: what is not, a line each.
        notes: how it was checked, kinks that were met, a line each.
        worst: by input, the largest |gradient - derivative| ÷ what it may be.
    """

    function: str
    ok: bool
    wrong: tuple[str, ...]
    notes: tuple[str, ...]
    worst: dict[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        head = f"{self.function}: the gradient is {'right' if self.ok else 'WRONG'}"
        worst = [f"{name}: largest difference {r:.2g} of what rounding allows" for name, r in self.worst.items()]
        return "\n  ".join([head, *self.wrong, *(worst if self.ok else []), *self.notes])


def gradcheck(
    fn: Callable[..., Any],
    *inputs: Any,
    backward: Callable[..., Any] | None = None,
    framework: str | None = None,
    elements: int = 500,
    seed: int = 0,
) -> GradReport:
    """Whether backward returns the derivative of `fn`: for a random cotangent, element by element of every input.

    Derivatives are those of the complex step where `fn` is analytic, else of central differences at three steps with
    an estimate of their error; a kink within the step is noticed, and at a kink any value between the one-sided
    derivatives is right.  In inputs in which `fn` is linear ⟨A d, gy⟩ = ⟨d, Aᵀgy⟩ is checked too.  Two calls must give
    the same bits and leave inputs and earlier results alone.

    Args:
        fn: a function of NumPy, CuPy, PyTorch, JAX, TensorFlow or minidl arrays that returns one array.
        inputs: at what place; floating arrays are differentiated, others are constants.  Taken as float64.
        backward: `backward(gy, *inputs)` where the framework has no automatic differentiation, or to check it.
        framework: whose arrays `fn` takes; found out if None.
        elements: how many of each input at most; of larger ones so many are drawn, and three random directions.
        seed: of the cotangent and of what is drawn.

    Returns:
        The report, which is true if every gradient is right; printed, it says what is not.

    Example:
        >>> x = np.array([0.5, -1.0, 2.0])
        >>> gradcheck(np.sin, x, backward=lambda gy, x: gy * np.cos(x)).ok
        True
        >>> print(gradcheck(np.sin, x, backward=lambda gy, x: 2 * gy * np.cos(x)).wrong[0])
        the gradient of x is 2 times the derivative, in every element: [0] is 0.220677299, not 0.11033865
    """
    return _GradCheck(fn, inputs, backward, framework, elements, seed).report()


class _GradCheck:
    """One function at one place."""

    def __init__(
        self,
        fn: Callable[..., Any],
        inputs: Sequence[Any],
        backward: Callable[..., Any] | None,
        framework: str | None,
        elements: int,
        seed: int,
    ) -> None:
        self.fn, self.backward, self.elements = fn, backward, elements
        self.rng = np.random.default_rng(seed)
        self.inputs = [_plain(x) for x in inputs]
        self.wanted = [i for i, x in enumerate(self.inputs) if x.dtype.kind == "f"]
        self.names = _names(fn, len(inputs))
        self.notes: dict[str, None] = {}
        self.framework = self._settled(framework)
        self.y = self.f(self.inputs)
        if self.y.dtype.kind not in "fc":
            raise TypeError(f"gradcheck: {name_of(fn)} must return a floating array, got {self.y.dtype}")
        self.gy = self.rng.normal(size=self.y.shape)

    def _settled(self, framework: str | None) -> Framework:
        names = [framework] if framework else candidates(self.fn, self.backward)
        for name in names[:-1]:
            self.framework = get_framework(name)
            try:
                self.f(self.inputs)
                return self.framework
            except Exception:  # the wrong framework's arrays fail in whatever way
                continue
        return get_framework(names[-1])

    def f(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The function on NumPy arrays."""
        with self.framework.setting():
            return np.array(self.framework.numpy(self.fn(*(self.framework.asarray(x, "float64") for x in inputs))))

    def pull(self, inputs: Sequence[np.ndarray], gy: np.ndarray) -> list[np.ndarray]:
        """The gradients to be checked, of the wanted inputs; zeros where the framework sees no dependence."""
        with self.framework.setting():
            native = [self.framework.asarray(x, "float64") for x in inputs]
            cotangent = self.framework.asarray(gy, "float64")
            if self.backward is None:
                _, found = self.framework.pull_back(self.fn, native, self.wanted, cotangent)
                gxs: list[Any] = [None] * len(self.wanted) if found is None else list(found)
            else:
                returned = self.backward(cotangent, *native)
                listed = list(returned) if isinstance(returned, (tuple, list)) else [returned]
                gxs = listed if len(listed) == len(self.wanted) else [listed[i] for i in self.wanted]
            return [
                np.zeros(inputs[i].shape) if g is None else np.array(self.framework.numpy(g))
                for i, g in zip(self.wanted, gxs, strict=True)
            ]

    def report(self) -> GradReport:
        wrong, worst = list(self._calls_keep_still()), {}
        if any("deterministic" in line for line in wrong):  # differences of such a function say nothing
            return GradReport(name_of(self.fn), False, tuple(wrong), ())
        self.gradients = self.pull(self.inputs, self.gy)
        self.rounding = self._rounding()
        for k, i in enumerate(self.wanted):
            name, g = self.names[i], self.gradients[k]
            if g.shape != self.inputs[i].shape:
                wrong.append(f"the gradient of {name} has shape {g.shape}, not {self.inputs[i].shape}")
                continue
            lines, worst[name] = self._checked(k, i)
            wrong += lines
            wrong += self._adjoint(k, i)
        return GradReport(name_of(self.fn), not wrong, tuple(wrong), tuple(self.notes), worst)

    # Derivatives

    def _checked(self, k: int, i: int) -> tuple[list[str], float]:
        """What is wrong with the gradient of input i, and the largest difference ÷ what it may be."""
        x, g = self.inputs[i], self.gradients[k]
        places = list(np.ndindex(x.shape))
        if len(places) > self.elements:
            chosen = self.rng.choice(len(places), self.elements, replace=False)
            places = [places[j] for j in sorted(chosen)]
            self.notes[f"{self.names[i]}: {self.elements} of its {x.size} elements, and 3 random directions"] = None
        analytic = self._is_analytic(i)
        how = "complex step" if analytic else "central differences at three steps"
        self.notes[f"{self.names[i]}: by {how}"] = None
        found: list[tuple[tuple[int, ...], Slope]] = []
        ratio = 0.0
        for j in places:
            here, rounding, size = float(g[j]), float(self.rounding[k][j]), abs(float(x[j]))
            s = self._complex_slope(i, j) if analytic else self._slope(i, _unit(x, j), size)
            if analytic and not s.allows(here, rounding):
                s = self._slope(i, _unit(x, j), size)  # at a kink a complex step sees one side only
            self._note_kink(i, j, s, here)
            if not s.allows(here, rounding):
                found.append((j, s))
            elif s.sides is None:
                ratio = max(ratio, abs(here - s.value) / (s.error + rounding + 1e-300))
        if found:
            return [self._how(k, i, found, len(places))], np.inf
        return list(self._directions(k, i)) if len(places) < x.size else [], ratio

    def _loss(self, inputs: Sequence[np.ndarray]) -> Any:
        return (self.gy * self.f(inputs)).sum()

    def _moved(self, i: int, by: np.ndarray) -> list[np.ndarray]:
        return [x + by if j == i else x for j, x in enumerate(self.inputs)]

    def _slope(self, i: int, direction: np.ndarray, size: float) -> Slope:
        epsilon = EPS * (np.abs(self.gy) * np.abs(self.y)).sum() * 4 + EPS * 1e-3
        scale = 2.0 ** np.round(np.log2(max(size, 1.0)))
        return slope(lambda t: float(np.real(self._loss(self._moved(i, t * direction)))), float(scale), float(epsilon))

    def _complex_slope(self, i: int, j: tuple[int, ...]) -> Slope:
        z = self.inputs[i].astype(np.complex128)
        z[j] += 1j * IMAGINARY
        value = np.imag(self._loss([z if n == i else x for n, x in enumerate(self.inputs)])) / IMAGINARY
        return Slope(float(value), 0.0, IMAGINARY)

    def _is_analytic(self, i: int) -> bool:
        """Whether a complex step along a random direction gives what differences give."""
        x = self.inputs[i]
        if not x.size:
            return False
        direction = self.rng.normal(size=x.shape)
        z = x + 1j * IMAGINARY * direction
        try:
            with np.errstate(all="ignore"):
                y = self.f([z if n == i else x_ for n, x_ in enumerate(self.inputs)])
        except Exception:  # complex numbers may be refused in whatever way
            return False
        if y.dtype.kind != "c" or y.shape != self.y.shape or not np.allclose(y.real, self.y, rtol=1e-12, atol=1e-300):
            return False
        by_complex = float((self.gy * y.imag).sum() / IMAGINARY)
        by_differences = self._slope(i, direction, 1.0)
        return by_differences.sides is None and by_differences.allows(by_complex, 1e-6 * (1 + abs(by_complex)))

    def _rounding(self) -> list[np.ndarray]:
        """What rounding may do to each element: its sensitivity to relative changes of the inputs, k roundings of u."""
        k = sum(x.size for x in self.inputs) + self.y.size + 64
        total = [np.abs(g) for g in self.gradients]
        delta = 2.0**-20
        for _ in range(3):
            moved = [
                x * (1 + delta * self.rng.choice([-1.0, 1.0], size=x.shape)) if i in self.wanted else x
                for i, x in enumerate(self.inputs)
            ]
            for t, g, g0 in zip(total, self.pull(moved, self.gy), self.gradients, strict=True):
                if g.shape == t.shape:
                    t += np.abs(g - g0) / delta
        scale = [np.abs(self.inputs[i]).max(initial=0.0) for i in self.wanted]
        size = float((np.abs(self.gy) * np.abs(self.y)).max(initial=0.0))
        return [k * EPS * (t + (size / s if s else size)) for t, s in zip(total, scale, strict=True)]

    def _directions(self, k: int, i: int) -> Iterator[str]:
        """All elements at once, along random directions."""
        for _ in range(3):
            d = self.rng.normal(size=self.inputs[i].shape)
            s, along = self._slope(i, d, 1.0), float((self.gradients[k] * d).sum())
            if not s.allows(along, float((self.rounding[k] * np.abs(d)).sum())):
                name = self.names[i]
                yield f"the gradient of {name} is wrong along a random direction: {along:.9g}, not {s.value:.9g}"

    # What is said

    def _note_kink(self, i: int, j: tuple[int, ...], s: Slope, g: float) -> None:
        place = f"{self.names[i]}[{', '.join(map(str, j))}]"
        if s.sides is not None:
            sides = " and ".join(f"{side:.6g}" for side in s.sides)
            self.notes[f"{place} is at a kink: one-sided derivatives {sides}, backward {g:.6g}"] = None
        elif s.near:
            self.notes[f"{place}: a kink lies near; measured with a step of {s.step:.1e}"] = None

    def _how(self, k: int, i: int, found: list[tuple[tuple[int, ...], Slope]], of: int) -> str:
        """How a gradient differs from the derivative."""
        g = self.gradients[k]
        j, s = max(found, key=lambda item: abs(float(g[item[0]]) - item[1].value))
        at = f"[{', '.join(map(str, j))}] is {float(g[j]):.9g}, not {s.value:.9g} ± {s.error:.0e}"
        if len(found) < of:
            return f"the gradient of {self.names[i]} is wrong in {len(found)} of {of} elements: {at}"
        j, s = found[0]
        at = f"[{', '.join(map(str, j))}] is {float(g[j]):.9g}, not {s.value:.9g}"
        kind = "in every element"
        if not any(float(g[p]) for p, _ in found):
            return f"the gradient of {self.names[i]} is 0, {kind}: {at}"
        ratios = np.array([float(g[p]) / q.value for p, q in found if q.value])
        if ratios.size > 1 and np.ptp(ratios) <= 1e-6 * np.abs(ratios).max():
            return f"the gradient of {self.names[i]} is {ratios.mean():.6g} times the derivative, {kind}: {at}"
        ones = self.pull(self.inputs, np.ones_like(self.gy))[k]
        if ones.shape == g.shape and np.allclose(ones, g, rtol=1e-9):
            return f"the gradient of {self.names[i]} does not depend on the cotangent: {at}"
        return f"the gradient of {self.names[i]} is wrong {kind}: {at}"

    def _adjoint(self, k: int, i: int) -> Iterator[str]:
        """In an input in which the function is linear, ⟨A d, gy⟩ = ⟨d, Aᵀgy⟩."""
        x = self.inputs[i]
        d, e = self.rng.normal(size=x.shape), self.rng.normal(size=x.shape)
        with np.errstate(all="ignore"):
            try:
                there, back, other, alone = (self.f(self._moved(i, v)) for v in (d, -d, d + e, e))
            except ValueError:  # refused so far away, as a width below 0 is: linear nowhere
                return
            size = np.abs(there) + np.abs(back) + np.abs(other) + 2 * np.abs(self.y)
            n = sum(z.size for z in self.inputs) + 64
            flat = np.abs(there + back - 2 * self.y) <= n * EPS * size
            flat &= np.abs(other - there - alone + self.y) <= 2 * n * EPS * size
        if not flat.all() or not np.any(there != self.y):
            return
        left, right = float(((there - self.y) * self.gy).sum()), float((d * self.gradients[k]).sum())
        bound = 2 * n * EPS * float((np.abs(self.gy) * size).sum())
        if abs(left - right) <= bound:
            self.notes[f"{self.names[i]}: linear, and ⟨A d, gy⟩ = ⟨d, Aᵀgy⟩ holds"] = None
        else:
            yield f"linear in {self.names[i]}, but ⟨A d, gy⟩ = {left:.9g} and ⟨d, Aᵀgy⟩ = {right:.9g}"

    def _calls_keep_still(self) -> Iterator[str]:
        """Equal calls give equal bits; inputs, and results of earlier calls, are not written to."""
        given = [x.copy() for x in self.inputs]
        one, g_one = self.f(self.inputs), self.pull(self.inputs, self.gy)
        kept = [a.copy() for a in (one, *g_one)]
        self.pull([x[..., ::-1].copy() if x.ndim else x for x in self.inputs], 2 * self.gy)
        two, g_two = self.f(self.inputs), self.pull(self.inputs, self.gy)
        if one.tobytes() != two.tobytes():
            yield "two equal calls give different outputs: it is not deterministic"
        elif any(a.tobytes() != b.tobytes() for a, b in zip(g_one, g_two, strict=True)):
            yield "two equal calls give different gradients: backward is not deterministic, or remembers"
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(kept, (one, *g_one), strict=True)):
            yield "a later call writes to the results of an earlier one"
        if any(not np.array_equal(x, was, equal_nan=True) for x, was in zip(self.inputs, given, strict=True)):
            yield "it writes to its inputs"


def _plain(x: Any) -> np.ndarray:
    array = np.array(as_numpy(x.detach() if hasattr(x, "detach") and not isinstance(x, np.ndarray) else x))
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _unit(x: np.ndarray, j: tuple[int, ...]) -> np.ndarray:
    e = np.zeros(x.shape)
    e[j] = 1.0
    return e


def _names(fn: Callable[..., Any], count: int) -> list[str]:
    """What the function calls its inputs."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (ValueError, TypeError):
        parameters = []
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    if not names and isinstance(fn, np.ufunc):
        names = ["x", "y"]
    return [names[i] if i < len(names) else f"input {i}" for i in range(count)]
