"""What an export holds: `manifest.json`, whose schema is `manifest.schema.json`, and a twin of plain lines.

`manifest.txt` says what a program in C needs and no more, one record a line, fields parted by spaces:

    minidl-golden 1 operations raw float32           version, kind, storage, dtype
    group conv2d-0 conv2d                            id, operation ("-" in a model)
    param stride 2 2                                 name, value: numbers and words, or JSON without spaces
    absent bias                                      an input that this call leaves out
    array input.x input float32 2 3 6 5              name, role, dtype, shape
    result output float32 2 4 4 4                    what is to be handed in: name, dtype, shape

A manifest may come from anybody, too: names that could leave its folder, and shapes without end, are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minidl import __version__
from minidl.check.golden.arrays import DTYPES, FORMATS, NAME, Spec, place
from minidl.errors import UserError

__all__ = ["Entry", "Group", "Manifest", "decode", "encode", "read_manifest", "write_manifest"]

VERSION = 1
KINDS = ("operations", "model")
ROLES = ("input", "noise", "parameter", "buffer", "cotangent", "expected", "bound")
SCHEMA = Path(__file__).with_name("manifest.schema.json")
MAX_BYTES = 64 << 20  # of a manifest
MAX_ELEMENTS = 1 << 40  # of an array


@dataclass(frozen=True)
class Entry:
    """One array of a group: its name, what it is for, its kind."""

    name: str
    role: str
    spec: Spec


@dataclass(frozen=True)
class Group:
    """Arrays that lie together, and the results that are handed in under the same name.

    Attributes:
        id: "conv2d-0", or in a model "inputs", "parameters", "activations", …
        arrays: what the export holds.
        results: what another implementation writes, by name; empty where nothing is asked for.
        operation: of `minidl.ops`, None in a model.
        params: its keyword arguments, complete, as JSON; {"array": NAME} stands for an array of this group.
        absent: inputs that the call leaves out.
    """

    id: str
    arrays: tuple[Entry, ...]
    results: Mapping[str, Spec] = field(default_factory=dict)
    operation: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def specs(self, *roles: str) -> dict[str, Spec]:
        """The arrays of these roles (of all, if none is named)."""
        return {a.name: a.spec for a in self.arrays if not roles or a.role in roles}


@dataclass(frozen=True)
class Manifest:
    """The whole of it.

    Attributes:
        kind: "operations" or "model".
        storage: "npz", "safetensors" or "raw".
        dtype: of inputs and results.
        seed: from which all was drawn.
        formulas: texts by name: equations of each operation, the bound.
        groups: in order.
        model: what a model was built from, and its layers; None for operations.
    """

    kind: str
    storage: str
    dtype: str
    seed: int
    groups: tuple[Group, ...]
    formulas: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None

    def group(self, name: str) -> Group:
        """The group called `name`.

        Raises:
            UserError: there is none.
        """
        for group in self.groups:
            if group.id == name:
                return group
        raise UserError(f"manifest: there is no group {name!r}")


def encode(name: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A keyword argument as JSON; its arrays go to `arrays`, and {"array": their name} in their place.

    Example:
        >>> arrays = {}
        >>> encode("key", (slice(None, 2), ..., [0, 1]), arrays)
        [{'slice': [None, 2, None]}, {'ellipsis': True}, {'array': 'param.key.2'}]
        >>> encode("stride", (2, 1), arrays), encode("min", -np.inf, arrays), sorted(arrays)
        ([2, 1], {'float': '-inf'}, ['param.key.2'])
    """
    if name == "key" and not isinstance(value, tuple):
        value = (value,)  # an index of one part
    return _encode(f"param.{name}", value, arrays, lists_are_arrays=name in ("key", "indices"))


