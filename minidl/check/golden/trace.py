r"""The first layer at which another implementation of a model departs.

Comparing two float32 runs end to end finds little: errors grow from layer to layer, and one ReLU that flips on an
input near 0 moves gradients by 2e-3.  So every layer is judged by itself.  Our model runs once in float64, and after
each layer the other implementation's output takes the place of ours; on the way back, its gradient does.  A layer is
thus asked what it makes of the other implementation's own values, and an error is seen where it is made:

    ỹ_m  against  f_m(ỹ of what m reads),       g̃_m  against  Σ_c (∂f_c/∂y_m)ᵀ g̃_c  over the layers c that read m

A layer that was not handed in is computed, and its errors are the next one's.  No ReLU can flip whose input was
handed in.

Bound.  Let y = Σ_{j≤k} t_j, added up in order, each addition erring by a factor 1 + δ_i, |δ_i| ≤ u.  The error is
Σ_i δ_i s_i with partial sums |s_i| ≤ √i ‖t‖, by Cauchy and Schwarz; with δ_i independent and of mean zero, Hoeffding's
inequality gives, but for a probability of 2 exp(-λ²/2),

    |fl(y) - y|  ≤  λ u √(k (k + 1) / 2) ‖t‖,       λ = 8:  2.5e-14 an element                               (1)
    ‖t‖²         =  E [Σ_j s_j x_j ∂y/∂x_j]²        over random signs s                                      (2)

and (2) is sampled: three more passes with everything that goes into a layer times 1 ± δ.  A result is judged by its
largest error against its largest ‖t‖.  k is the number of terms of the longest sum, and 8 for what is around it:

    products     fan-in; fan-out for the gradient of the input                                               (3)
    parameters   positions of the output: their gradients are sums over these                                (4)
    norms        √n, n the elements of a statistic: means of n terms of like size                            (5)
    the rest     elements of a window                                                                        (6)

Terms that cancel inside a layer are not seen by (2).  A norm's rounded mean moves what is left of x; and x gx and
y gy have one unit, and terms of that size cancel:

    norms        (1) times √(mean x²/(v + ε)), at least 1                                                    (7)
    gradients    ‖t‖ is at least max |g̃_c ỹ_c| / max |ỹ_m|                                                   (8)

Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019, for (1).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minidl.check.golden import step
from minidl.check.golden.arrays import Spec, read_group, read_own
from minidl.check.golden.findings import Finding, TraceReport
from minidl.check.golden.forced import Arrays, Chain, Reach, forced
from minidl.check.golden.manifest import Manifest, read_manifest
from minidl.check.golden.model import ASKED
from minidl.check.golden.verify import SHOWN, strangers
from minidl.errors import UserError

__all__ = ["trace"]

LAMBDA = 8.0  # of (1)
PASSES = 3  # of (2)
DELTA = {
    "float32": 2.0**-12,
    "float64": 2.0**-26,
}  # of (2): at least the largest error, so that flips count as they are


def trace(folder: str | os.PathLike[str], results: str | os.PathLike[str]) -> TraceReport:
    """Judge another implementation's step of a model, layer by layer.

    Args:
        folder: what `export_model` wrote.
        results: a folder with the groups "activations", "gradients", "parameter_gradients" and "buffers", or some of
            them, in any of the three forms; each may leave out layers.  A layer may go by any of its names.

    Raises:
        UserError: a folder is missing, the export is damaged, or the results hold nothing that was asked for.

    Example:
        >>> import shutil, tempfile
        >>> from minidl.check.golden.model import export_model
        >>> target, results = (Path(tempfile.mkdtemp()) / name for name in ("step", "results"))
        >>> _ = export_model("resnet8", target, batch_size=2, image_size=8)
        >>> results.mkdir()
        >>> _ = shutil.copy(target / "activations.npz", results)  # the export's own outputs, without gradients
        >>> print(trace(target, results).text(only_wrong=True))
        forward: 27 results follow from what went into them; largest error ÷ bound: ...
        backward: nothing was handed in
    """
    source, theirs = Path(folder), Path(results)
    manifest = read_manifest(source, "model")
    if not theirs.is_dir():
        raise UserError(f"{theirs}: there is no such folder of results")
    own: Arrays = {group.id: read_own(source, group.id, group.specs()) for group in manifest.groups}
    for needed in ("inputs", "parameters", "activations"):
        manifest.group(needed)
    described = manifest.model or {}
    names = {layer["name"]: layer["also"] for layer in described["layers"]}
    given, refused = _given(theirs, manifest, names)
    if not any(given.values()):
        reason = f" ({refused[0]})" if refused else ""
        raise UserError(f"{theirs}: holds nothing that was asked for{reason}")

    model = step.made(
        described["name"],
        described["num_classes"],
        described["options"],
        described["priors"],
        described["image_size"],
        manifest.seed,
    )
    usable = {g: {n: a for n, a in held.items() if np.isfinite(a).all()} for g, held in given.items()}
    try:
        with np.errstate(all="ignore"):  # finite numbers may still be absurd
            expected, reach = forced(model, own, usable)
            size = _sizes(model, own, usable, expected, manifest)
    except ValueError as error:
        raise UserError(f"{source}: its parameters do not fit {described['name']}: {error}") from error
    if [*names, step.LOSS] != list(reach):
        raise UserError(f"{source}: another version of minidl wrote it: its {described['name']} has other layers")
    judge = _Judge(manifest.dtype, own, given, expected, size, reach)
    findings = [*judge.forward(), *judge.backward()]
    missing = tuple(name for name in names if name not in given["activations"])
    return TraceReport(tuple(findings), missing, tuple(refused))


def _given(folder: Path, manifest: Manifest, names: dict[str, list[str]]) -> tuple[Arrays, list[str]]:
    """What was handed in, by our names, and a line for whatever was refused."""
    refused = list(strangers(folder, manifest))
    given: Arrays = {group: {} for group in ASKED}
    for group in (g for g in manifest.groups if g.id in ASKED):
        ours = {name: name for name in group.results}
        if group.id in ("activations", "gradients"):
            ours |= {other: name for name, also in names.items() if name in ours for other in also}
        wanted: dict[str, Spec] = {called: group.results[name] for called, name in ours.items()}
        found = read_group(folder, group.id, wanted)
        refused += found.extra[:SHOWN] + [f"{group.id}: {name} {why}" for name, why in found.refused.items()]
        if found.unreadable and not found.absent:
            refused.append(f"{group.id} {found.unreadable}")
        for called, array in found.arrays.items():
            if ours[called] in given[group.id]:
                refused.append(f"{group.id}: {called} is {ours[called]}, which is there already")
            given[group.id].setdefault(ours[called], array)
    return given, refused


def _sizes(
    model: Any, own: Arrays, given: Arrays, expected: Arrays, manifest: Manifest
) -> dict[tuple[str, str], float]:
    """‖t‖ of (2) for every result, its largest element: by group and name."""
    delta = DELTA[manifest.dtype]
    rng = np.random.default_rng(0)
    squares = {(g, n): np.square(a) for g, held in expected.items() for n, a in held.items()}
    for _ in range(PASSES):
        moved, _ = forced(model, own, given, lambda a: a * (1 + delta * rng.choice([-1.0, 1.0], a.shape)))
        for (g, n), total in squares.items():
            squares[g, n] = total + np.square((moved[g][n] - expected[g][n]) / delta) / PASSES
    return {key: math.sqrt(float(total.max(initial=0.0))) for key, total in squares.items()}


class _Judge:
    """Turns results into findings."""

    def __init__(
        self,
        dtype: str,
        own: Arrays,
        given: Arrays,
        expected: Arrays,
        size: dict[tuple[str, str], float],
        reach: dict[str, Reach],
    ) -> None:
        self.unit = float(np.finfo(dtype).eps) / 2
        self.tiny = float(np.finfo(dtype).tiny)
        self.own, self.given, self.expected, self.size, self.reach = own, given, expected, size, reach

    def forward(self) -> Iterator[Finding]:
        """Outputs and running statistics, from the first layer to the loss."""
        for layer, r in self.reach.items():
            between, sources = self._walk(r.reads, "activations", "reads")
            made_by = f"{' and '.join([*reversed(between), layer])} from {' and '.join(sources) or 'the images'}"
            yield from self._of("forward", layer, "activations", layer, "output", made_by, r.output)
            for name in self._belonging("buffers", layer):
                yield from self._of("forward", layer, "buffers", name, name, made_by, r.parameters)

    def backward(self) -> Iterator[Finding]:
        """Gradients of outputs and parameters, from the last layer to the first."""
        for layer in reversed(list(self.reach)):
            r = self.reach[layer]
            between, ends = self._walk(r.readers, "gradients", "readers")
            made_by = f"the backward of {' and '.join([*ends, *between])}"
            yield from self._of("backward", layer, "gradients", layer, "gradient of the output", made_by, r.gradient)
            between, ends = self._walk((layer,), "gradients", "readers")
            made_by = f"the backward of {' and '.join([*ends, *between])}"
            for name in self._belonging("parameter_gradients", layer):
                yield from self._of("backward", layer, "parameter_gradients", name, name, made_by, r.parameters)

    def _walk(self, start: tuple[str, ...], group: str, on: str) -> tuple[list[str], list[str]]:
        """From `start` on to what was handed in: the layers that were not, and those that were."""
        between, ends, stack = dict[str, None](), dict[str, None](), list(start)
        while stack:
            name = stack.pop(0)
            if name in self.given[group] or name == step.LOSS:
                ends[name] = None
            elif name not in between:
                between[name] = None
                stack += getattr(self.reach[name], on)
        return list(between), list(ends)

    def _belonging(self, group: str, layer: str) -> list[str]:
        return [name for name in self.expected[group] if name.rpartition(".")[0] == layer]

    def _of(
        self, direction: str, layer: str, group: str, name: str, what: str, made_by: str, chain: Chain
    ) -> Iterator[Finding]:
        actual = self.given[group].get(name)
        if actual is None or name not in self.expected[group]:
            return
        bad = int((~np.isfinite(actual)).sum())
        if bad:
            says = f"{bad:,} of {actual.size:,} elements are not finite"
            yield Finding(direction, layer, what, made_by, False, math.inf, says)
            return
        expected = self.expected[group][name]
        error = np.abs(actual.astype(np.float64) - expected)
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape)) if error.size else ()
        k, size = chain.terms, self.size[group, name]
        if group == "gradients":
            size = math.hypot(size, self._cancelled(layer))
        bound = LAMBDA * self.unit * math.sqrt(k * (k + 1) / 2) * chain.condition * size + self.tiny  # (1), (7)
        ratio = float(error[at]) / bound if error.size else 0.0
        says = f"{ratio:.2g} × the bound {bound:.2g}"
        if not ratio <= 1:
            says += f", worst at [{', '.join(map(str, at))}]: {actual[at]:.9g}, expected {expected[at]:.9g}"
        final = self.own[group][name].astype(np.float64)
        largest = float(np.abs(final).max(initial=0.0))
        if largest and error.size:
            says += f"; end to end {np.abs(actual - final).max() / largest:.1g}"
        yield Finding(direction, layer, what, made_by, ratio <= 1, ratio, says)

    def _cancelled(self, layer: str) -> float:
        """(8): what the terms of a gradient may be that cancel."""
        y = self._best("activations", layer)
        largest = float(np.abs(y).max(initial=0.0))
        products = [
            float(np.abs(self._best("gradients", reader) * self._best("activations", reader)).max(initial=0.0))
            for reader in self.reach[layer].readers
            if reader != step.LOSS
        ]
        return max(products, default=0.0) / largest if largest else 0.0

    def _best(self, group: str, name: str) -> np.ndarray:
        """What was handed in, if it can be used, else ours."""
        actual = self.given[group].get(name)
        return self.expected[group][name] if actual is None or not np.isfinite(actual).all() else actual
