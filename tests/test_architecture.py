"""The shape of the code: who imports whom, what `import minidl` costs, how long a file may be, what is documented."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from minidl import ops
from minidl.check.spec import CASES, OpCase

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "minidl"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEXTS = [
    *MODULES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(p for kind in ("md", "py", "ipynb") for p in (ROOT / "tutorials").glob(f"*.{kind}")),
    *(ROOT / name for name in ("README.md", "pyproject.toml", ".ci/run")),
]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# Libraries beside NumPy, and the files or rooms that may import them.
ALLOWED = {
    "cupy": ["device.py"],
    "threadpoolctl": ["kernels/cpu"],
    "safetensors": ["checkpoint.py"],
    "PIL": ["data", "train", "explain"],
    "matplotlib": ["train", "explain", "bench"],
    "tqdm": ["train", "data/download.py"],
    "hypothesis": ["check"],
    "pytest": ["check/pytest_plugin.py"],
} | {peer: ["check", "bench"] for peer in ("torch", "jax", "tensorflow", "chainer", "mygrad")}  # if installed


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(path: Path) -> str:
    """The name under minidl/ that a file belongs to: "ops" for minidl/ops/conv.py, "" for minidl/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


ROOMS = {room(path) for path in MODULES} - {""}
ORIGINS = {  # of what minidl/__init__.py re-exports: {"Tensor": "autograd", …}
    alias.asname or alias.name: (node.module or "").split(".")[1]
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minidl.")
    for alias in node.names
}


