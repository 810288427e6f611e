"""The command line: flags made from the fields of `Config`, or a TOML file with the same names."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from minidl.errors import ConfigError
from minidl.train.config import FIELDS, OneOf, checked, did_you_mean, flag, from_mapping, kind
from minidl.train.recipes import RECIPES

PROG = "minidl.train"
COMMAND = "python -m minidl.train"
METAVARS = {"data_dir": "DIR", "out": "DIR", "weights": "FILE", "augment": "NAME,…"}


@dataclass(frozen=True)
class Arguments:
    """What the command line said, before any default.

    Attributes:
        given: checked values of `Config` fields, flags before the file's entries.
        resume: a run's folder or a checkpoint to go on from, or None.
    """

    given: dict[str, Any]
    resume: str | None


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line, by way of `ConfigError`."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(re.sub(r"^argument ([^:]*?): ", lambda m: f"{m[1].split('/')[0]} ", message))


def parser() -> argparse.ArgumentParser:
    """The parser; every value stays text until `config.checked` has seen it."""
    made = _Parser(
        prog=COMMAND,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
        description="Train a network on real images. Without any flag: a small ResNet on images drawn on the spot.",
        epilog="Any flag may stand in a TOML file (--config), without its dashes: batch-size = 64. "
        "[Defaults] depend on the data; a run's config.toml shows all that were used.",
        argument_default=argparse.SUPPRESS,
    )
    made.add_argument("--config", metavar="FILE", help="a TOML file of the same names; flags come before it")
    made.add_argument("--resume", metavar="RUN", help="go on with a run: its folder, or one of its checkpoints")
    groups: dict[str, Any] = {}
    for name, field in FIELDS.items():
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = made.add_argument_group(title)
        group = groups[title]
        if kind(name) is bool:
            group.add_argument(flag(name), action=argparse.BooleanOptionalAction, dest=name, help=_help(name))
        else:
            metavar = METAVARS.get(name) or {int: "N", float: "X", str: "NAME"}[kind(name)]
            group.add_argument(flag(name), metavar=metavar, dest=name, help=_help(name))
    return made


def _help(name: str) -> str:
    """What a flag does, what it may be, and what it is if it is not given."""
    field = FIELDS[name]
    text, rule = field.metadata["help"], field.metadata["rule"]
    if isinstance(rule, OneOf):
        text += ": " + ", ".join(rule.names())
    own = [
        f"{data}: {recipe[name]}"
        for data, recipe in RECIPES.items()
        if recipe.get(name, field.default) != field.default
    ]
    if field.default not in (None, "") and kind(name) is not bool and (field.default != 0 or own):
        own.insert(0, str(field.default))
    return f"{text} [{'; '.join(own)}]".replace("%", "%%") if own else text.replace("%", "%%")


def parse(argv: Sequence[str]) -> Arguments:
    """The checked meaning of a command line.

    Raises:
        ConfigError: a flag or entry is unknown or has an impossible value, or the file cannot be read.
        SystemExit: `--help` was asked for.
    """
    made = parser()
    found, unknown = made.parse_known_args(list(argv))
    if unknown:
        word = unknown[0].split("=")[0]
        known = [s for action in made._actions for s in action.option_strings if s.startswith("--")]
        suggestion = did_you_mean(word.replace("_", "-"), known)
        raise ConfigError(f"unknown argument {shlex.quote(unknown[0])}{suggestion}; --help lists all")
    flags = vars(found)
    file, resume = flags.pop("config", None), flags.pop("resume", None)
    given = {} if file is None else read_toml(file)
    given |= {name: checked(name, _value(name, text), flag(name)) for name, text in flags.items()}
    return Arguments(given, resume)


def _value(name: str, text: Any) -> Any:
    """Text of the command line as a number where the field is one; text stays where it is none."""
    try:
        return kind(name)(text) if kind(name) in (int, float) else text
    except ValueError:
        return text


def read_toml(path: str) -> dict[str, Any]:
    """The checked entries of a TOML file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or an entry is unknown or impossible.
    """
    try:
        with open(path, "rb") as file:
            entries = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"--config: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: {path} is not TOML: {error}") from error
    return from_mapping(entries, path)


def command(*words: str) -> str:
    """A command line to copy, each word quoted as the shell needs it.

    Example:
        >>> command("--resume", "runs/my run")
        "python -m minidl.train --resume 'runs/my run'"
    """
    return " ".join([COMMAND, *map(shlex.quote, words)])
