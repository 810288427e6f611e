"""The code to change: every `backward` of an op, and each function of ours that it reaches."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

import minidl.ops
from minidl.autograd import Function, _topological_order
from minidl.check.spec import CASES, OpCase
from minidl.check.truth import leaves
from minidl.kernels import array as kernels

ROOMS = ("minidl.ops", "minidl.kernels.array", "minidl.kernels.geometry")


@dataclass(frozen=True)
class Target:
    """A function or method to change, and the ops whose gradients depend on it."""

    module: str
    qualname: str
    ops: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.module.removeprefix('minidl.')}.{self.qualname}"

    @property
    def cases(self) -> list[OpCase]:
        return [case for case in CASES if case.name in self.ops]

    @cached_property
    def function(self) -> FunctionType:
        """The function itself, whose code a mutant replaces."""
        return _function(_looked_up(importlib.import_module(self.module), self.qualname))

    @cached_property
    def tree(self) -> ast.FunctionDef:
        """Its definition in the source file."""
        return _definition(self.module, self.qualname)

    def compiled(self, tree: ast.FunctionDef) -> CodeType:
        """The code of a changed definition."""
        module = ast.fix_missing_locations(ast.Module([tree], []))
        code = compile(module, self.function.__code__.co_filename, "exec", dont_inherit=True)
        return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == tree.name)


def targets() -> list[Target]:
    """All of them, in the order of their modules and lines.

    What a backward reaches may also be part of a forward, of its own op or of another: all these ops must notice.
    """
    backward: set[tuple[str, str]] = set()
    users: dict[tuple[str, str], set[str]] = {}
    for case in CASES:
        for function_class in _classes(case):
            reached = _reachable(_place(function_class.backward))
            backward |= reached
            for place in reached | _reachable(_place(function_class.forward)):
                users.setdefault(place, set()).add(case.name)
    found = [Target(*place, tuple(sorted(users[place]))) for place in backward]
    return sorted(found, key=lambda t: (t.module, t.tree.lineno))


def unexercised() -> list[str]:
    """Functions of `minidl.ops` with a backward that no sample of the specification runs."""
    run = {c for case in CASES for c in _classes(case)}
    for info in pkgutil.iter_modules(minidl.ops.__path__, "minidl.ops."):
        importlib.import_module(info.name)
    own = [c for c in _subclasses(Function) if c.__module__.startswith("minidl.ops.") and not _subclasses(c)]
    return [f"{c.__module__}.{c.__name__}" for c in own if c not in run]


def _subclasses(cls: type) -> list[type]:
    return [s for c in cls.__subclasses__() for s in (c, *_subclasses(c))]


def _classes(case: OpCase) -> set[type[Function]]:
    """The Functions that the samples of a case are made of."""
    found = set()
    for sample in case.samples(np.random.default_rng(0)):
        xs = leaves(sample.inputs, [i for i in range(len(sample.inputs)) if i not in case.constants])
        y = case.op(*xs, **sample.params)
        found |= {type(fn) for fn in _topological_order(y.grad_fn)} if y.grad_fn is not None else set()
    return found


def _reachable(place: tuple[str, str]) -> set[tuple[str, str]]:
    """`place` and every function of ours that it refers to, directly or not."""
    seen: set[tuple[str, str]] = set()
    waiting = [place]
    while waiting:
        if (here := waiting.pop()) not in seen:
            seen.add(here)
            waiting += _references(here)
    return seen


@cache
def _references(place: tuple[str, str]) -> list[tuple[str, str]]:
    """The functions of ours that the one at `place` names."""
    module = importlib.import_module(place[0])
    owner = _looked_up(module, place[1].rpartition(".")[0]) if "." in place[1] else None
    objects = list(_named(_definition(*place), module, owner))
    return [_place(o) for o in objects if inspect.isroutine(_function(o)) and _is_ours(o)]


def _named(tree: ast.AST, module: ModuleType, owner: Any) -> Iterator[Any]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield getattr(module, node.id, None)
        elif isinstance(node, ast.Attribute):
            holder = node.value
            name = (
                holder.id if isinstance(holder, ast.Name) else holder.attr if isinstance(holder, ast.Attribute) else ""
            )
            if name == "self" and owner is not None:
                yield getattr(owner, node.attr, None)
            elif name == "kernels":
                yield getattr(kernels, node.attr, None)
            elif isinstance(held := getattr(module, name, None), ModuleType):
                yield getattr(held, node.attr, None)


def _function(thing: Any) -> Any:
    """What a decorator (`staticmethod`, `lru_cache`) has around it."""
    return inspect.unwrap(getattr(thing, "__func__", thing)) if callable(thing) or hasattr(thing, "__func__") else None


def _is_ours(thing: Any) -> bool:
    function = _function(thing)
    return isinstance(function, FunctionType) and any(
        function.__module__ == room or function.__module__.startswith(f"{room}.") for room in ROOMS
    )


def _place(thing: Any) -> tuple[str, str]:
    function = _function(thing)
    return function.__module__, function.__qualname__


def _looked_up(module: ModuleType, qualname: str) -> Any:
    thing: Any = module
    for name in qualname.split("."):
        thing = inspect.getattr_static(thing, name)
    return thing


@cache
def _tree(module: str) -> ast.Module:
    path = importlib.import_module(module).__file__
    assert path is not None
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _definition(module: str, qualname: str) -> ast.FunctionDef:
    node: Any = _tree(module)
    for name in qualname.split("."):
        node = next(n for n in node.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name)
    return node