def imports(path: Path) -> set[str]:
    """Dotted names, such as "minidl.ops.conv.Conv2d", that a file imports anywhere but under `if TYPE_CHECKING:`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{ids(path)}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    """The rooms of minidl that a file imports from."""
    found = set()
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "minidl":
            first = rest[0] if rest else ""
            found.add(first if first in ROOMS else ORIGINS.get(first, ""))
    return found


def stated(pattern: str) -> list[str]:
    """The `names` in the passage of docs/architecture.md that matches."""
    passage = re.search(pattern, MAP, re.DOTALL)
    assert passage, f"docs/architecture.md no longer says {pattern}"
    return re.findall(r"\w+", passage[1].replace("`", " "))


LINE = stated(r"`(errors, .*? ← train)`")  # bottom to top; each may import what stands left of it
BESIDE = [name for name in stated(r"((?:`\w+`(?:, | and )?)+) sit between `nn` and `train`") if name != "and"]
ABOVE = [name for name in stated(r"((?:`\w+`(?:, | and )?)+) look down on all of them") if name != "and"]


def may_import(room_: str) -> set[str]:
    """The rooms that one may import from; "" is minidl itself, which only brings together what ops and below define."""
    if room_ in ABOVE:
        return {*ROOMS, ""}
    if room_ in BESIDE:
        return {*LINE[: LINE.index("nn") + 1], *BESIDE, ""}
    below = set(LINE[: LINE.index(room_) + 1])
    if LINE.index(room_) > LINE.index("ops"):
        below.add("")
    return below | set(BESIDE) if room_ == "train" else below


def test_every_room_stands_in_the_line_of_imports() -> None:
    assert {*LINE, *BESIDE, *ABOVE} >= ROOMS
    assert len(LINE) >= 10
    assert {"optim", "data"} <= set(BESIDE)
    assert "check" in ABOVE


@pytest.mark.parametrize("path", [p for p in MODULES if room(p)], ids=ids)
def test_imports_go_one_way(path: Path) -> None:
    assert rooms_imported(path) <= may_import(room(path))


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    below = {r: {t for p in MODULES if room(p) == r for t in rooms_imported(p)} - {r} for r in ROOMS}
    while below:
        free = {r for r, needed in below.items() if not needed & below.keys()}
        assert free, f"a circle among {sorted(below)}"
        below = {r: needed for r, needed in below.items() if r not in free}


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_libraries_are_imported_only_where_they_belong(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        library = name.split(".")[0]
        if library in sys.stdlib_module_names or library in ("minidl", "numpy"):
            continue
        places = ALLOWED.get(library, [])
        assert any(place == p or place.startswith(f"{p}/") for p in places), f"{place} may not import {library}"


def test_import_minidl_is_light() -> None:
    heavy = ["cupy", "matplotlib", "PIL", "tqdm", "hypothesis", "torch", "scipy", "safetensors", "minidl.check"]
    code = f"import sys, minidl, minidl.nn, minidl.models; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [p for p in TEXTS if p.suffix == ".py"], ids=ids)
def test_files_are_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


@pytest.mark.parametrize("path", TEXTS, ids=ids)
def test_no_path_of_one_machine(path: Path) -> None:
    found = re.search(r"(?<![\w.])(?:/(?:home|root|work|Users|mnt)/|[A-Z]:\\\w)\S*", path.read_text(encoding="utf-8"))
    assert found is None, f"{ids(path)}: {found[0]}"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_what_is_public_is_documented_and_typed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.stat().st_size == 0 or ast.get_docstring(tree), "the file has no docstring"
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        where = f"{ids(path)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            assert ast.get_docstring(node), f"{where} has no docstring"
        elif path.parent.name != "spec":  # what a specification's loops compute stands in its equations
            assert ast.get_docstring(node), f"{where} has no docstring"
            a = node.args
            arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            untyped = [argument.arg for argument in arguments if argument.annotation is None]
            assert not untyped, f"{where}: no type for {untyped}"
            assert node.returns is not None, f"{where}: no return type"


def described(name: str, seen: frozenset[str] = frozenset()) -> str:
    """The docstring of an op, after those that it refers to: "arguments, result and errors as for `add`"."""
    text = inspect.getdoc(getattr(ops, name)) or ""
    others = [o for o in re.findall(r"as (?:for |in )?`(\w+)`", text) if hasattr(ops, o) and o not in seen | {name}]
    return "\n".join([*(described(o, seen | {name}) for o in others), text])


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_every_op_explains_itself_with_an_example(case: OpCase) -> None:
    op = getattr(ops, case.name)
    text, whole = inspect.getdoc(op) or "", described(case.name)
    assert re.search(rf"Example:\n    >>> (.*\n)*.*\b{case.name}\(", text), "no example that calls it"
    for part in ("Args:", "Returns:", "Raises:" if case.errors else ""):
        assert part in whole, f"no {part}"
    for name in inspect.signature(op).parameters:
        assert re.search(rf"(?<!\w){name}\b", whole), f"{name} is not described"


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((PACKAGE / "ops").glob("*.py")) if "(Function)" in p.read_text(encoding="utf-8")],
    ids=ids,
)
def test_equations_are_cited_where_they_are_computed(path: Path) -> None:
    """Every number in a comment is an equation of the file; every equation is cited by one, or used by another."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    with path.open("rb") as file:
        comments = [t.string for t in tokenize.tokenize(file.readline) if t.type == tokenize.COMMENT]
    numbered = set(re.findall(r"(?<!\S)\((\d+[a-z]?)\)$", docstring, re.MULTILINE))
    cited = {n for c in comments for n in _numbers(c)}
    assert cited <= numbered, f"cited but not stated: {sorted(cited - numbered)}"
    used = _numbers(re.sub(r"(?<!\S)\(\d+[a-z]?\)$", "", docstring, flags=re.MULTILINE))
    assert numbered <= cited | used, f"stated but never used: {sorted(numbered - cited - used)}"


def _numbers(text: str) -> set[str]:
    """Equation numbers in a text: "(3)", "(3), (4)", "(3)-(5)"."""
    numbers = set()
    for first, last in re.findall(r"(?<![\w.])\((\d+[a-z]?)\)(?:[-–]\((\d+[a-z]?)\))?", text):
        numbers |= {str(n) for n in range(int(first), int(last) + 1)} if last else {first}
    return numbers
