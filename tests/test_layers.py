"""Which module may import which: a row imports from the rows above it, never beside or below."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "brainkit"
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
PACKAGES = [
    CORE,
    *(path.parent for each in PLUGINS for path in each.glob("brainkit_*/__init__.py")),
]

ROWS = [
    ["code", "errors", "names", "papers", "seeds"],
    ["options", "console", "schema"],
    ["data", "disk", "tables"],
    ["parts", "checkpoints", "ending", "locks"],
    ["method", "weights", "nsd", "samplers", "training"],
    ["networks"],
    ["encoders", "regressors", "metrics", "report"],
    ["compare", "decoders", "miniature", "hookspecs"],
    ["builtin", "brainkit", "admission"],
    ["installed"],
    ["plugins"],
    ["run"],
    ["fetch", "starter", "testing", "evaluate", "results"],
    ["methods"],
    ["cli"],
    ["__main__"],
]
UNITS = {name: row for row, names in enumerate(ROWS) for name in names}
# Within `run/`; its `__init__` only names what others may use.
RUN_ROWS = [
    ["structure", "typed"],
    ["records", "inputs", "chosen"],
    ["folder"],
    ["artefact", "composition", "machine", "tally"],
    ["growing", "journal", "trials", "config"],
    ["identity"],
    ["shared", "own"],
    ["step", "captions", "orphans", "returned", "owner", "presence", "sources"],
    ["watched", "remembered", "made"],
    ["load", "encode", "regress", "sample", "decode", "readers"],
    ["score", "noise", "maps", "leaks", "clusters"],
    ["outputs", "rows"],
    ["publish"],
    ["line"],
    ["finished", "estimate", "verification", "listing"],
    ["compared", "prune"],
]
RUN_UNITS = {name: row for row, names in enumerate(RUN_ROWS) for name in names}
# What a plugin may import: these modules, and the names that `brainkit` itself, its packages `run`,
# `nsd` and `metrics` list. A program of a plugin's own finds what is installed in `plugins`.
OFFERED = {
    *("parts", "data", "method", "options", "errors", "checkpoints", "seeds", "console"),
    *("ending", "papers", "plugins"),
    *("encoders", "regressors", "samplers", "decoders"),
    *("networks", "weights", "training", "miniature", "testing"),
}
OFFERED_NAMES = ("", "run", "nsd", "metrics")
# Torch takes a second to import, so only where nothing else can be done it is at a module's top.
TORCH_AT_TOP = (
    *("networks/", "training/", "metrics/networks/", "miniature/train/"),
    "nsd/dataset.py",  # a subclass of torch's own, which `nsd` imports when asked for
)
# Parts keep torch and what imports it out of their module's top, so that listings stay fast.
HEAVY = {"torch", "torchvision", "transformers", "diffusers"}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def unit(path: Path) -> str:
    """Return the module or folder directly below brainkit/ that a file belongs to."""
    inside = path.relative_to(CORE)
    name = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    return "brainkit" if name == "__init__" else name


def for_checkers_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, *, inside_functions: bool = True) -> Iterator[tuple[str, int]]:
    """Return every imported dotted name with its line; `from a import b` gives a.b."""
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
    """Return the unit of core that a dotted name belongs to; the package itself is one too."""
    first, *rest = name.split(".")
    if first != "brainkit":
        return None
    return rest[0] if rest and rest[0] in UNITS else "brainkit"


def trespasses(source: str, importer: str) -> list[str]:
    """Return the imports of a module's text that its row forbids."""
    forbidden = []
    for name, line in imports(ast.parse(source)):
        other = imported_unit(name)
        if other not in (None, importer) and UNITS[other] >= UNITS[importer]:
            forbidden.append(f"line {line}: {importer} imports {name}, which is not above it")
    return forbidden


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
        ("from brainkit.run.load import load", "cli", 0),
        ("from brainkit import __version__", "nsd", 1),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import brainkit.cli", "nsd", 0),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import brainkit.cli", "nsd", 1),
        ("import brainkit_other, torch", "errors", 0),
    ],
)
def test_the_rule_catches_what_it_forbids(source, importer, count):
    assert len(trespasses(source, importer)) == count


RUN = CORE / "run"


def run_unit(path: Path) -> str:
    """Return the module or folder directly below run/ that a file belongs to."""
    inside = path.relative_to(RUN)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def run_trespasses(source: str, importer: str) -> list[tuple[str, str]]:
    """Return the imports within run/ that its rows forbid, each as (importer, imported)."""
    dotted = [name.split(".") for name, _ in imports(ast.parse(source))]
    # What `brainkit.run` itself names comes from the modules below it, so nothing in it asks it.
    others = {parts[2] if len(parts) > 2 else "" for parts in dotted if parts[:2] == RUN_PACKAGE}
    known = {other if other in RUN_UNITS else "__init__" for other in others} - {importer}
    rows = RUN_UNITS | {"__init__": len(RUN_ROWS)}
    return sorted((importer, other) for other in known if rows[other] >= rows[importer])


RUN_PACKAGE = ["brainkit", "run"]


def test_the_table_of_a_run_names_every_module_and_no_other():
    there = {run_unit(path) for path in sources(RUN)} - {"__init__"}
    assert set(RUN_UNITS) == there


@pytest.mark.parametrize(
    "path",
    [path for path in sources(RUN) if path != RUN / "__init__.py"],
    ids=lambda path: str(path.relative_to(RUN)),
)
def test_a_module_of_a_run_imports_from_the_rows_above_only(path):
    source = path.read_text(encoding="utf-8")
    assert run_trespasses(source, run_unit(path)) == []


