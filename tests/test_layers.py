"""Which module may import which: a row imports from the rows above it, never beside or below."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "brainkit"
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))

# The modules in one pair of brackets are one thing in several files and may import each other.
ROWS = [
    ["errors"],
    ["options", "console"],
    ["data"],
    ["parts", "checkpoints"],
    ["method", "weights", "nsd", "samplers"],
    ["networks"],
    ["encoders", "regressors", "metrics", "report"],
    ["decoders", "miniature", "hookspecs"],
    ["builtin", "brainkit"],
    ["plugins"],
    ["run"],
    ["fetch", "testing"],
    ["cli"],
    ["__main__"],
]
UNITS = {
    name: (row, cell) for row, cells in enumerate(ROWS) for cell in cells
    for name in cell.strip("()").split()
}  # fmt: skip
# Parts keep torch and what imports it out of their module's top, so that listings stay fast.
HEAVY = {"torch", "torchvision", "transformers", "diffusers"}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def unit(path: Path) -> str:
    """Give the module or folder directly below brainkit/ that a file belongs to."""
    inside = path.relative_to(CORE)
    name = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    return "brainkit" if name == "__init__" else name


def for_checkers_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, *, inside_functions: bool = True) -> Iterator[tuple[str, int]]:
    """Give every imported dotted name with its line; `from a import b` gives a.b."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from ((f"{prefix}.{alias.name}", node.lineno) for alias in node.names)
        elif for_checkers_only(node):
            rest = ast.Module(node.orelse, type_ignores=[])
            yield from imports(rest, inside_functions=inside_functions)
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node, inside_functions=inside_functions)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_unit(name: str) -> str | None:
    """Give the unit of core that a dotted name belongs to; the package itself is one too."""
    first, *rest = name.split(".")
    if first != "brainkit":
        return None
    return rest[0] if rest and rest[0] in UNITS else "brainkit"


def trespasses(source: str, importer: str) -> list[str]:
    """Give the imports of a module's text that its row forbids."""
    row, cell = UNITS[importer]
    found = []
    for name, line in imports(ast.parse(source)):
        other = imported_unit(name)
        if other is None or other == importer or UNITS[other][1] == cell:
            continue
        if UNITS[other][0] >= row:
            found.append(f"line {line}: {importer} imports {name}, which is not above it")
    return found


def test_the_table_names_every_module_and_no_other():
    assert set(UNITS) == {unit(path) for path in sources(CORE)}


@pytest.mark.parametrize("path", sources(CORE), ids=lambda path: str(path.relative_to(CORE)))
def test_a_module_imports_from_the_rows_above_only(path):
    assert trespasses(path.read_text(encoding="utf-8"), unit(path)) == []


@pytest.mark.parametrize(
    ("source", "importer", "count"),
    [
        ("from brainkit.run import run", "samplers", 1),
        ("def f():\n    from brainkit import cli", "nsd", 1),
        ("import brainkit.encoders.clip", "regressors", 1),
        ("class A:\n    from brainkit.plugins import Registry", "report", 1),
        ("from brainkit.errors import DataError", "nsd", 0),
        ("from brainkit.run.regress import load", "cli", 0),
        ("from brainkit import __version__", "nsd", 1),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import brainkit.cli", "nsd", 0),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import brainkit.cli", "nsd", 1),
        ("import brainkit_other, torch", "errors", 0),
    ],
)
def test_the_rule_catches_what_it_forbids(source, importer, count):
    assert len(trespasses(source, importer)) == count


def everywhere() -> list[Path]:
    return [*sources(CORE), *(path for plugin in PLUGINS for path in sources(plugin))]


@pytest.mark.parametrize("path", everywhere(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_absolute(path):
    assert [name for name, _ in imports(parsed(path)) if name.startswith(".")] == []


def defines_a_part(tree: ast.Module) -> bool:
    """Say whether a module has a decorated class with a plain `name`, as parts have."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.decorator_list]
    lines = [line for each in classes for line in each.body if isinstance(line, ast.Assign)]
    return any(ast.unparse(line.targets[0]) == "name" for line in lines)


def listed() -> list[Path]:
    """Give the modules that a listing imports: those that define parts, and packages of plugins."""
    parts = [path for path in everywhere() if defines_a_part(parsed(path))]
    tables = [path for plugin in PLUGINS for path in plugin.glob("brainkit_*/__init__.py")]
    return sorted({*parts, *tables})


def test_modules_of_parts_are_found():
    names = {path.relative_to(ROOT).as_posix() for path in listed()}
    expected = {"regressors/ridge.py", "encoders/clip.py", "samplers/diffusion.py"}
    assert {f"core/brainkit/{name}" for name in expected} <= names


@pytest.mark.parametrize("path", listed(), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_of_parts_import_no_networks_at_the_top(path):
    top = {name.split(".")[0] for name, _ in imports(parsed(path), inside_functions=False)}
    assert top & HEAVY == set()


def spoken(tree: ast.Module) -> str:
    """Give a module's code without comments and docstrings, which are documentation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                first.value = ast.Constant("")
    return ast.unparse(tree).lower()


@pytest.mark.parametrize("path", sources(CORE), ids=lambda path: str(path.relative_to(CORE)))
def test_core_names_no_plugin(path):
    assert [each.name for each in PLUGINS if each.name in spoken(parsed(path))] == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_no_other_plugin(plugin):
    others = {f"brainkit_{each.name}" for each in PLUGINS if each != plugin}
    top = {name.split(".")[0] for path in sources(plugin) for name, _ in imports(parsed(path))}
    assert top & others == set()
