"""What is imported is declared, and no more; core, each plugin and their tests run with that."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
# Used where they are installed: for flat maps, for certificates beside the system's own, and for
# who asks for a data frame.
OPTIONAL = {"cortex", "certifi", "pandas"}


def table(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def normal(requirement: str) -> str:
    """Return the distribution a requirement is of, as the index spells it."""
    name = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def declared(folder: Path) -> set[str]:
    return {normal(text) for text in table(folder)["project"]["dependencies"]}


def needs_of(folder: Path) -> list[Requirement]:
    return [Requirement(text) for text in table(folder)["project"]["dependencies"]]


def group(name: str) -> set[str]:
    return {normal(text) for text in table(ROOT)["dependency-groups"][name]}


@cache
def distributions() -> dict[str, set[str]]:
    """Return the distributions that hold each importable name."""
    return {name: set(map(normal, of)) for name, of in packages_distributions().items()}


def imported(node: ast.AST) -> set[str]:
    """Return the first word of each name that is imported anywhere, but for type checkers alone."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    inner = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        inner = list(node.orelse)
    return {name for child in inner for name in imported(child)}


def undeclared(source: str, allowed: set[str], own: Iterable[str]) -> set[str]:
    """Return what a module's text imports that is neither its own nor among distributions."""
    others = imported(ast.parse(source)) - sys.stdlib_module_names - set(own) - OPTIONAL
    return {name for name in others if not distributions().get(name, {normal(name)}) & allowed}


def packages(folder: Path) -> list[Path]:
    """Return a project's modules without its tests."""
    inner = [*folder.glob("core/brainkit"), *folder.glob("brainkit_*")]
    return sorted(path for package in inner for path in package.rglob("*.py"))


def name_of(folder: Path) -> str:
    return "core" if folder == ROOT else folder.name


@pytest.mark.parametrize("project", PROJECTS, ids=name_of)
def test_a_project_declares_all_that_it_imports(project):
    own = {"brainkit"} if project == ROOT else {f"brainkit_{project.name}"}
    paths = packages(project)
    assert len(paths) > 10
    allowed = declared(project)
    missing = {path: undeclared(path.read_text(), allowed, own) for path in paths}
    assert {path: names for path, names in missing.items() if names} == {}


@pytest.mark.parametrize("project", PROJECTS, ids=name_of)
def test_a_project_imports_all_that_it_declares(project):
    names = set().union(*(imported(ast.parse(path.read_text())) for path in packages(project)))
    owners = set().union(*(distributions().get(name, set()) for name in names))
    assert declared(project) - owners - {"brainkit"} == set()


@pytest.mark.parametrize("project", PROJECTS, ids=name_of)
def test_a_project_says_from_which_release_on_alike(project):
    needs = [need for folder in (ROOT, project) for need in needs_of(folder)]
    bounds = {(need.name, str(need.specifier)) for need in needs if need.name != "brainkit"}
    assert len(dict(bounds)) == len(bounds)
    # `nox -s minimums` installs just these, so nothing else may stand beside them.
    assert [bound for bound in bounds if not re.fullmatch(r">=[\d.]+", bound[1])] == []


@pytest.mark.parametrize("project", PROJECTS, ids=name_of)
def test_its_tests_import_nothing_else_than_it_and_their_group_declare(project):
    tests = sorted((project / "tests").rglob("*.py"))
    beside = {path.stem for path in tests}
    plugins = {f"brainkit_{plugin.name}" for plugin in PROJECTS[1:]}
    if project == ROOT:
        # The benchmarks have an environment of their own.
        tests = [path for path in tests if "benchmarks" not in path.parts]
        own, allowed = {"brainkit", *plugins}, declared(ROOT) | group("tests")
    else:
        own = {"brainkit", f"brainkit_{project.name}"}
        # Whatever brainkit needs is there wherever the plugin is.
        allowed = declared(project) | declared(ROOT) | group("plugin-tests")
    missing = {path: undeclared(path.read_text(), allowed, own | beside) for path in tests}
    assert {path: names for path, names in missing.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import numpy.linalg, scipy", {"scipy"}),
        ("def f():\n    from PIL import Image", {"PIL"}),
        ("from sklearn.svm import SVC as numpy", {"sklearn"}),
        ("import os, brainkit_x\nfrom brainkit.data import Trials", {"brainkit_x"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import scipy", set()),
    ],
)
def test_what_is_not_declared_is_found(source, names):
    assert undeclared(source, {"numpy"}, {"brainkit"}) == names
