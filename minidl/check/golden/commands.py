"""The sub-commands `export`, `verify` and `trace` of `python -m minidl.check`.

Each is a pair `configure_NAME(parser)` and `run_NAME(args) -> exit status`: 0 where all is right, 1 where something
departs; a UserError is for the caller to print.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from minidl.check.golden.arrays import FORMATS


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Arguments of `export`."""
    what = parser.add_argument_group("what to export")
    what.add_argument("operations", nargs="*", metavar="OPERATION", help="operations of minidl.ops: conv2d, softmax, …")
    what.add_argument("--all", action="store_true", help="every operation")
    what.add_argument("--list", action="store_true", help="print the operations and models, and stop")
    what.add_argument("--model", metavar="NAME", help="one training step of a model instead: resnet20, resnet18, …")
    parser.add_argument("--out", metavar="DIR", help="the folder to make")
    parser.add_argument("--format", choices=FORMATS, default="npz", help="raw: bare files that C reads (default: npz)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="of inputs and results (default: float32)"
    )
    parser.add_argument("--seed", type=_natural, default=0, help="of all that is drawn (default: 0)")
    model = parser.add_argument_group("with --model")
    model.add_argument("--batch-size", type=_positive, metavar="N", default=4, help="images (default: 4)")
    model.add_argument("--image-size", type=_positive, metavar="N", help="their side (default: the model's own)")
    model.add_argument("--num-classes", type=_positive, metavar="N", default=10, help="outputs (default: 10)")
    for kind in ("pool", "conv", "classifier"):
        model.add_argument(
            f"--{kind}", metavar="PRIOR", help=f"a prior for every {kind}, as minidl.priors.convert has them"
        )
    model.add_argument(
        "--option", type=_option, action="append", default=[], metavar="NAME=VALUE", help="shortcut=B, …"
    )


def run_export(args: argparse.Namespace) -> int:
    """Write the folder and say what is in it."""
    from minidl.check.golden import model, vectors
    from minidl.errors import UserError
    from minidl.models import model_names

    if args.list:
        print(f"operations: {' '.join(vectors.operation_names())}\nmodels: {' '.join(model_names())}")
        return 0
    if args.out is None:
        raise UserError("export: --out DIR is missing: the folder to make")
    if args.model is not None:
        if args.operations or args.all:
            raise UserError("export: give operations or --model, not both")
        manifest = model.export_model(
            args.model,
            args.out,
            form=args.format,
            dtype=args.dtype,
            seed=args.seed,
            batch_size=args.batch_size,
            image_size=args.image_size,
            num_classes=args.num_classes,
            options=dict(args.option),
            priors={kind: value for kind in ("pool", "conv", "classifier") if (value := getattr(args, kind))},
        )
        assert manifest.model is not None
        print(f"{args.out}: {args.model}, one training step, {len(manifest.model['layers'])} layers")
        print(f"judge another implementation: python -m minidl.check trace {args.out} RESULTS")
        return 0
    names = vectors.operation_names() if args.all else args.operations
    manifest = vectors.export(names, args.out, form=args.format, dtype=args.dtype, seed=args.seed)
    print(f"{args.out}: {len(manifest.groups)} cases of {len(set(names))} operations")
    print(f"judge another implementation: python -m minidl.check verify {args.out} RESULTS")
    return 0


def configure_verify(parser: argparse.ArgumentParser) -> None:
    """Arguments of `verify`."""
    parser.add_argument("vectors", metavar="DIR", help="what `export` wrote")
    parser.add_argument("results", metavar="RESULTS", help="what another implementation made of it, in the same layout")
    parser.add_argument("--outputs-only", action="store_true", help="there are no gradients to judge")
    parser.add_argument("--quiet", action="store_true", help="print what is wrong and the last line only")


def run_verify(args: argparse.Namespace) -> int:
    """Print a line for every result; 1 if one is wrong, missing or refused."""
    from minidl.check.golden.verify import verify

    report = verify(args.vectors, args.results, outputs_only=args.outputs_only)
    print(report.text(only_wrong=args.quiet))
    return 0 if report.passed else 1


def configure_trace(parser: argparse.ArgumentParser) -> None:
    """Arguments of `trace`."""
    parser.add_argument("step", metavar="DIR", help="what `export --model` wrote")
    parser.add_argument("results", metavar="RESULTS", help="what another implementation made of it, in the same layout")
    parser.add_argument("--quiet", action="store_true", help="print what departs and the last lines only")


def run_trace(args: argparse.Namespace) -> int:
    """Print a line for every layer; 1 if one departs or results are refused."""
    from minidl.check.golden.trace import trace

    report = trace(args.step, args.results)
    print(report.text(only_wrong=args.quiet))
    return 0 if report.passed else 1
