"""docs/mutation.md from the results of a run."""

from __future__ import annotations

from collections.abc import Iterable

from tests.mutation.equivalent import EQUIVALENT, SURVIVING
from tests.mutation.run import Result

HEADER = """# Mutation run

A test that cannot fail proves nothing. So every `backward` in `minidl/ops`, and every function of `minidl` that one
of them reaches (the array kernels' adjoints among them), is changed in each small way that
[`tests/mutation/mutants.py`](../tests/mutation/mutants.py) knows: a sign flipped, a term or factor dropped, `*` and
`/` swapped, an index, axis or constant off by one, gradients or arguments swapped, a sum over broadcast axes left
out, a comparison or condition turned. Each changed program then runs the properties that `tests/test_ops.py` checks,
on the specification's samples and some drawn ones, until one notices.

    python -m tests.mutation

made this page.
"""


def equivalent(result: Result) -> list[tuple[int, str, str]]:
    """Survivors that are known to change nothing: line, change, reason."""
    known = EQUIVALENT.get(str(result.target), {})
    return [(line, change, known[change]) for line, change in result.survived if change in known]


def survivors(result: Result) -> list[tuple[int, str]]:
    """Survivors that nobody explained."""
    known = EQUIVALENT.get(str(result.target), {})
    return [(line, change) for line, change in result.survived if change not in known]


def outdated(result: Result) -> list[str]:
    """Changes that are explained and yet noticed."""
    explained = {**EQUIVALENT.get(str(result.target), {}), **SURVIVING.get(str(result.target), {})}
    return sorted(explained.keys() - {change for _, change in result.survived}) if not result.error else []


def rate(results: Iterable[Result]) -> tuple[int, int, int, int]:
    """Changes, noticed, equivalent, survived."""
    results = list(results)
    return (
        sum(r.number for r in results),
        sum(len(r.noticed) for r in results),
        sum(len(equivalent(r)) for r in results),
        sum(len(survivors(r)) for r in results),
    )


def percent(noticed: int, survived: int) -> str:
    """The share of changes noticed, of those that change anything; rounded down: 100.0 % is all of them."""
    return f"{1000 * noticed // (noticed + survived) / 10:.1f} %" if noticed + survived else "–"


def table(results: list[Result]) -> str:
    """A row for each op: the changes of its own backward; then a row for each function that several ops share."""
    lines = [
        "| changed | ops | changes | noticed | equivalent | survived |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        ops = result.target.ops
        shown = ", ".join(ops) if len(ops) <= 4 else f"{', '.join(ops[:3])} and {len(ops) - 3} more"
        numbers = (result.number, len(result.noticed), len(equivalent(result)), len(survivors(result)))
        lines.append(f"| `{result.target}` | {shown} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def per_op(results: list[Result]) -> str:
    """A row for each op: all changes that only its gradients, or its among others, can show."""
    lines = ["| op | changes in its reach | noticed | equivalent | survived | rate |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for op in sorted({op for r in results for op in r.target.ops}):
        number, noticed, same, survived = rate(r for r in results if op in r.target.ops)
        lines.append(f"| {op} | {number} | {noticed} | {same} | {survived} | {percent(noticed, survived)} |")
    return "\n".join(lines)


def listing(results: list[Result]) -> str:
    """Every change that was not noticed, with the reason where there is one."""
    lines = []
    for result in results:
        known = SURVIVING.get(str(result.target), {})
        rows = [(line, change, f"equivalent: {reason}") for line, change, reason in equivalent(result)]
        rows += [(line, change, f"**survived**: {known.get(change, 'why?')}") for line, change in survivors(result)]
        if rows:
            lines.append(f"\n**`{result.target}`**\n")
            lines += [f"- line {line}, `{change}`: {reason}" for line, change, reason in sorted(rows)]
    return "\n".join(lines) if lines else "\nNone."


def page(results: list[Result]) -> str:
    """The whole of docs/mutation.md."""
    number, noticed, same, survived = rate(results)
    failed = sum(result.failed for result in results)
    return "\n".join(
        [
            HEADER,
            f"**{number} changes in {len(results)} functions: {noticed} noticed, {same} equivalent, "
            f"{survived} survived.**",
            f"**Of those that change anything, {percent(noticed, survived)} are noticed:**",
            f"{noticed - failed} by a wrong result, {failed} because the changed program raises or does not end.",
            "",
            "## By op",
            "",
            "A function that several ops share counts for each of them.",
            "",
            per_op(results),
            "",
            "## By function",
            "",
            table(results),
            "",
            "## Not noticed",
            listing(results),
            "",
        ]
    )
