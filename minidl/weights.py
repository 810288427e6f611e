"""Weights from elsewhere: PyTorch state dicts kept as .npz or .safetensors, put into a model of the same names.

From PyTorch, once:

    numpy.savez("resnet18.npz", **{name: t.numpy() for name, t in model.state_dict().items()})
    safetensors.torch.save_file(model.state_dict(), "resnet18.safetensors")

A .pth file is a pickle, which may run code when it is read; it is not read here.
"""

from __future__ import annotations

import os
import tokenize
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minidl.checkpoint import one_line, read_safetensors
from minidl.errors import CheckpointError
from minidl.nn.module import Module
from minidl.nn.state import compare_states, unusable

__all__ = ["load_weights", "read_weights"]

MAX_BYTES = 16 << 30  # of all arrays of an .npz, unpacked: a small file can claim to be a large one


def load_weights(model: Module, path: str | os.PathLike[str], *, strict: bool = True) -> str:
    """Put the arrays of a file into `model`, by name.

    Args:
        model: what receives them, in its own dtype.
        path: an .npz or .safetensors file.
        strict: names and shapes must agree.  Otherwise what agrees is loaded (a classifier of another number of
            classes keeps its values, say).

    Returns:
        One line: how many arrays were loaded, and what differs.

    Raises:
        CheckpointError: the file is missing or damaged, or nothing fits, or (strict) something does not; or what
            fits holds integers, NaN or ∞, or a negative variance.

    Example:
        >>> import tempfile
        >>> from minidl import nn
        >>> layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
        >>> path = Path(tempfile.mkdtemp()) / "linear.npz"
        >>> np.savez(path, weight=np.ones((2, 3)), bias=np.ones(5))
        >>> load_weights(layer, path, strict=False)
        '1 of 2 arrays loaded; bias must have shape (2,), got (5,)'
    """
    given = read_weights(path)
    own = model.state_dict()
    difference = compare_states({name: array.shape for name, array in own.items()}, given)
    if strict and difference:
        raise CheckpointError(f"{path}: does not fit {type(model).__name__}: {difference}")
    fitting = {name: given[name] for name, array in own.items() if name in given and given[name].shape == array.shape}
    if not fitting:
        raise CheckpointError(f"{path}: nothing in it fits {type(model).__name__}: {difference}")
    for name, array in fitting.items():
        if (wrong := unusable(name, array)) is not None:
            raise CheckpointError(f"{path}: {wrong}")
    model.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(own)} arrays loaded{f'; {difference}' if difference else ''}"


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz or .safetensors file, numbers only.

    Args:
        path: of the file.

    Returns:
        The arrays by name.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or holds objects.

    Example:
        >>> import tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "a.npz")
        >>> np.savez(file, weight=np.ones(2, np.float32))
        >>> read_weights(file)
        {'weight': array([1., 1.], dtype=float32)}
    """
    kind = Path(path).suffix.lower()
    if kind == ".safetensors":
        arrays: Mapping[str, np.ndarray] = read_safetensors(path)[0]
    elif kind == ".npz":
        arrays = _read_npz(path)
    else:
        pickled = "; a pickle can run code: save its arrays as .npz" if kind in (".pth", ".pt", ".pkl", ".bin") else ""
        raise CheckpointError(f"{path}: weights must be .npz or .safetensors, got {kind or 'no suffix'!r}{pickled}")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise CheckpointError(f"{path}: {name} must hold real numbers, got dtype {array.dtype}")
    return dict(arrays)


def _read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise CheckpointError(f"{path}: unpacks to {size:,} bytes, more than the {MAX_BYTES:,} that are read")
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files}
    except (
        OSError,
        ValueError,
        EOFError,
        SyntaxError,  # an array's header is a Python literal
        tokenize.TokenError,
        MemoryError,
        NotImplementedError,
        zipfile.BadZipFile,
        zipfile.error,
    ) as error:
        raise CheckpointError(f"{path}: is truncated or no .npz of arrays ({one_line(error)})") from error
