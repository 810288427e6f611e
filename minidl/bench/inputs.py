"""The arrays of a case: the same data and the same initial weights for everybody who runs it.

They are made here, by ours, and go to the others in a file: nobody else needs our layers.

    x, weight, …    the inputs of an op, by the names in `Case.shapes`, and `gy`, the cotangent of its result
    labels          of cross_entropy, and of networks beside `x`, the images
    state/NAME      parameters and buffers of a network, by the names of `minidl.models`
    class_counts    images of each class, for logit adjustment, and `shift`, what it adds to the logits
    basis           filters (m, 3, 3) of convolutions on a fixed basis
    p/NAME, g/NAME  parameters and gradients that SGD updates
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from minidl import nn
from minidl.bench.cases import Case
from minidl.models import create_model
from minidl.models.count import count
from minidl.priors import LogitAdjustment, convert, filter_basis

__all__ = ["build_model", "counted", "inputs"]

Arrays = dict[str, np.ndarray]


def inputs(case: Case, seed: int = 0) -> Arrays:
    """Everything that `case` computes with: arrays of its own, as if they had been read from a file."""
    return {name: np.array(array, order="C") for name, array in _arrays(case, np.random.default_rng(seed)).items()}


def _arrays(case: Case, rng: np.random.Generator) -> Arrays:
    if case.op == "sgd":
        model = create_model(case.params["model"], num_classes=1000, rng=rng)
        arrays = {f"p/{name}": p.numpy() for name, p in model.named_parameters()}
        return arrays | {f"g/{name[2:]}": _normal(rng, a.shape) for name, a in arrays.items()}
    if case.is_network:
        return _network(case, rng)
    arrays = {name: _input(name, shape, rng) for name, shape in case.shapes.items()}
    arrays["gy"] = _normal(rng, case.output)
    if case.op == "cross_entropy":
        arrays["labels"] = rng.integers(0, case.shapes["z"][1], case.shapes["z"][0])
    return arrays


def _input(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    values = _normal(rng, shape)
    if name == "weight" and len(shape) == 4:
        return values / np.float32(np.sqrt(np.prod(shape[1:])))
    if name in ("sigma", "weight"):  # widths, and the scales of a norm
        return 1 + np.float32(0.1) * np.tanh(values)
    if name in ("eta", "lam"):
        return abs(values)
    return values


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape, dtype=np.float32))


def _network(case: Case, rng: np.random.Generator) -> Arrays:
    p = case.params
    state = build_model(p, rng).state_dict()
    arrays = {f"state/{name}": array for name, array in state.items()}
    arrays["x"] = _normal(rng, (p["batch"], 3, p["image"], p["image"]))
    arrays["labels"] = rng.integers(0, p["classes"], p["batch"])
    if p.get("logits"):
        counts = (5000 * 0.01 ** (np.arange(p["classes"]) / max(p["classes"] - 1, 1))).astype(np.int64)
        arrays |= {"class_counts": counts, "shift": LogitAdjustment(counts).shift.numpy()}
    if p.get("conv") == "basis":
        arrays["basis"] = filter_basis((3, 3)).astype(np.float32)
    return arrays


def counted(case: Case) -> Case:
    """A network's case with its additions and multiplications: a backward takes two of each of the forward's.

    Only layers that multiply count, see `models.count`.
    """
    p = case.params
    with nn.init.skip():
        model = build_model(p, np.random.default_rng(0))
    forward = 2.0 * count(model, (3, p["image"], p["image"])).multiply_adds * p["batch"]
    return replace(case, flops=3 * forward if case.backward else forward)


def build_model(params: dict[str, Any], rng: np.random.Generator) -> nn.Module:
    """Our network for a case's parameters; nothing in it is left out at random but the noise of the priors."""
    options = {"dropout": 0.0} if params["model"].startswith("mobilenet") else {}
    model = create_model(params["model"], num_classes=params["classes"], rng=rng, **options)
    wanted = {what: params.get(what) for what in ("pool", "conv", "classifier")}
    if any(wanted.values()):
        convert(model, rng=rng, **wanted)
    return model
