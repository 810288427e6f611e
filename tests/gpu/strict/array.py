"""The array of the stand-in: a NumPy array that nobody gets at by accident."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from tests.gpu.strict.counting import counts
from tests.gpu.strict.surface import METHODS, check_call

DTYPES = set("?bBhHiIlLqQefdFD")
WAITS = {"nonzero": 1, "tobytes": 1, "tolist": 1, "dump": 1, "dumps": 1, "tofile": 1, "choose": 1, "compress": 1}


silent = np.errstate(all="ignore")  # a GPU warns of no overflow and no 0/0


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


class Memory:
    """How many bytes live arrays take, and how many they may."""

    used = 0
    limit = 0  # none
    _alive: ClassVar[dict[int, weakref.ref[np.ndarray]]] = {}

    @classmethod
    def take(cls, array: np.ndarray) -> None:
        """Count `array` until nobody holds it."""
        key, size = id(array), array.nbytes
        if key in cls._alive:
            return
        if cls.limit and cls.used + size > cls.limit:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes (limit set to: {cls.limit} bytes).")

        def gone(_: Any) -> None:
            del cls._alive[key]
            cls.used -= size

        cls._alive[key] = weakref.ref(array, gone)
        cls.used += size


class Flags:
    """As CuPy's: nothing here can be made read-only."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata
        self.forc, self.fnc = flags.forc, flags.fnc


class ndarray:
    """An array on the device.

    Operators are attached by `ufuncs`; the methods are those of NumPy, under the signatures of CuPy.
    """

    __slots__ = ("__weakref__", "_a")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape: Any, dtype: Any = float, order: str = "C") -> None:
        self._a = _taken(_unknown(np.empty(shape, dtype, order)))

    @classmethod
    def _of(cls, array: np.ndarray) -> ndarray:
        """Around an array that is the device's now."""
        if array.dtype.char not in DTYPES:
            raise ValueError(f"Unsupported dtype {array.dtype}")
        self = object.__new__(cls)
        self._a = _taken(array)
        return self

    # To the host: never unasked, and counted

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        counts.wait("get")
        if out is None:
            return self._a.copy(order=order)
        out[...] = self._a
        return out

    def _only(self, how: str) -> Any:
        """The only element, on the host; where there are several CuPy refuses before it waits."""
        if self.size != 1:
            raise ValueError(f"{how}: the array must have one element, got shape {self.shape}")
        counts.wait(how)
        return self._a.item()

    def item(self) -> Any:
        return self._only("item")

    def __float__(self) -> float:
        return float(self._only("float()"))

    def __int__(self) -> int:
        return int(self._only("int()"))

    def __complex__(self) -> complex:
        return complex(self._only("complex()"))

    def __bool__(self) -> bool:
        return bool(self._only("bool()"))

    def __repr__(self) -> str:
        counts.wait("repr()")
        return repr(self._a)

    def __str__(self) -> str:
        counts.wait("str()")
        return str(self._a)

    def __format__(self, spec: str) -> str:
        counts.wait("format()")
        return format(self._a.item() if self.ndim == 0 else self._a, spec)

    # From the host

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError(f"Only numpy.ndarray can be set to cupy.ndarray, got {type(arr).__name__}")
        if arr.shape != self.shape or arr.dtype != self.dtype:
            raise ValueError(f"set: {arr.dtype}{arr.shape} does not fit {self.dtype}{self.shape}")
        counts.uploads += 1
        target = self._a

        def copy() -> None:
            target[...] = arr

        copy() if stream is None else stream._later(copy)

    # What it is

    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    device = property(lambda self: SimpleNamespace(id=0))
    itemsize = property(lambda self: self._a.itemsize)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: Flags(self._a.flags))
    T = property(lambda self: wrap(self._a.T))
    mT = property(lambda self: wrap(self._a.mT))
    real = property(lambda self: wrap(self._a.real))
    imag = property(lambda self: wrap(self._a.imag))

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Iterator[ndarray]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def __reduce__(self) -> Any:
        raise NotImplementedError("the stand-in does not model pickles of device arrays")

    # Elements

    def __getitem__(self, key: Any) -> ndarray:
        return wrap(self._a[_places(key, writing=False)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray):
            if value.ndim:
                raise ValueError("a NumPy array cannot be assigned into a device array; upload it first")
            value = value.item()
        places, taken = _places(key, writing=True), unwrap(value, "assignment")
        if any(isinstance(p, np.ndarray) and p.dtype == bool for p in places):
            counts.wait("assignment through a boolean mask")
        _refuse_repeats(places, self.shape)
        if isinstance(taken, np.ndarray):
            by_index = any(isinstance(p, np.ndarray) for p in places)
            refuse_overlap(self._a if by_index else np.asarray(self._a[places]), taken, may_be_same=not by_index)
        counts.launches += 1
        self._a[places] = taken

    def __getattr__(self, name: str) -> Any:
        """The method `name`, if CuPy has it, called as CuPy would take it."""
        if name not in METHODS:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        method = getattr(self._a, name, None)
        if method is None:
            raise NotImplementedError(f"the stand-in does not model ndarray.{name}")

        @silent
        def call(*args: Any, **kwargs: Any) -> Any:
            check_call(f"ndarray.{name}", METHODS[name], args, kwargs)
            if name in WAITS:
                counts.wait(name, WAITS[name])
            args = tuple(unwrap(a, name) for a in args)
            result = method(*args, **{k: unwrap(v, name) for k, v in kwargs.items()})
            return result if name in ("tobytes", "tolist", "dumps") else wrap(result)

        return call


def wrap(result: Any) -> Any:
    """What NumPy returned, on the device: numbers become arrays of no dimension, as with CuPy."""
    if isinstance(result, (np.ndarray, np.generic)):
        array = np.asarray(result)
        counts.launches += array.base is None
        return ndarray._of(array)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(wrap, result))
    return type(result)(map(wrap, result)) if isinstance(result, (tuple, list)) else result


