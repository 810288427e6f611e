"""One training step of a seeded model, written down: what a port is compared with, layer by layer.

    inputs                x, labels
    parameters            the model's state before the step, under PyTorch's names: weights, running statistics
    noise                 what dropout and other random layers drew, in order
    activations           output of every layer in the order in which they were computed; "loss", the mean cross-entropy
    gradients             ∂loss/∂(output of the layer)
    parameter_gradients   ∂loss/∂parameter
    buffers               running statistics after the step

The step is computed in float64 from values that the export's dtype holds, and rounded to it when it is written.
A new model's biases are 0 and its norms' scales 1, which hides mistakes; so vectors among the state are moved off.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.check.golden import step
from minidl.check.golden.arrays import NAME, Spec, write_group
from minidl.check.golden.folder import folder_written_whole
from minidl.check.golden.manifest import Entry, Group, Manifest, write_manifest
from minidl.errors import UserError
from minidl.models import model_info, model_names
from minidl.nn import Module

__all__ = ["export_model"]

FORMULAS = {
    "loss": "mean over the batch of -log softmax(logits)[label]",
    "dropout": "a value is kept where its number in noise is >= p, and divided by 1 - p; else 0",
    "bound": "see `python -m minidl.check trace`: every layer is judged on the inputs that it was given",
}
ASKED = ("activations", "gradients", "parameter_gradients", "buffers")


def export_model(
    name: str,
    folder: str | os.PathLike[str],
    *,
    form: str = "npz",
    dtype: str = "float32",
    seed: int = 0,
    batch_size: int = 4,
    image_size: int | None = None,
    num_classes: int = 10,
    options: Mapping[str, Any] | None = None,
    priors: Mapping[str, str] | None = None,
) -> Manifest:
    """Write one training step of a model into a new folder, whole or not at all.

    Args:
        name: one of `minidl.models.model_names()`.
        folder: where; it must not be there yet.
        form: "npz", "safetensors" or "raw".
        dtype: "float32" or "float64".
        seed: of weights, images and labels; the same seed gives the same bytes.
        batch_size: images, drawn from a normal distribution.
        image_size: their side; the model's own if None.
        num_classes: outputs.
        options: the model's own, such as `shortcut`.
        priors: what `minidl.priors.convert` puts in: {"pool": "gaussian", "conv": "gaussian", "classifier": "statrot"}.

    Raises:
        UserError: there is no such model, option or prior, it cannot take such images, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> target = os.path.join(tempfile.mkdtemp(), "step")
        >>> manifest = export_model("resnet8", target, batch_size=2, image_size=8)
        >>> [group.id for group in manifest.groups]
        ['inputs', 'parameters', 'activations', 'gradients', 'parameter_gradients', 'buffers']
        >>> [layer["name"] for layer in manifest.model["layers"]][:4]
        ['conv1', 'bn1', 'relu', 'layer1.0.conv1']
    """
    described: dict[str, Any] = {
        "name": name,
        "num_classes": num_classes,
        "options": dict(options or {}),
        "priors": dict(priors or {}),
        "batch_size": batch_size,
        "image_size": image_size or (model_info(name).image_size if name in model_names() else 1),
    }
    with folder_written_whole(folder) as beside:
        content, layers = _content(described, dtype, seed)
        for group, held in content.items():
            write_group(beside, group, {n: a for n, (_, a) in held.items()}, form)
        groups = tuple(map(_group, content, content.values()))
        manifest = Manifest("model", form, dtype, seed, groups, FORMULAS, {**described, "layers": layers})
        write_manifest(beside, manifest)
    return manifest


Content = dict[str, dict[str, tuple[str, np.ndarray]]]  # by group and name: role and array


def _content(described: Mapping[str, Any], dtype: str, seed: int) -> tuple[Content, list[dict[str, Any]]]:
    """What every group holds, and the layers as the manifest has them."""
    size, num_classes, options = described["image_size"], described["num_classes"], described["options"]
    model = step.made(described["name"], num_classes, options, described["priors"], size, seed)
    rng = np.random.default_rng([seed, 1])
    model.load_state_dict({n: _moved(a, rng).astype(dtype) for n, a in model.state_dict().items()})
    state = model.state_dict()
    x = rng.standard_normal((described["batch_size"], options.get("in_channels", 3), size, size)).astype(dtype)
    labels = rng.integers(num_classes, size=described["batch_size"])
    noise = step.recorded_noise(model, dtype)
    arrays, layers = _computed(model, x.astype(np.float64), labels)

    buffers = {n for n, _ in model.named_buffers()}
    content: Content = {
        "inputs": {"x": ("input", x), "labels": ("input", labels)},
        "parameters": {n: ("buffer" if n in buffers else "parameter", a.astype(dtype)) for n, a in state.items()},
        "noise": {n: ("noise", a) for n, a in noise.items()},
    }
    content |= {group: {n: ("expected", a.astype(dtype)) for n, a in arrays[group].items()} for group in ASKED}
    return {group: held for group, held in content.items() if held}, layers


def _group(name: str, held: Mapping[str, tuple[str, np.ndarray]]) -> Group:
    for path in held:
        if not NAME.fullmatch(path):
            raise UserError(f"export: {path!r} cannot be a file's name")
    entries = tuple(Entry(n, role, Spec.of(a)) for n, (role, a) in held.items())
    return Group(name, entries, {n: Spec.of(a) for n, (_, a) in held.items()} if name in ASKED else {})


def _moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vectors off 0 and 1: positive ones (scales, variances) times 1/2 … 3/2, others by a tenth; the rest as it is."""
    if array.ndim != 1:
        return array
    if np.all(array > 0):
        return array * rng.uniform(0.5, 1.5, array.shape)
    return array + 0.1 * rng.standard_normal(array.shape)


def _computed(
    model: Module, x: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, dict[str, np.ndarray]], list[dict[str, Any]]]:
    """The arrays of every group that another implementation hands in, and the layers as the manifest has them."""
    with step.watched(model) as steps:
        loss = step.loss_of(model, x, labels)
    for layer in steps.layers.values():
        layer.output.retain_grad()
    loss.backward()
    outputs = {layer.name: layer.output for layer in steps.layers.values()}
    arrays = {
        "activations": {n: y.numpy() for n, y in outputs.items()} | {step.LOSS: loss.numpy()},
        "gradients": {n: y.grad for n, y in outputs.items() if y.grad is not None},
        "parameter_gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
        "buffers": {n: b.numpy() for n, b in model.named_buffers()},
    }
    layers = [
        {"name": layer.name, "kind": type(layer.module).__name__, "also": layer.also} for layer in steps.layers.values()
    ]
    return arrays, layers