def _encode(path: str, value: Any, arrays: dict[str, np.ndarray], lists_are_arrays: bool) -> Any:
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, list) and lists_are_arrays:
        value = np.array(value, None if len(value) else int)
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"array": path}
    if isinstance(value, (tuple, list)):
        return [_encode(f"{path}.{i}", v, arrays, lists_are_arrays) for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The keyword argument that `encode` wrote; lists come as tuples.

    Example:
        >>> decode([{"slice": [None, 2, None]}, {"ellipsis": True}, {"array": "a"}], {"a": np.arange(2)})
        (slice(None, 2, None), Ellipsis, array([0, 1]))
    """
    if isinstance(value, list):
        return tuple(decode(v, arrays) for v in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "slice" in value:
        return slice(*value["slice"])
    return ... if "ellipsis" in value else float(value["float"])


# Writing


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, its schema beside it, and `manifest.txt` into `folder`."""
    text = json.dumps(_document(manifest), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    (folder / "manifest.txt").write_text("".join(f"{line}\n" for line in _lines(manifest)), encoding="utf-8")
    (folder / SCHEMA.name).write_bytes(SCHEMA.read_bytes())


def _document(manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = {
        "$schema": SCHEMA.name,
        "format": "minidl-golden",
        "version": VERSION,
        "made_by": f"minidl {__version__}",
        "kind": manifest.kind,
        "storage": manifest.storage,
        "dtype": manifest.dtype,
        "seed": manifest.seed,
        "formulas": dict(manifest.formulas),
        "groups": [_group_document(group, manifest.storage) for group in manifest.groups],
    }
    if manifest.model is not None:
        document["model"] = dict(manifest.model)
    return document


def _group_document(group: Group, storage: str) -> dict[str, Any]:
    def kind(spec: Spec) -> dict[str, Any]:
        return {"dtype": spec.dtype, "shape": list(spec.shape)}

    call = {"operation": group.operation, "params": dict(group.params), "absent": list(group.absent)}
    return {
        "id": group.id,
        "place": place(group.id, storage),
        **(call if group.operation else {}),
        "arrays": [{"name": a.name, "role": a.role, **kind(a.spec)} for a in group.arrays],
        "results": [{"name": name, **kind(spec)} for name, spec in group.results.items()],
    }


def _lines(manifest: Manifest) -> Iterator[str]:
    yield f"minidl-golden {VERSION} {manifest.kind} {manifest.storage} {manifest.dtype}"
    for group in manifest.groups:
        yield f"group {group.id} {group.operation or '-'}"
        for name, value in group.params.items():
            yield f"param {name} {_words(value)}"
        for name in group.absent:
            yield f"absent {name}"
        for array in group.arrays:
            yield " ".join(["array", array.name, array.role, array.spec.dtype, *map(str, array.spec.shape)])
        for name, spec in group.results.items():
            yield " ".join(["result", name, spec.dtype, *map(str, spec.shape)])


def _words(value: Any) -> str:
    simple = value if isinstance(value, list) else [value]
    if simple and all(isinstance(v, (int, float, str)) and not isinstance(v, bool) for v in simple):
        return " ".join(v if isinstance(v, str) else repr(v) for v in simple)
    return json.dumps(value, separators=(",", ":"))


# Reading


def read_manifest(folder: Path, kind: str) -> Manifest:
    """The manifest of an export of `kind`.

    Raises:
        UserError: it is missing, damaged, of another kind or version, or names what it may not.
    """
    path = folder / "manifest.json"
    try:
        if not path.is_file():
            raise UserError(f"{folder}: holds no manifest.json; is it a folder that `check export` wrote?")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: has more than {MAX_BYTES:,} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
        manifest = _parsed(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{path}: is damaged or no manifest ({what:.120})") from error
    if manifest.kind != kind:
        use = {"operations": "`check verify`", "model": "`check trace`"}[manifest.kind]
        raise UserError(f"{folder}: is an export of kind {manifest.kind!r}, which {use} judges")
    return manifest


def _parsed(document: Any) -> Manifest:
    if document["format"] != "minidl-golden" or document["version"] != VERSION:
        raise ValueError(f"must be minidl-golden {VERSION}, got {document['format']} {document['version']}")
    groups = tuple(_parsed_group(group) for group in document["groups"])
    if len({group.id for group in groups}) != len(groups):
        raise ValueError("two groups share an id")
    model = document.get("model")
    if (document["kind"] == "model") != (model is not None):
        raise ValueError("model must be there in a manifest of that kind, and only there")
    if model is not None:
        _check_model(model)
    return Manifest(
        kind=_one_of(KINDS, document["kind"]),
        storage=_one_of(FORMATS, document["storage"]),
        dtype=_one_of(("float32", "float64"), document["dtype"]),
        seed=int(document["seed"]),
        groups=groups,
        model=model,
    )


def _check_model(model: Any) -> None:
    kinds = {"name": str, "num_classes": int, "options": dict, "priors": dict, "image_size": int, "layers": list}
    for key, kind in kinds.items():
        if not isinstance(model[key], kind):
            raise ValueError(f"model: {key} must be a {kind.__name__}, got {model[key]!r:.40}")
    for layer in model["layers"]:
        for path in (layer["name"], *layer["also"]):
            _name(path)


def _parsed_group(group: Any) -> Group:
    arrays = tuple(Entry(_name(a["name"]), _one_of(ROLES, a["role"]), _spec(a)) for a in group["arrays"])
    results = {_name(r["name"]): _spec(r) for r in group["results"]}
    if len({a.name for a in arrays}) != len(arrays) or len(results) != len(group["results"]):
        raise ValueError(f"two arrays of {group['id']} share a name")
    return Group(
        id=_name(group["id"]),
        arrays=arrays,
        results=results,
        operation=group.get("operation"),
        params=group.get("params", {}),
        absent=tuple(group.get("absent", ())),
    )


def _one_of(allowed: tuple[str, ...], value: Any) -> str:
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}, got {value!r:.40}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"a name must be letters, digits and . _ -, got {value!r:.40}")
    return value


def _spec(entry: Any) -> Spec:
    shape = tuple(entry["shape"])
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape) or len(shape) > 32:
        raise ValueError(f"a shape must be at most 32 integers >= 0, got {shape!r:.40}")
    spec = Spec(_one_of(DTYPES, entry["dtype"]), shape)
    if spec.nbytes > MAX_ELEMENTS:
        raise ValueError(f"{entry['name']} is too large: {spec}")
    return spec