def unwrap(value: Any, where: str) -> Any:
    """The NumPy arrays inside of device arrays; those of the host are refused."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)} in {where}: arrays of host and device do not mix")
    return type(value)(unwrap(v, where) for v in value) if type(value) in (tuple, list) else value


def _taken(array: np.ndarray) -> np.ndarray:
    if array.base is None:
        Memory.take(array)
    return array


def _unknown(array: np.ndarray) -> np.ndarray:
    """Fresh memory holds anything: NaN, or the largest integer."""
    if array.dtype.kind in "fc":
        array[...] = np.nan
    elif array.dtype.kind in "iu":
        array[...] = np.iinfo(array.dtype).max
    return array


def _places(key: Any, writing: bool) -> tuple[Any, ...]:
    """A key that NumPy takes; index arrays of the host are uploaded, as CuPy does."""
    places = []
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, slice) and any(isinstance(v, ndarray) for v in (part.start, part.stop, part.step)):
            raise TypeError("slice indices must be integers, not device arrays")
        if isinstance(part, (list, np.ndarray)):
            counts.uploads += 1
            part = np.asarray(part)
        part = unwrap(part, "index") if isinstance(part, ndarray) else part
        if isinstance(part, np.ndarray) and part.dtype == bool and not writing:
            counts.wait("boolean mask")
        places.append(part)
    return tuple(places)


def refuse_overlap(written: np.ndarray, read: np.ndarray, may_be_same: bool = True) -> None:
    """Refuse to read what the same kernel writes elsewhere: which comes first is not defined on a GPU."""
    same = written.__array_interface__["data"] == read.__array_interface__["data"] and written.strides == read.strides
    if not (same and may_be_same) and np.shares_memory(written, read):
        raise ValueError("an array is written to and read from with an offset: the result is not defined on a GPU")


def _refuse_repeats(places: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    """Refuse to write one element twice: which value stays is not defined on a GPU."""
    arrays = [p for p in places if isinstance(p, np.ndarray)]
    if not arrays or any(a.dtype == bool for a in arrays):
        return
    numbered = np.arange(int(np.prod(shape))).reshape(shape)[places]  # IndexError where CuPy would wrap around
    if np.unique(numbered).size != numbered.size:
        raise IndexError("an element is assigned twice: which value stays is not defined on a GPU")
