"""How two state dicts differ, said in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class StateDifference:
    """What keeps a state dict from fitting a model; false if nothing does.

    Attributes:
        mismatched: (name, shape in the model, shape given) of arrays that have another shape.
        missing: names that the model has and the state has not.
        unexpected: names that the state has and the model has not.
    """

    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.mismatched or self.missing or self.unexpected)

    def __str__(self) -> str:
        """One line: the first of each kind, and how many more there are."""
        parts = []
        if self.mismatched:
            name, expected, given = self.mismatched[0]
            parts.append(f"{name} must have shape {expected}, got {given}{_more(self.mismatched)}")
        if self.missing:
            parts.append(f"{self.missing[0]} is missing{_more(self.missing)}")
        if self.unexpected:
            parts.append(f"{self.unexpected[0]} is not in the model{_more(self.unexpected)}")
        return "; ".join(parts) or "no difference"


def unusable(name: str, array: np.ndarray) -> str | None:
    """Why an array can be no parameter or statistic called `name`, in words; None if it can.

    Example:
        >>> unusable("bn.running_var", np.array([1.0, -1.0]))
        'bn.running_var must be >= 0, got -1.0'
    """
    if array.dtype.kind != "f":
        return f"{name} must hold floating-point numbers, got dtype {array.dtype}"
    if not np.isfinite(array).all():
        return f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}"
    if name.rpartition(".")[2] == "running_var" and (array < 0).any():
        return f"{name} must be >= 0, got {array.min()}"
    return None


def compare_states(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> StateDifference:
    """The difference between a model's shapes by name and the arrays of a state dict.

    PyTorch's `num_batches_tracked` counters are passed over: nothing here needs them.

    Example:
        >>> import numpy as np
        >>> print(compare_states({"weight": (3, 2), "bias": (3,)}, {"weight": np.zeros((2, 2))}))
        weight must have shape (3, 2), got (2, 2); bias is missing
    """
    shapes = {name: tuple(array.shape) for name, array in given.items()}
    return StateDifference(
        mismatched=tuple((n, s, shapes[n]) for n, s in expected.items() if n in shapes and shapes[n] != s),
        missing=tuple(n for n in expected if n not in shapes),
        unexpected=tuple(n for n in shapes if n not in expected and n.rpartition(".")[2] != "num_batches_tracked"),
    )


def _more(items: tuple[Any, ...]) -> str:
    return f" (and {len(items) - 1} more like it)" if len(items) > 1 else ""
