"""Checkpoints: one .safetensors file, arrays and (in its header) a JSON dictionary.  No code, no pickle.

    8 bytes    length of the header, little-endian
    header     JSON: name → dtype, shape, place in the data; "__metadata__" → {"minidl": the dictionary, as JSON text}
    data       the arrays, end to end

Any tool that reads safetensors reads the arrays.  A file is written beside its place and renamed into it, so that an
interrupted run leaves the one before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from minidl.errors import CheckpointError
from minidl.files import written_whole
from minidl.nn.module import Module
from minidl.nn.state import unusable

__all__ = ["load", "load_module", "one_line", "read_safetensors", "save"]

_KEY = "minidl"


def save(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write `arrays` and `meta` to `path`, whole or not at all; the same content gives the same bytes.

    Args:
        path: where, by convention ending in .safetensors.
        arrays: by name.
        meta: anything that JSON holds.

    Raises:
        TypeError: `meta` holds something that JSON does not.
        UserError: the disk is full, or the place cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> save(path, {"w": np.ones(2)}, {"epoch": 3})
        >>> load(path)
        ({'w': array([1., 1.])}, {'epoch': 3})
    """
    text = json.dumps(meta, sort_keys=True)
    with written_whole(path) as beside:
        try:
            save_file({name: np.asarray(a, order="C") for name, a in arrays.items()}, beside, {_KEY: text})
        except SafetensorError as error:  # an I/O error in the library's own words
            raise OSError(str(error)) from error


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the dictionary that `save` wrote.

    Args:
        path: of the file.

    Returns:
        The arrays by name, and the dictionary.

    Raises:
        CheckpointError: the file is missing, damaged, or another program's.

    Example:
        >>> import tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "a.safetensors")
        >>> save(file, {"weight": np.ones(2, np.float32)}, {"epoch": 3})
        >>> load(file)
        ({'weight': array([1., 1.], dtype=float32)}, {'epoch': 3})
    """
    arrays, metadata = read_safetensors(path)
    try:
        meta = json.loads(metadata[_KEY])
    except KeyError:
        raise CheckpointError(f"{path}: is no minidl checkpoint; it holds bare arrays") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is damaged: its dictionary is not JSON") from error
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path}: is damaged: its dictionary is a {type(meta).__name__}")
    return arrays, meta


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of any .safetensors file.

    Args:
        path: of the file.

    Returns:
        The arrays by name, and the metadata of its header.

    Raises:
        CheckpointError: the file is missing, truncated, no safetensors file, or of a dtype that NumPy has not.

    Example:
        >>> import tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "a.safetensors")
        >>> save_file({"weight": np.ones(2, np.float32)}, file)
        >>> read_safetensors(file)
        ({'weight': array([1., 1.], dtype=float32)}, {})
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is truncated or no safetensors file ({one_line(error)})") from error
    except (TypeError, AttributeError) as error:  # bfloat16, float8
        raise CheckpointError(f"{path}: holds a dtype that NumPy has not ({one_line(error)})") from error


def one_line(error: BaseException) -> str:
    """The first line of what `error` says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_module(module: Module, arrays: Mapping[str, np.ndarray], source: str | os.PathLike[str]) -> None:
    """Set a model's state from a checkpoint's arrays, names and shapes exactly alike.

    Args:
        module: the model.
        arrays: by the model's names.
        source: the file they came from, for the message.

    Raises:
        CheckpointError: they are another model's; the message gives the first names or shapes that differ.  Or one
            of them holds what no parameter is: integers, NaN, a negative variance.

    Example:
        >>> from minidl import nn
        >>> layer = nn.Linear(2, 1, rng=np.random.default_rng(0))
        >>> load_module(layer, {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)}, "here")
        >>> layer.weight.data
        array([[1., 1.]], dtype=float32)
    """
    for name in module.state_dict().keys() & arrays.keys():
        if (wrong := unusable(name, arrays[name])) is not None:
            raise CheckpointError(f"{source}: is damaged: {wrong}")
    try:
        module.load_state_dict(arrays)
    except ValueError as error:
        difference = str(error).partition("differ: ")[2]
        raise CheckpointError(f"{source}: belongs to another model than this: {difference}") from error
