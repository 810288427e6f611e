"""Small changes of a function's syntax tree, one at a time.

    signs        a + b ↔ a - b,  -a → a,  each returned gradient negated
    terms        a + b → a, b;  a b → a, b;  a / b → a;  aⁿ → a;  a summand or a masked assignment left out
    factors      a b ↔ a / b,  A B → B A
    numbers      each axis, index, shift, exponent by one up and down; True ↔ False
    comparisons  < ↔ <=, < → >, == ↔ !=, is ↔ is not;  and ↔ or;  not a → a;  both ways of `… if … else …`
    gradients    returned gradients in each other's place; unpacked names (needs_gx, needs_gw = …) swapped
    calls        f(a, …) → a, a.f(…) → a: a sum over broadcast axes, a transposition, a rounding left out;
                 neighbouring arguments swapped; a keyword argument left out

Not made are changes whose result is the same by what the called function is: the -1 of `reshape(-1, …)`, any
negative length being inferred; the order of arguments that commute; `asarray` and `tolist` left out; the keywords
`strict`, `copy` and `kind`, which only guard, spare a copy or order equal elements.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
COMMUTING = ("minimum", "maximum", "min", "max", "result_type", "get_array_module", "swapaxes")
SPARING = ("strict", "copy", "kind")

Change = tuple[str, ast.AST | None]  # what it reads as, and the node in the place of the old one (None: nothing)


@dataclass(frozen=True)
class Mutant:
    """One change: the line it is on, how it reads, and the whole changed function."""

    line: int
    change: str
    function: ast.FunctionDef


def mutants(function: ast.FunctionDef) -> Iterator[Mutant]:
    """Every change of `function`, no two with the same result."""
    seen = {ast.unparse(function)}
    for index, node in enumerate(_nodes(function)):
        for make in _changes(node):
            tree = copy.deepcopy(function)
            target = _nodes(tree)[index]
            reads, new = make(target)
            tree = _Replace(target, new).visit(tree)
            text = ast.unparse(ast.fix_missing_locations(tree))
            if text not in seen:
                seen.add(text)
                yield Mutant(getattr(node, "lineno", function.lineno), reads, tree)


def _nodes(function: ast.FunctionDef) -> list[ast.AST]:
    """The nodes of the body in order, but for docstrings, annotations, messages and what is raised."""
    found: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert)):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        found.append(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _means_nothing(node, child):
                    visit(child)

    for statement in function.body:
        visit(statement)
    return found


def _means_nothing(parent: ast.AST, child: ast.AST) -> bool:
    """Whether NumPy or Python would give the same for anything in the place of `child`."""
    if isinstance(child, ast.keyword):
        return child.arg in SPARING
    return _called(parent) == "reshape" and ast.unparse(child) == "-1"


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST | None) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST | None:
        return self.new if node is self.old else self.generic_visit(node)


def _changes(node: ast.AST) -> Iterator[Callable[[ast.AST], Change]]:
    """For each change of `node`, a function that makes it of the same node in a copy of the tree."""
    for kind, changes in CHANGES.items():
        if isinstance(node, kind):
            for i in range(len(list(changes(copy.deepcopy(node))))):
                yield lambda fresh, i=i, changes=changes: _reading(fresh, list(changes(fresh))[i])


def _reading(old: ast.AST, new: ast.AST | None) -> Change:
    return f"{_text(old)} → {_text(new) if new is not None else 'nothing'}", new


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())


def _binary(node: ast.BinOp) -> Iterator[ast.AST]:
    kind = type(node.op)
    if kind in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[kind](), node.right)
        yield node.left
    if kind in (ast.Add, ast.Mult):
        yield node.right
    if kind is ast.Sub:
        yield ast.UnaryOp(ast.USub(), node.right)
    if kind in (ast.Pow, ast.FloorDiv, ast.Mod):
        yield node.left
    if kind is ast.MatMult:
        yield ast.BinOp(node.right, ast.MatMult(), node.left)


def _unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield node.operand


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)


def _compare(node: ast.Compare) -> Iterator[ast.AST]:
    for i, operator in enumerate(node.ops):
        for other in COMPARISONS[type(operator)]:
            yield ast.Compare(node.left, [*node.ops[:i], other(), *node.ops[i + 1 :]], node.comparators)


def _boolean(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def _conditional(node: ast.IfExp) -> Iterator[ast.AST]:
    yield node.body
    yield node.orelse


def _if(node: ast.If) -> Iterator[ast.AST]:
    yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _return(node: ast.Return) -> Iterator[ast.AST]:
    if not isinstance(node.value, ast.Tuple):
        return
    gradients = node.value.elts
    for i, gradient in enumerate(gradients):
        if isinstance(gradient, ast.Starred) or (isinstance(gradient, ast.Constant) and not gradient.value):
            continue
        negated = ast.UnaryOp(ast.USub(), gradient)
        yield ast.Return(ast.Tuple([*gradients[:i], negated, *gradients[i + 1 :]], ast.Load()))
        for j, other in enumerate(gradients):
            if j != i and not isinstance(other, ast.Starred):
                yield ast.Return(ast.Tuple([*gradients[:i], other, *gradients[i + 1 :]], ast.Load()))


def _assign(node: ast.Assign) -> Iterator[ast.AST | None]:
    (target,) = node.targets if len(node.targets) == 1 else (None,)
    if isinstance(target, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in target.elts):
        for swapped in _swapped(target.elts):
            yield ast.Assign([ast.Tuple(swapped, ast.Store())], node.value)
    if isinstance(target, ast.Subscript):
        yield ast.Pass()


def _augmented(node: ast.AugAssign) -> Iterator[ast.AST]:
    if type(node.op) in OPERATORS:
        yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
    yield ast.Pass()


def _call(node: ast.Call) -> Iterator[ast.AST]:
    if _called(node) in ("asarray", "tolist"):
        return
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield node.func.value  # a.f(…) → a
    elif node.args and not isinstance(node.args[0], ast.Starred):
        yield node.args[0]  # f(a, …) → a
    if _called(node) not in COMMUTING:
        for swapped in _swapped(node.args):
            yield ast.Call(node.func, swapped, node.keywords)
    for i in (i for i, keyword in enumerate(node.keywords) if keyword.arg not in SPARING):
        yield ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])


def _statement(node: ast.Expr) -> Iterator[ast.AST]:
    yield ast.Pass()


def _attribute(node: ast.Attribute) -> Iterator[ast.AST]:
    if node.attr in ("T", "real", "imag"):
        yield node.value


def _slice(node: ast.Slice) -> Iterator[ast.AST]:
    if node.lower is not None:
        yield ast.Slice(None, node.upper, node.step)
    if node.upper is not None:
        yield ast.Slice(node.lower, None, node.step)


CHANGES: dict[type[ast.AST], Callable] = {
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Constant: _constant,
    ast.Compare: _compare,
    ast.BoolOp: _boolean,
    ast.IfExp: _conditional,
    ast.If: _if,
    ast.Return: _return,
    ast.Assign: _assign,
    ast.AugAssign: _augmented,
    ast.Call: _call,
    ast.Expr: _statement,
    ast.Attribute: _attribute,
    ast.Slice: _slice,
}


def _swapped(items: list[ast.expr]) -> Iterator[list[ast.expr]]:
    """`items` with one pair of neighbours swapped."""
    for i in range(len(items) - 1):
        if not any(isinstance(item, ast.Starred) for item in items[i : i + 2]):
            yield [*items[:i], items[i + 1], items[i], *items[i + 2 :]]


def _called(node: ast.AST) -> str:
    """The last name of the function that is called, "" for anything else."""
    if not isinstance(node, ast.Call):
        return ""
    return ast.unparse(node.func).rpartition(".")[2]


def _is_module(node: ast.expr) -> bool:
    """Whether a call on it is no method of an array: `self.xp.exp`, `np.exp`, `self.kernels.f`."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("self", "xp", "np", "math", "kernels", "operator", "_check") or name[:1].isupper()
