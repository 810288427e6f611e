"""The reference, written where a page says `<!-- reference: ops -->` and the like, from docstrings and parsers."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from docs._ext import docstrings, operations
from docs._ext.public import ROOMS, module_names, public_name

PLACE = re.compile(r"^<!-- (reference|command|table): ([\w.]+) -->$", re.MULTILINE)


@cache
def targets() -> dict[str, str]:
    """What backticks in docstrings can mean: `conv2d`, `ops.conv2d`, `nn.Conv2d`, … and where that is."""
    found: dict[str, str] = {}
    for modules in ROOMS.values():
        for path in modules:
            for name in module_names(importlib.import_module(path)):
                full = public_name(path, name)
                found[full] = full
                found[full.removeprefix("minidl.")] = full
                found.setdefault(name, full)
    return found


def role(code: str) -> str:
    """Code in backticks: a link where it is a public name of ours, and not so short a one that it may be an argument.

    Example:
        >>> role("ops.conv2d"), role("x")
        (':py:obj:`ops.conv2d <minidl.ops.conv2d>`', '``x``')
    """
    target = targets().get(code.removesuffix("()"))
    is_plain_word = code.islower() and "." not in code and "_" not in code and not any(c.isdigit() for c in code)
    if target is None or is_plain_word:
        return f"``{code}``"
    return f":py:obj:`{code} <{target}>`"


def room(name: str) -> str:
    """A page of the reference: its modules, with their equations, and everything public in them."""
    parts = []
    for path in ROOMS[name]:
        module = importlib.import_module(path)
        summary, _, rest = (module.__doc__ or "").strip().partition("\n")
        lines = docstrings.blocks([summary, *docstrings.parse("x\n" + rest).text[1:]], role)
        file = path.replace(".", "/")
        source = f"../../{file}.py" if not hasattr(module, "__path__") else f"../../{file}/__init__.py"
        parts += [f"## {path.removeprefix('minidl.')}", "", f"[{path}]({source})", "", "```{eval-rst}", *lines, ""]
        for member in module_names(module):
            obj = getattr(module, member)
            kind = _kind(obj)
            parts += [f".. auto{kind}:: {public_name(path, member)}", *_options(kind), ""]
        parts += ["```", ""]
    return "\n".join(parts)


def _kind(obj: Any) -> str:
    if isinstance(obj, type):
        return "exception" if issubclass(obj, BaseException) else "class"
    return "function"


def _options(kind: str) -> list[str]:
    return ["    :members:", "    :member-order: bysource"] if kind == "class" else []


def parsers(name: str) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """The parsers of a command: how it is called, in a line what it does, and its parser."""
    if name == "check":
        commands = importlib.import_module("minidl.check.__main__").COMMANDS
        for sub, command in commands.items():
            made = argparse.ArgumentParser(prog=f"python -m minidl.check {sub}")
            getattr(importlib.import_module(command.module), command.configure)(made)
            yield made.prog, command.summary, made
        return
    top = importlib.import_module("docs.build" if name == "docs.build" else f"minidl.{name}.cli").parser()
    subparsers = [a for a in top._actions if isinstance(a, argparse._SubParsersAction)]
    if not subparsers:
        yield top.prog, top.description or "", top
        return
    for action in subparsers:
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for sub, made in action.choices.items():
            yield made.prog, helps.get(sub, ""), made


def command(name: str) -> str:
    """Every argument of a command, from its parser."""
    parts: list[str] = []
    for prog, summary, parser in parsers(name):
        parts += [f"## {prog}", "", summary, ""]
        formatter = parser._get_formatter()
        for group in parser._action_groups:
            shown = [a for a in group._group_actions if a.help is not argparse.SUPPRESS and a.dest != "help"]
            if not shown:
                continue
            if group.title not in ("options", "positional arguments"):
                parts += [f"**{group.title}**", ""]
            for action in shown:
                said = formatter._expand_help(action) if action.help else ""
                parts += [f"`{_invocation(action, formatter)}`", f": {_markdown(said) or '–'}", ""]
    return "\n".join(parts)


def _invocation(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    metavar = (
        formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
        if (action.option_strings)
        else formatter._format_args(action, formatter._get_default_metavar_for_positional(action))
    )
    names = ", ".join(action.option_strings)
    return f"{names} {metavar}".strip()


def _markdown(text: str) -> str:
    """Plain text in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|$])", r"\\\1", text)


WRITERS: dict[str, Callable[[str], str]] = {"reference": room, "command": command, "table": operations.table}


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what was asked for into a page that is being read."""

    def written(match: re.Match[str]) -> str:
        return WRITERS[match[1]](match[2])

    source[0] = PLACE.sub(written, source[0])


def missing(app: Sphinx, env: Any, node: nodes.Element, content: nodes.Element) -> nodes.Node | None:
    """A name in a docstring that is public but has no entry stays what it is: code."""
    return content if node.get("refdomain") == "py" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", write)
    app.connect("missing-reference", missing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
