"""The command line of `python -m minidl.explain`."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from minidl.errors import ConfigError

PROG = "minidl.explain"
COMMAND = "python -m minidl.explain"


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line, by way of `ConfigError`."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(re.sub(r"^argument ([^:]*?): ", r"\1 ", message))


def whole(minimum: int) -> Callable[[str], int]:
    """The type of an integer of at most nine digits, from `minimum` on."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be an integer from {minimum} to 999999999, got {text!r}")
        return int(text)

    return parse


def positive(text: str) -> float:
    """The type of a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number > 0, got {text!r}")
    return value


def indices(text: str) -> list[int]:
    """The type of "3,17,40"."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise argparse.ArgumentTypeError(f"must be whole numbers joined by commas, got {text!r}")
    return [int(word) for word in text.split(",")]


def png(text: str) -> str:
    """The type of the picture's path."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"must end in .png, got {text!r}")
    return text


def parser() -> argparse.ArgumentParser:
    """The parser; what it gives has `command` and that command's options."""
    made = _Parser(
        prog=COMMAND,
        allow_abbrev=False,
        description="Look into trained networks. A RUN is the folder of a run of minidl.train (its last checkpoint "
        "counts), or one of its checkpoints.",
    )
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
        added.add_argument("--out", type=png, default=f"{name}.png", metavar="PNG", help=f"[{name}.png]")
        return added

    figure = command("figure", "input | baseline | with the prior: Grad-CAM of two runs on the same images")
    figure.add_argument("baseline", metavar="BASELINE", help="a run")
    figure.add_argument("prior", metavar="PRIOR", help="a run on the same data")
    _add_images(figure)

    gradcam = command("gradcam", "where a run's network sees what it predicts")
    gradcam.add_argument("run", metavar="RUN")
    _add_images(gradcam)

    field = command("receptive-field", "how far the centre of a layer sees, measured and predicted")
    field.add_argument("runs", metavar="RUN", nargs="+")
    field.add_argument("--layer", metavar="PATH", help="such as layer2; default: the last convolutional stage")
    field.add_argument("--inputs", choices=("random", "test"), default="random", help="[random]")
    field.add_argument("--count", type=whole(1), default=64, metavar="N", help="images [64]")
    field.add_argument("--size", type=whole(1), metavar="N", help="side of random images; default: the run's own")
    field.add_argument("--power", type=int, choices=(1, 2), default=2, help="mean of |gradient| or of its square [2]")
    field.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of images and directions [0]")
    _add_places(field)

    sigma = command("sigma", "σ of every layer over training, from sigma.csv")
    sigma.add_argument("runs", metavar="RUN", nargs="+")
    sigma.add_argument("--line", type=positive, metavar="X", help="a σ to compare with")

    curves = command("curves", "loss and accuracy of runs over training, from metrics.csv")
    curves.add_argument("runs", metavar="RUN", nargs="+")
    return made


def _add_images(command: argparse.ArgumentParser) -> None:
    command.add_argument("--layer", metavar="PATH", help="such as layer3; default: the last convolutional stage")
    command.add_argument(
        "--target", default="predicted", metavar="CLASS", help="predicted, true, or a class [predicted]"
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--rows", type=whole(1), default=5, metavar="N", help="test images, of as many classes [5]")
    which.add_argument("--index", type=indices, metavar="N,…", help="these test images")
    which.add_argument("--images", nargs="+", metavar="FILE", help="image files of your own")
    command.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of the choice of test images [0]")
    _add_places(command)


def _add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", metavar="NAME", help="where the test images are, in place of the run's own --data")
    command.add_argument("--data-dir", metavar="DIR", help="likewise")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The checked meaning of a command line.

    Raises:
        ConfigError: a word is unknown, missing or impossible.
        SystemExit: `--help` was asked for.
    """
    return parser().parse_args(list(argv))
