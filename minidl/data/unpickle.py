"""A reader of one dialect of pickle: dictionaries of lists, integers, strings and uint8 arrays.

`pickle.load` runs whatever program the file holds.  CIFAR's files are pickles, so they are read here by an
interpreter of the few opcodes that Python 2 and NumPy wrote them with.  It calls nothing that a file names: the
three names that NumPy's arrays need are symbols, and an array is made only of bytes that are there.

A Python 2 string becomes `bytes`, as with `pickle.load(file, encoding="bytes")`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minidl.errors import DataError

__all__ = ["read_pickle"]

MAX_BYTES = 256 << 20  # the largest official file has 155 MB
MAX_OPCODES = 1_000_000  # the longest official program has about 300,000; each makes one small object at most


class _Symbol:
    """A name in the file that stands for itself and is never called."""

    def __init__(self, name: str) -> None:
        self.name = name


RECONSTRUCT = _Symbol("numpy.core.multiarray _reconstruct")
NDARRAY = _Symbol("numpy ndarray")
DTYPE = _Symbol("numpy dtype")
SYMBOLS = {symbol.name: symbol for symbol in (RECONSTRUCT, NDARRAY, DTYPE)}


class _UInt8:
    """The dtype of the official arrays: what REDUCE makes of `numpy.dtype("u1", 0, 1)`."""


class _Array:
    """An array that REDUCE began and BUILD fills."""

    value: np.ndarray | None = None


class _Refused(Exception):
    """Why a file cannot be read."""


def read_pickle(path: Path) -> dict[bytes, Any]:
    """The dictionary in a CIFAR file of the "python version".

    Args:
        path: the file.

    Returns:
        Keys and strings are bytes; arrays are uint8 and own their memory.

    Raises:
        DataError: the file is missing, too large, cut short, or holds anything that the official files do not.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: file must have at most {MAX_BYTES:,} bytes, found {size:,}")
        program = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return _Interpreter(program).run()
    except _Refused as refused:
        raise DataError(f"{path}: not one of CIFAR's pickle files: {refused}") from None
    except EOFError as error:
        raise DataError(f"{path}: cut short: expected at least {error.args[0]:,} bytes, found {size:,}") from None


class _Interpreter:
    """The pickle machine: a stack, marks into it, and a memo of objects stored by number."""

    def __init__(self, program: bytes) -> None:
        self.program, self.position = program, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> dict[bytes, Any]:
        if self.take(2) != b"\x80\x02":
            raise _Refused("it does not begin as a pickle of protocol 2")
        for _ in range(MAX_OPCODES):
            opcode = self.take(1)
            if opcode == b".":
                break
            if opcode not in OPCODES:
                raise _Refused(f"opcode {opcode!r} at byte {self.position - 1:,} is none of theirs")
            OPCODES[opcode](self)
        else:
            raise _Refused(f"more than {MAX_OPCODES:,} opcodes")
        result = self.pop()
        if self.stack or self.marks or not isinstance(result, dict):
            raise _Refused("it does not hold one dictionary")
        return {key: value.value if isinstance(value, _Array) else value for key, value in result.items()}

    def take(self, n: int) -> bytes:
        end = self.position + n
        if n < 0:
            raise _Refused(f"a length of {n} at byte {self.position:,}")
        if end > len(self.program):
            raise EOFError(end)
        taken = self.program[self.position : end]
        self.position = end
        return taken

    def line(self) -> str:
        end = self.program.find(b"\n", self.position, self.position + 100)
        if end < 0:
            raise _Refused(f"a name without end at byte {self.position:,}")
        return self.take(end + 1 - self.position)[:-1].decode("latin-1")

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Refused(f"nothing left on the stack at byte {self.position:,}")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        value = self.pop()
        if not isinstance(value, kind):
            raise _Refused(f"a {type(value).__name__} at byte {self.position:,} where a {kind.__name__} must be")
        self.push(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise _Refused(f"no mark on the stack at byte {self.position:,}")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    # Opcodes, under the names they have in the pickletools module.

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def appends(self) -> None:
        values = self.pop_to_mark()
        self.top(list).extend(values)

    def setitem(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def setitems(self) -> None:
        self.set_items(self.pop_to_mark())

    def set_items(self, flat: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(flat[::2], flat[1::2], strict=False):
            if not isinstance(key, bytes):
                raise _Refused(f"a key that is a {type(key).__name__}, not a string, at byte {self.position:,}")
            target[key] = value

    def tuple_of(self, n: int) -> None:
        self.push(tuple([self.pop() for _ in range(n)][::-1]))

    def put(self, number: int) -> None:
        value = self.pop()
        self.push(value)
        self.memo[number] = value

    def get(self, number: int) -> None:
        if number not in self.memo:
            raise _Refused(f"nothing is stored as number {number} at byte {self.position:,}")
        self.push(self.memo[number])

    def global_(self) -> None:
        name = f"{self.line()} {self.line()}"
        if name not in SYMBOLS:
            raise _Refused(f"it names {name!r}, which is none of {', '.join(map(repr, SYMBOLS))}")
        self.push(SYMBOLS[name])

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if function is RECONSTRUCT and arguments == (NDARRAY, (0,), b"b"):
            self.push(_Array())
        elif function is DTYPE and arguments == (b"u1", 0, 1):
            self.push(_UInt8())
        else:
            raise _Refused(f"a call at byte {self.position:,} that makes neither a uint8 dtype nor an array")

    def build(self) -> None:
        state, target = self.pop(), self.pop()
        self.push(target)
        if isinstance(target, _UInt8):
            return  # byte order and alignment, which one byte has not
        if not (isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5):
            raise _Refused(f"a state at byte {self.position:,} that is not an array's")
        _, shape, dtype, fortran_order, data = state
        lengths = shape if isinstance(shape, tuple) and len(shape) == 2 else (-1, -1)
        if not isinstance(data, bytes) or not isinstance(dtype, _UInt8) or fortran_order is not False:
            raise _Refused(f"an array at byte {self.position:,} that is not uint8 in C order")
        if not all(type(n) is int and n >= 0 for n in lengths) or lengths[0] * lengths[1] != len(data):
            raise _Refused(f"an array at byte {self.position:,} whose shape does not fit its {len(data):,} bytes")
        target.value = np.frombuffer(data, np.uint8).reshape(lengths)


OPCODES: dict[bytes, Callable[[_Interpreter], None]] = {
    b"}": lambda m: m.push({}),
    b"]": lambda m: m.push([]),
    b"N": lambda m: m.push(None),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"U": lambda m: m.push(m.take(m.number("<B"))),
    b"T": lambda m: m.push(m.take(m.number("<i"))),
    b"(": _Interpreter.mark,
    b"a": _Interpreter.append,
    b"e": _Interpreter.appends,
    b"s": _Interpreter.setitem,
    b"u": _Interpreter.setitems,
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"c": _Interpreter.global_,
    b"R": _Interpreter.reduce,
    b"b": _Interpreter.build,
}