@pytest.mark.parametrize(
    ("source", "importer", "others"),
    [
        ("from brainkit.run.encode import encode", "sample", ["encode"]),
        ("def f():\n    from brainkit.run import sample", "decode", ["sample"]),
        ("import brainkit.run.publish", "score", ["publish"]),
        ("from brainkit.run import prepare", "finished", ["__init__"]),
        ("from brainkit.run.maps.facts import Facts", "maps", []),
        ("from brainkit.run.step import each\nfrom brainkit.run.shared import Run", "decode", []),
        ("from brainkit.runs import other", "artefact", []),
    ],
)
def test_the_rule_of_a_run_catches_what_it_forbids(source, importer, others):
    assert run_trespasses(source, importer) == [(importer, other) for other in others]


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
    """Return the modules that a listing imports: those of parts, and packages of plugins."""
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
    """Return a module's code without comments and docstrings, which are documentation."""
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


def declares_checkpoints(path: Path) -> bool:
    calls = (node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call))
    return any(ast.unparse(call.func) == "Checkpoint" for call in calls)


@pytest.mark.parametrize("package", PACKAGES[1:], ids=lambda path: path.name)
def test_a_plugin_declares_its_checkpoints_in_a_module_that_imports_none_of_it(package):
    leaf = package / "checkpoints.py"
    assert [path for path in sources(package) if declares_checkpoints(path)] == [leaf]
    assert [name for name, _ in imports(parsed(leaf)) if name.startswith(package.name)] == []


def listed_names(module: str) -> set[str]:
    """Return the names in `__all__` of a package of core."""
    tree = parsed(CORE / module / "__init__.py")
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return set(ast.literal_eval(values[0]))


def borrowed(source: str) -> set[str]:
    """Return the modules of core that a plugin's text imports without being offered them."""
    named = {
        ".".join(filter(None, ("brainkit", module, name)))
        for module in OFFERED_NAMES
        for name in listed_names(module)
    }
    dotted = {name for name, _ in imports(ast.parse(source)) if name.split(".")[0] == "brainkit"}
    own = {name for name in dotted if name not in named and name.split(".")[1] not in OFFERED}
    return {name if (CORE / _file(name)).exists() else name.rpartition(".")[0] for name in own}


def _file(name: str) -> str:
    return "/".join(name.split(".")[1:]) + ".py"


def plugin_sources() -> list[Path]:
    every = [path for plugin in PLUGINS for path in sources(plugin)]
    return [path for path in every if "tests" not in path.relative_to(ROOT).parts]


@pytest.mark.parametrize("path", plugin_sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_imports_what_core_offers(path):
    assert borrowed(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("from brainkit import option, Checkpoint\nfrom brainkit.parts import Encoder", set()),
        ("from brainkit.networks.clip.names import tower_name", set()),
        ("from brainkit.run import Run, prepare\nfrom brainkit.nsd import load_captions", set()),
        ("from brainkit.run.line import prepare", {"brainkit.run.line"}),
        ("def f():\n    from brainkit.run import line", {"brainkit.run.line"}),
        ("import brainkit.fetch.plan", {"brainkit.fetch.plan"}),
        ("from brainkit.builtin import register_encoders", {"brainkit.builtin"}),
        ("from brainkit.nsd.design import load_design", {"brainkit.nsd.design"}),
    ],
)
def test_the_rule_for_plugins_catches_what_it_forbids(source, modules):
    assert borrowed(source) == modules


def test_no_two_public_classes_of_core_share_a_name():
    places = defaultdict(list)
    for path in sources(CORE):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(CORE).as_posix())
    shared = {name: where for name, where in places.items() if len(where) > 1}
    assert len(places) > 50
    assert shared == {}


@pytest.mark.parametrize("path", sources(CORE), ids=lambda path: str(path.relative_to(CORE)))
def test_torch_is_imported_at_the_top_only_where_all_needs_it(path):
    inside = path.relative_to(CORE).as_posix()
    top = {name.split(".")[0] for name, _ in imports(parsed(path), inside_functions=False)}
    # The estimate of a dry run works on tensors from its first line; it is imported late.
    steps = {f"run/{name}.py" for name in (*RUN_ROWS[9], "estimate", "tally")}
    may = inside in steps or inside.startswith(TORCH_AT_TOP)
    assert may or "torch" not in top


def module_name(path: Path, package: Path) -> str:
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(package: Path) -> dict[str, set[str]]:
    """Return each module of a package with those of the same package that it imports anywhere.

    Imports inside functions count: they put a circle off, they do not open it. That a module's
    package is imported before it does not.
    """
    modules = {module_name(path, package): path for path in sources(package)}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for importer, path in modules.items():
        for name, _ in imports(parsed(path)):
            while name and name not in modules:  # of `from module import name`, the module
                name = name.rpartition(".")[0]
            if name and name != importer:
                graph[importer].add(name)
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one import circle in order, the first again at the end; [] for none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_package_has_an_import_circle(package):
    graph = import_graph(package)
    assert any(graph.values())
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("second", "closed"),
    [
        ("from pack.first import one", True),
        ("def f():\n    import pack.first", True),
        ("from pack import first", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack.first", False),
        ("from pack import other", False),
        ("import package.first", False),
    ],
)
def test_a_circle_is_found(tmp_path, second, closed):
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("from pack.second import two\none = 1")
    (package / "second.py").write_text(f"two = 2\n{second}")
    found = circle(import_graph(package))
    assert (set(found) == {"pack.first", "pack.second"}) == closed
    assert bool(found) == closed
