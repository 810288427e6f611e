"""What is asked of any CuPy, to see that the stand-in answers as the real one does.

    python -m tests.gpu.strict.probes > tests/gpu/strict/probes.json      on the real CuPy, with a card or on the CPU

Each probe is one line of Python with `cp` (CuPy), `x` and `f` ([[0, 1, 2], [3, 4, 5]] in float64 and float32 on the
device), `i` ([1, 0] in int64 there) and `n` (NumPy's ones((2, 3))).  Its outcome is a dtype, a shape and values, or the
name of what it raises; and, if it raises nothing, whether the host waited for the device.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

PROBES = """
np.asarray(x)
np.array(x)
x.__array__()
x + n
n + x
x @ n.T
cp.stack([x[0], n[0]])
cp.where(x > 1, x, n)
cp.concatenate([x, n])
x[:, 0] + np.array(1.0)
x + np.float32(1)
f + np.float32(1)
f * np.float64(2)
f * 2.0
f * cp.asarray(2.0)
f ** -0.5
i / 2
i / i
i * 2.5
x > 1
(x > 1).sum()
f.mean()
i.mean()
f.sum(axis=(0, 1))
f.sum(axis=(0, 1), keepdims=True)
f.sum(axis=())
f.max(axis=(0, 1), keepdims=True)
f.argmax(axis=1)
x[0, 0]
x[0]
x[..., ::-1]
x[None, :, 1]
x[:, i]
x[i]
x[[1, 0]]
x[np.array([1, 0])]
x[x > 1]
cp.nonzero(x)
cp.unique(i)
cp.bincount(i)
cp.take(x, i, axis=1)
cp.take(x, np.array([1, 0]), axis=1)
cp.take(x, i, axis=1, mode='clip')
cp.take_along_axis(x, i[:, None], 1)
float(x[0, 1])
int(i[0])
bool(x[0, 1] > 0)
x[0, 1].item()
x.tolist()
x.get()
cp.asnumpy(x)
math.sqrt(x[0, 1])
range(i[0])
1.0 in x
len(x)
[row.shape for row in x]
x.shape == x.T.shape
np.exp(x)
np.sum(x)
np.where(x > 1, x, 0)
np.stack([x, x])
np.linalg.norm(x)
cp.exp(x, where=x > 1)
cp.sum(x, initial=0.0)
x.sum(where=x > 1)
cp.max(x, initial=0.0)
cp.clip(x, 1, 3)
cp.clip(x, min=1, max=3)
x.clip(1, 3)
x.clip(min=1)
cp.add(x, x, out=x.copy())
cp.matmul(x, x.T, out=cp.empty((2, 2)))
x.__imatmul__(x.T)
cp.pad(x, 1)
cp.split(x, [1], axis=1)
cp.moveaxis(x, 0, 1)
cp.flip(x, (0, 1))
x.transpose([1, 0])
x.transpose((1, 0))
x.reshape(3, -1)
x.reshape((3, 2))
x[:1].squeeze((0,))
x.__setitem__((slice(None), slice(1, None)), x[:, :2])
x[:, 1:].__iadd__(x[:, :2])
x.__setitem__(slice(None), x)
x.__iadd__(x)
x.swapaxes(0, 1)
x.astype(cp.float32, copy=False)
x.astype(object)
x.copy(order='F').flags.f_contiguous
x.flags.writeable
cp.array(x, order='F').flags.f_contiguous
cp.array(x.T, order='K').flags.f_contiguous
cp.asarray(n.T).flags.f_contiguous
cp.asarray(x, order='C') is x
cp.asarray([1.0, 2.0])
cp.asarray(1e-6, 'f')
cp.array([x[0, 0], x[0, 1]])
cp.full_like(f, 2, shape=(2,))
cp.full((2,), -cp.inf, f.dtype)
cp.zeros((2, 1), 'uint8')
cp.ones_like(f)
cp.arange(3)
cp.arange(-1, 2)
cp.eye(2)
cp.broadcast_to(x[:1], (2, 3))
cp.broadcast_to(cp.asarray(1.5), (2,))
cp.expand_dims(x, 0).shape
cp.result_type(f, float)
cp.add.reduceat(x, cp.asarray([0, 1]), axis=1)
cp.maximum.reduceat(x[0], cp.asarray([0, 1]))
cp.multiply.at(x, (0, 0), 2.0)
cp.add.at(x, (i, i), cp.asarray([1.0, 2.0]))
cp.add.reduce(x, axis=0)
cp.einsum('ij->i', x)
cp.var(x, axis=0, ddof=1)
cp.linalg.norm(x)
cp.logical_and(x > 1, x < 4)
cp.isfinite(x).all()
cp.sort(x, axis=None)
cp.argsort(x, axis=1)
cp.cumsum(x, axis=1)
cp.roll(x, 1, 1)
cp.repeat(x, 2, 1)
cp.outer(x[0], x[0])
cp.isclose(x, x).all()
cp.allclose(x, x)
cp.array_equal(x, x)
cp.minimum(f, 0.5)
cp.maximum(f, cp.asarray(0.5))
cp.sqrt(cp.asarray(4.0, 'f'))
cp.abs(x - 3)
abs(x - 3)
-f
~(x > 1)
(x > 1) | (x < 1)
cp.conj(x)
x.real
(x + 1j).imag
x.T.shape
x.mT.shape
cp.geomspace(1, 2)
cp.errstate()
cp.insert(x, 0, 1.0)
cp.unstack(x)
cp.nditer
cp.einsum_path
cp.ascontiguousarray(x.T).flags.c_contiguous
cp.lib.stride_tricks.sliding_window_view(x, 2, axis=1)
cp.lib.stride_tricks.as_strided(x, (2, 2), (24, 8))
x.__setitem__(0, n[0])
x.__setitem__((0, 0), np.array(1.0))
x.__setitem__(0, x[1])
x.__setitem__(0, 7.0)
x.__setitem__(x > 1, 0.0)
x.__setitem__(i, x[:2])
x.__setitem__((i, cp.asarray([1, 2])), cp.asarray([7.0, 8.0]))
x.__setitem__((i, cp.asarray([1, 1])), 7.0)
x.__setitem__((cp.asarray([0, 0]), cp.asarray([1, 1])), cp.asarray([1.0, 2.0]))
x[cp.asarray([5])]
x[5]
x[:, 7]
cp.take(x, cp.asarray([7]), axis=0)
x.__iadd__(1)
x.__iadd__(x[:1])
i.__iadd__(1.5)
f.__iadd__(x)
x.dot(x.T)
x.device.id
x.nbytes
x.strides
x.item()
hash(x)
""".strip().split("\n")

STRICTER = {  # on purpose, where the real one does something else than NumPy does, or nothing that is defined
    "x[cp.asarray([5])]": "wraps around",
    "cp.take(x, cp.asarray([7]), axis=0)": "wraps around",
    "x.__setitem__((cp.asarray([0, 0]), cp.asarray([1, 1])), cp.asarray([1.0, 2.0]))": "the last to come stays",
    "x.__setitem__(i, x[:2])": "elements are read before and after they are written",
    "x.__setitem__((slice(None), slice(1, None)), x[:, :2])": "likewise",
    "x[:, 1:].__iadd__(x[:, :2])": "likewise",
}


def outcome(probe: str, cp: Any) -> str:
    """What comes of a probe, in one line."""
    x = cp.asarray(np.arange(6.0).reshape(2, 3))
    names = {"cp": cp, "np": np, "math": math, "x": x, "f": x.astype(np.float32), "i": cp.asarray(np.array([1, 0]))}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = eval(probe, names | {"n": np.ones((2, 3))})
    except Exception as error:
        return type(error).__name__
    return _told(x if "__setitem__" in probe or ".at(" in probe else found, cp)


def _told(value: Any, cp: Any) -> str:
    if isinstance(value, cp.ndarray):
        return f"device {_told(value.get(), cp)}"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], cp.ndarray):
        return "; ".join(_told(v, cp) for v in value)
    if isinstance(value, (np.ndarray, np.generic)):
        rounded = np.round(value, 5) if value.dtype.kind in "fc" else value
        return f"{value.dtype}{np.shape(value)} {np.asarray(rounded).tolist()}"
    return repr(value) if isinstance(value, (bool, int, float, str, tuple, list, np.dtype)) else type(value).__name__


def outcomes(cp: Any, waits: Callable[[Callable[[], Any]], bool]) -> dict[str, list[Any]]:
    """[outcome, whether it waited] by probe.

    Args:
        cp: a CuPy.
        waits: calls a function, whatever it raises, and says whether the host waited for the device in it.
    """
    found: dict[str, list[Any]] = {}
    for probe in PROBES:
        names = {"cp": cp, "np": np, "math": math, "n": np.ones((2, 3))}
        x = cp.asarray(np.arange(6.0).reshape(2, 3))
        names |= {"x": x, "f": x.astype(np.float32), "i": cp.asarray(np.array([1, 0]))}
        code = compile(probe, "probe", "eval")
        told, waited = outcome(probe, cp), waits(lambda: eval(code, names))  # noqa: B023
        found[probe] = [told, waited and not told.endswith("Error")]
    return found


def forbidden(cupyx: Any) -> Callable[[Callable[[], Any]], bool]:
    """`waits` on the real CuPy: whether it waits where waiting is forbidden."""

    def waits(call: Callable[[], Any]) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that not all waits are seen: those of the probes are
            with cupyx.allow_synchronize(False), contextlib.suppress(Exception):
                try:
                    call()
                except cupyx.DeviceSynchronized:
                    return True
        return False

    return waits


def written(version: str, found: dict[str, list[Any]]) -> str:
    """The text of probes.json, a line a probe."""
    lines = ",\n".join(f"  {json.dumps(probe)}: {json.dumps(answer)}" for probe, answer in found.items())
    return f'{{\n "version": "{version}",\n "outcomes": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    import cupy
    import cupyx

    print(written(cupy.__version__, outcomes(cupy, forbidden(cupyx))), end="")
