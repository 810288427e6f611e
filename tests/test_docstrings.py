"""Every public name says what it takes, returns and raises, and shows it in an example that runs."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("sphinx")

from docs._ext.docstrings import parse
from docs._ext.public import methods, public

# What a layer computes stands in its class, what `multiply_adds` takes in `models.count`; the rest is NumPy's.
KNOWN = {"forward", "backward", "extra_repr", "multiply_adds", "shape", "dtype", "ndim", "size", "T"}


def parameters(function: Any) -> list[str]:
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.name not in ("self", "cls")]


def body(function: Any) -> str:
    return textwrap.dedent(inspect.getsource(function))


def raises(function: Any) -> bool:
    """Whether a function raises by itself, or checks what it was given by `ops._check`."""
    for node in ast.walk(ast.parse(body(function))):
        if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" not in ast.unparse(node.exc):
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_check."):
            return True
    return False


def returns(function: Any) -> bool:
    """Whether a function gives something that its first sentence, which names what it takes, need not be."""
    annotation = inspect.signature(function).return_annotation
    return annotation not in (None, "None", "NoReturn", "Iterator[None]") and bool(parameters(function))


def described(docstring: str, section: str) -> set[str]:
    """The names that a section has entries for; `*` and backticks aside."""
    names = [name for names, _ in parse(docstring).entries(section) for name in re.split(r",\s*", names)]
    return {name.strip("`* ").partition("=")[0] for name in names}


def faults(obj: Any, *, ops: bool = False) -> Iterator[str]:
    """What the docstring of a public class or function lacks."""
    docstring = inspect.cleandoc(obj.__doc__ or "")
    if not docstring:
        yield "has no docstring"
        return
    sections = parse(docstring).sections
    is_class = inspect.isclass(obj)
    is_error = is_class and issubclass(obj, BaseException)
    function = obj.__init__ if is_class else obj
    wanted = [] if is_error or (is_class and "__init__" not in vars(obj)) else parameters(function)
    known = described(docstring, "Args") | described(docstring, "Attributes")
    if missing := [name for name in wanted if name not in known]:
        yield f"does not say what it takes: {', '.join(missing)}"
    if extra := [name for name in described(docstring, "Args") if name not in wanted] if wanted else []:
        yield f"describes what it does not take: {', '.join(extra)}"
    if not is_class and returns(function) and not {"Returns", "Yields"} & set(sections):
        yield "does not say what it returns"
    is_record = is_error or dataclasses.is_dataclass(obj)
    if not is_record and (not is_class or "__init__" in vars(obj)) and raises(function) and "Raises" not in sections:
        yield "does not say what it raises"
    if not is_record and ">>>" not in docstring:
        yield "has no example"
    if ops and "shape" not in docstring:
        yield "says nothing of shapes"


def method_faults(cls: type, name: str, method: Any) -> Iterator[str]:
    """What the docstring of a public method or property lacks: it may be a sentence, if that names all it takes."""
    docstring = inspect.getdoc(getattr(cls, name)) or ""  # a base class's, where it has none of its own
    if name in KNOWN or name in described(cls.__doc__ or "", "Attributes"):
        return
    function = method.fget if isinstance(method, property) else method
    if not docstring:
        yield f".{name} has no docstring"
        return
    if (inspect.unwrap(function).__module__ or "").startswith("minidl.ops"):  # an operation as a method
        return
    said = set(re.findall(r"\w+", docstring))
    if missing := [p for p in parameters(function) if p not in said]:
        yield f".{name} does not say what it takes: {', '.join(missing)}"


NAMES = {f"{path}.{name}": obj for path, name, obj in public()}


@pytest.mark.parametrize("name", NAMES)
def test_docstring_is_complete(name: str) -> None:
    obj = NAMES[name]
    found = list(faults(obj, ops=name.startswith("minidl.ops.")))
    if inspect.isclass(obj):
        found += [fault for m, method in methods(obj) for fault in method_faults(obj, m, method)]
    assert found == []


def test_a_docstring_that_lacks_something_is_found() -> None:
    def bare(a: int, b: int) -> int:
        """Add a."""
        if a < 0:
            raise ValueError
        return a + b

    assert list(faults(bare, ops=True)) == [
        "does not say what it takes: a, b",
        "does not say what it returns",
        "does not say what it raises",
        "has no example",
        "says nothing of shapes",
    ]


def test_a_complete_docstring_passes() -> None:
    def whole(a: int) -> int:
        """One more.

        Args:
            a: of any shape.

        Returns:
            It.

        Raises:
            ValueError: it is negative.

        Example:
            >>> 1 + 1
            2
        """
        if a < 0:
            raise ValueError
        return a + 1

    assert list(faults(whole, ops=True)) == []
