"""What tests of golden vectors and traces share: minidl itself in the part of the other implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from minidl import Tensor, ops
from minidl.check.golden import step
from minidl.check.golden.arrays import read_own, write_group
from minidl.check.golden.manifest import Group, decode, read_manifest
from minidl.check.golden.vectors import argument_names
from minidl.check.spec import CASES
from minidl.nn import Module

BY_NAME = {case.name: case for case in CASES}


def answered(group: Group, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The results of a group, computed by `minidl.ops` from nothing but the manifest and its arrays."""
    case = BY_NAME[str(group.operation)]
    given = [a.name for a in group.arrays if a.name.startswith(("input.", "constant."))]
    names = argument_names(case, len(given) + len(group.absent))
    xs = {}
    for name in names:
        found = arrays.get(f"input.{name}", arrays.get(f"constant.{name}"))
        xs[name] = None if found is None else Tensor(found, requires_grad=f"input.{name}" in arrays)
    y = case.op(*xs.values(), **{name: decode(value, arrays) for name, value in group.params.items()})
    if "cotangent" in arrays:
        y.backward(arrays["cotangent"])
    return {n: y.numpy() if n == "output" else xs[n.removeprefix("grad.")].grad for n in group.results}


def answer_all(vectors: Path, results: Path, form: str) -> None:
    """Write right results for all golden vectors."""
    results.mkdir()
    for group in read_manifest(vectors, "operations").groups:
        write_group(results, group.id, answered(group, read_own(vectors, group.id, group.specs())), form)


def take_step(
    source: Path,
    results: Path,
    *,
    keep: Callable[[str], bool] = lambda name: True,
    change: Callable[[Module], None] = lambda model: None,
    form: str = "npz",
) -> None:
    """Write the results of an exported step, computed by minidl in the export's dtype; `change` plants a mistake."""
    manifest = read_manifest(source, "model")
    own = {group.id: read_own(source, group.id, group.specs()) for group in manifest.groups}
    m = manifest.model or {}
    model = step.made(m["name"], m["num_classes"], m["options"], m["priors"], m["image_size"], manifest.seed).astype(
        manifest.dtype
    )
    model.load_state_dict(own["parameters"])
    step.noise_of(model, own.get("noise", {}))
    change(model)
    with step.watched(model) as steps:
        loss = ops.cross_entropy(model(Tensor(own["inputs"]["x"])), own["inputs"]["labels"])
    for layer in steps.layers.values():
        layer.output.retain_grad()
    loss.backward()
    kept = {name: layer.output for name, layer in steps.layers.items() if keep(name)}
    groups = {
        "activations": {n: y.numpy() for n, y in kept.items()} | {"loss": loss.numpy()},
        "gradients": {n: y.grad for n, y in kept.items() if y.grad is not None},
        "parameter_gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
        "buffers": {n: b.numpy() for n, b in model.named_buffers()},
    }
    results.mkdir()
    for group, arrays in groups.items():
        write_group(results, group, arrays, form)
