"""What of `docs/style.md` a program can check: lengths, words of docstrings, names of modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("core/brainkit/**/*.py"), *ROOT.glob("plugins/*/brainkit_*/**/*.py")])
LONGEST_FILE, LONGEST_BODY, USUAL_FILE = 400, 45, 140
VAGUE = {"utils.py", "util.py", "common.py", "base.py", "helpers.py", "misc.py"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Count from the first statement after the docstring to the last line."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    last = function.end_lineno or function.lineno
    return last - body[0].lineno + 1 if body else 0


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_file_is_not_too_long(path):
    assert lines(path) <= LONGEST_FILE


def test_most_files_are_short():
    assert median(lines(each) for each in SOURCES if each.name != "__init__.py") <= USUAL_FILE


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_function_fits_on_a_screen(path):
    too_long = {each.name: body_lines(each) for each in functions(path)}
    assert {name: n for name, n in too_long.items() if n > LONGEST_BODY} == {}


def documented(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "module"), text


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_docstrings_return_and_do_not_give(path):
    assert [name for name, text in documented(path) if text.split()[0] in ("Give", "Gives")] == []


def test_no_module_is_called_anything():
    assert [named(each) for each in SOURCES if each.name in VAGUE] == []
