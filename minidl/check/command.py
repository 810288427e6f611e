"""The sub-commands `check`, `grad`, `ops` and `mistakes` of `python -m minidl.check`."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minidl.check.calling import Signature
from minidl.check.compare import compare, find_case
from minidl.check.formats import DTYPES
from minidl.check.frameworks import FRAMEWORKS
from minidl.check.mistakes import mistakes, mistakes_of
from minidl.check.spec import CASES
from minidl.errors import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`."""
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="importable from here, or FILE.py:FUNCTION")
    parser.add_argument("--as", dest="op", required=True, metavar="OP", help="the op that it claims to be: conv2d, …")
    parser.add_argument("--backward", metavar="MODULE:FUNCTION", help="its own backward: (gy, *inputs) or (gy, cache)")
    parser.add_argument("--dtype", choices=DTYPES, help="of arrays (default: float64, or the widest that it knows)")
    parser.add_argument("--drawn", type=int, default=200, metavar="N", help="how many calls to draw (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), help="whose arrays it takes (default: found out)")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="OURS=THEIRS", help="an argument's name: padding=pad"
    )
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the verdict; 0 if the function conforms, 1 if it does not.

    Raises:
        ConfigError: the function cannot be imported, or an argument is out of range.
    """
    if args.drawn < 0:
        raise ConfigError(f"check: --drawn must be >= 0, got {args.drawn}")
    fn = imported(args.function)
    backward = None if args.backward is None else imported(args.backward)
    try:
        verdict = compare(
            fn,
            args.op,
            backward=backward,
            dtype=args.dtype,
            drawn=args.drawn,
            seed=args.seed,
            framework=args.framework,
            rename=dict(map(_renamed, args.rename)),
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error)) from error
    print(json.dumps(verdict.as_dict(), indent=1, ensure_ascii=False) if args.json else verdict)
    return 0 if verdict.ok else 1


def configure_grad(parser: argparse.ArgumentParser) -> None:
    """Arguments of `grad`."""
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="importable from here, or FILE.py:FUNCTION")
    parser.add_argument("shapes", nargs="+", metavar="SHAPE", help="of its inputs, drawn from a normal law: 2,3,8,8")
    parser.add_argument("--backward", metavar="MODULE:FUNCTION", help="its own backward(gy, *inputs)")
    parser.add_argument("--seed", type=int, default=0, help="of inputs and cotangent (default: 0)")
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), help="whose arrays it takes (default: found out)")


def run_grad(args: argparse.Namespace) -> int:
    """Print the report; 0 if the gradient is right, 1 if it is not.

    Raises:
        ConfigError: the function cannot be imported or called, or a shape is none.
    """
    from minidl.check.gradcheck import gradcheck

    fn = imported(args.function)
    backward = None if args.backward is None else imported(args.backward)
    rng = np.random.default_rng(args.seed)
    inputs = [rng.normal(size=_shape(text)) for text in args.shapes]
    try:
        report = gradcheck(fn, *inputs, backward=backward, framework=args.framework, seed=args.seed)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ConfigError(str(error)) from error
    print(report)
    return 0 if report.ok else 1


def no_options(parser: argparse.ArgumentParser) -> None:
    """For a command without arguments."""


def run_ops(args: argparse.Namespace) -> int:
    """Print every op, its arguments and its formula."""
    for case in CASES:
        print(f"{case.name}({', '.join(Signature.of(find_case(case.name)).arguments)}): {case.equations}")
    return 0


def configure_mistakes(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mistakes`."""
    parser.add_argument("--op", metavar="OP", help="only those of this op, each with what it makes wrong")


def run_mistakes(args: argparse.Namespace) -> int:
    """Print the mistakes that are known, a line an op; or those of one op, a line each.

    Raises:
        ConfigError: there is no such op.
    """
    if args.op is None:
        print(catalogue())
        return 0
    try:
        case = find_case(args.op)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for mistake in mistakes_of(case.name):
        print(f"{mistake.name} ({mistake.of}): {mistake.says}")
    return 0


def catalogue() -> str:
    """The known mistakes as a table: those of every op first, then an op a line."""

    def line(op: str, names: list[str]) -> str:
        return f"| {op} | {'; '.join(dict.fromkeys(names))} |"

    lines = ["| op | mistakes known by name |", "| --- | --- |"]
    lines.append(line("every op", [m.name for m in mistakes() if not m.ops]))
    by_op = {case.name: [m.name for m in mistakes() if case.name in m.ops] for case in CASES}
    lines += [line(op, names) for op, names in by_op.items() if names]
    return "\n".join(lines)


def imported(target: str) -> Callable[..., Any]:
    """The function called MODULE:FUNCTION or FILE.py:FUNCTION, the current folder among the places looked in.

    Raises:
        ConfigError: it cannot be had.
    """
    module, colon, name = target.rpartition(":")
    if not colon or not module or not name:
        raise ConfigError(f"check: the function must be given as MODULE:FUNCTION, got {target!r}")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = _module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # of somebody's module, whatever it is
        what = (str(error).splitlines() or [""])[0]
        raise ConfigError(f"check: cannot import {target}: {type(error).__name__}: {what}") from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise ConfigError(f"check: {target} is no function but a {type(found).__name__}")
    return found


def _module(name: str) -> Any:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _renamed(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not ours or not equals or not theirs:
        raise ConfigError(f"check: --rename must be OURS=THEIRS, got {text!r}")
    return ours, theirs


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = ast.literal_eval(f"({text},)") if text.strip("() ") else ()
    except (SyntaxError, ValueError):
        shape = (-1,)
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ConfigError(f"check: a shape must be lengths parted by commas, got {text!r}")
    return tuple(shape)
