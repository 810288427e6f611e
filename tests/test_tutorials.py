"""The tutorials run, their numbers are those of the code, and they derive every equation that the code numbers."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("jupytext")
pytest.importorskip("ipykernel")

from tutorials import convert, equations, execute  # noqa: E402  after the imports that may be missing
from tutorials._tools import NotRight, NotYet, expect, stated  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SOURCES = convert.sources()
each_tutorial = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def _prose(book) -> str:
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")


def _code(book) -> list:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def _tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


@each_tutorial
def test_it_runs_and_its_exercises_fail_unanswered_and_pass_answered(source, tmp_path):
    folder = Path(os.environ.get("MINIDL_EXECUTED") or tmp_path)
    command = [sys.executable, "-m", "tutorials.execute", str(folder), source.stem]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-3000:]
    book = nbformat.read(folder / f"{source.stem}.ipynb", as_version=4)
    assert book.metadata["minidl"]["source"] == execute.digest(source)
    for cell in _code(book):
        raised = [output["ename"] for output in cell.outputs if output.output_type == "error"]
        assert raised == (["NotYet"] if "exercise-check" in _tags(cell) else []), cell.source
        if "exercise-check" in _tags(cell):
            (traceback,) = (output["traceback"] for output in cell.outputs if output.output_type == "error")
            assert len("\n".join(traceback).splitlines()) == 1
        if "solution" in _tags(cell):
            assert any(re.search(r": right\.$", o.get("text", ""), re.MULTILINE) for o in cell.outputs), cell.source
        for output in cell.outputs:
            assert output.get("name") != "stderr", output.text
            if "image/png" in output.get("data", {}):
                assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt"), f"no alt:\n{cell.source}"


@each_tutorial
def test_its_exercises_have_a_check_and_a_solution(source):
    kinds = [tags & {"exercise", "exercise-check", "solution"} for tags in map(_tags, _code(convert.notebook(source)))]
    found = [kind.pop() for kind in kinds if kind]
    assert found == ["exercise", "exercise-check", "solution"] * (len(found) // 3)
    assert 2 <= len(found) // 3 <= 4
    for cell in _code(convert.notebook(source)):
        if "exercise" in _tags(cell):
            assert "..." in cell.source
        if "exercise-check" in _tags(cell):
            assert "raises-exception" in _tags(cell) and "expect(" in cell.source
        if "solution" in _tags(cell):
            assert "hide-cell" in _tags(cell)


@each_tutorial
def test_its_numbers_stand_in_its_text(source):
    book = convert.notebook(source)
    prose = _prose(book)
    calls = [
        node
        for cell in _code(book)
        for node in ast.walk(ast.parse(_python(cell.source)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "stated"
    ]
    assert calls, "no number is stated"
    for call in calls:
        assert isinstance(call.args[0], ast.Constant), ast.unparse(call)
        text = call.args[0].value
        assert re.search(rf"(?<![\w.,−-]){re.escape(text)}(?![\w]|[.,]\d)", prose), f"{text} is not in the text"


def _python(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if not line.startswith("%"))


@each_tutorial
def test_it_derives_the_equations_of_its_files(source):
    derived = equations.derived(source)
    assert derived.pop("none", []) == [], "a numbered equation outside any file's derivation"
    for name, numbers in derived.items():
        path = ROOT / name
        assert path.is_file(), name
        assert sorted(numbers) == sorted(equations.numbered(path)), name


def test_sections_and_citations_are_read(tmp_path):
    tutorial, code = tmp_path / "01_x.md", tmp_path / "code.py"
    tutorial.write_text(
        r"\tag{9} % equations: a.py" "\n% equations: a.py\n\\tag{1} \\tag{A}\n% equations: none\n\\tag{2}"
    )
    assert equations.derived(tutorial) == {"none": [9, 2], "a.py": [1]}
    code.write_text('"""Of one.\n\n    y = x    (1)\n    z = f(2)\n"""\ny = f(3)  # (1), (4)-(6), f(7)\n')
    assert equations.numbered(code) == [1]
    assert equations.cited(code) == {1, 4, 5, 6}


def _numbered_files() -> list[str]:
    paths = [*(ROOT / "minidl" / "ops").glob("*.py"), *(ROOT / "minidl" / "priors").glob("*.py")]
    paths.append(ROOT / "minidl" / "optim.py")
    return [path.relative_to(ROOT).as_posix() for path in sorted(paths) if equations.numbered(path)]


def test_every_numbered_equation_is_derived_in_one_tutorial():
    derived = [name for source in SOURCES for name in equations.derived(source) if name != "none"]
    assert len(derived) == len(set(derived))
    assert set(_numbered_files()) <= set(derived)


@pytest.mark.parametrize("name", _numbered_files())
def test_what_the_code_cites_is_numbered(name):
    numbers = equations.numbered(ROOT / name)
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert equations.cited(ROOT / name) <= set(numbers)


@each_tutorial
def test_the_notebook_is_that_of_the_source(source):
    assert source.with_suffix(".ipynb").read_text(encoding="utf-8") == convert.text(source), (
        f"run python -m tutorials.convert {source.stem[:2]}"
    )


@each_tutorial
def test_its_text_reads_in_jupyter_and_on_the_site(source):
    text = _prose(convert.notebook(source))
    assert not re.search(r"^(```|:::)\{|\{[a-z:]+\}`", text, re.MULTILINE), "a directive or a role"
    for block in re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL):
        assert r"\\" not in block, f"several lines need a bare align:\n{block}"
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (source.parent / link).resolve().exists(), link


@each_tutorial
def test_its_code_is_clean(source):
    notebook = str(source.with_suffix(".ipynb"))
    ruff = [sys.executable, "-m", "ruff"]
    width = ["--line-length", str(convert.WIDTH)]
    ignored = ["--extend-ignore", "F811,B018,I001"]  # solutions define anew; a last value is shown; _tools is ours
    for command in (["format", "--check", "--diff", *width], ["check", *width, *ignored]):
        run = subprocess.run([*ruff, *command, notebook], capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, run.stdout + run.stderr


# The tools


@pytest.mark.parametrize(
    "text, value",
    [
        ("0.842", 0.8424),
        ("−0.5", -0.46),
        ("2,245", 2245),
        ("1.5e-12", 1.46e-12),
        ("< 1e-12", 0),
        ("≥ 3", 3),
        ("12", 12),
    ],
)
def test_a_true_number_is_stated(text, value):
    stated(text, value)


FALSE = [("0.842", 0.8426), ("−0.5", 0.5), ("2,245", 2244), ("1.5e-12", 1.4e-12), ("< 1e-12", 1e-12), ("≥ 3", 2.9)]


@pytest.mark.parametrize("text, value", [*FALSE, ("0.5", float("nan")), ("< 1", float("nan"))])
def test_a_false_number_is_refused(text, value):
    with pytest.raises(AssertionError, match="the text says"):
        stated(text, value)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="must be a number or a bound"):
        stated("about 3", 3)


@pytest.mark.parametrize("answer", [None, ..., (1.0, ...), [None, 2.0]])
def test_no_answer_is_not_yet_right(answer):
    with pytest.raises(NotYet):
        expect("Exercise 1", answer, (1.0, 2.0) if isinstance(answer, (tuple, list)) else 1.0)


@pytest.mark.parametrize("answer, right", [(1.1, 1.0), ([1.0], 1.0), ((1.0,), (1.0, 2.0)), ("a", "b"), ("a", 1.0)])
def test_a_wrong_answer_is_told_in_a_line(answer, right):
    with pytest.raises(NotRight) as error:
        expect("Exercise 1", answer, right)
    assert error.value._render_traceback_() == [f"NotRight: {error.value}"]


def test_a_right_answer_is_told(capsys):
    expect("Exercise 1", (1.0, [2.0, 3.0]), (1.0, [2.0, 3.0]))
    assert capsys.readouterr().out == "Exercise 1: right.\n"


def test_the_network_is_refused():
    code = "import _offline, socket; socket.create_connection(('192.0.2.1', 80), 1)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=convert.HERE)
    assert "a tutorial must not use the network" in run.stderr
