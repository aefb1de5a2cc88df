"""No program here unpickles: pickles run what they name. Weights are safetensors.

There is no `torch.load`, whatever its arguments. One module of tests has it, told to run nothing,
as what the reader of `brainkit.weights` is compared with.

Read as syntax, so that other spellings of an argument or an import count too.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Modules that unpickle; of them, tests may take the function that writes.
PICKLERS = {
    *("pickle", "_pickle", "cPickle", "pickle5", "shelve", "marshal", "dill", "cloudpickle"),
    *("joblib", "jsonpickle", "copyreg"),
}
WRITES = {"pickle.dumps"}
# Functions of any library that unpickle unless told otherwise, and those that always do.
READERS = {"read_pickle", "load_pickle", "Unpickler", "_load_from_bytes", "_legacy_load"}
# The one module that compares with torch's own reader, which it tells to run nothing.
REFERENCE = "tests/test_weights_torch.py"
TORCH_LOADS = {"torch.load", "torch.serialization.load", "torch.jit.load", "torch.hub.load"}


def tracked() -> list[Path]:
    """Return the tree's Python files, those of a fresh clone where git tells which they are."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        tops = ("core", "plugins", "tests", "docs")
        paths = [path for top in tops for path in (ROOT / top).rglob("*.py")]
        paths += list(ROOT.glob("*.py"))
    return sorted(path for path in paths if path.is_file())


def aliases(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for, dotted."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.split(".")[0]
                known[each.asname or top] = each.name if each.asname else top
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                known[each.asname or each.name] = f"{node.module or ''}.{each.name}"
    return known


def dotted(node: ast.AST, known: dict[str, str]) -> str:
    """Return a name in full, such as torch.load for `t.load` after `import torch as t`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def faults(source: str, *, in_tests: bool = False, reference: bool = False) -> Iterator[str]:
    """Return what in a program unpickles, or might."""
    tree = ast.parse(source)
    known = aliases(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    safe = {id(node.func) for node in calls if is_true(given(node).get("weights_only"))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node, in_tests=in_tests)
        elif isinstance(node, ast.Attribute) and node.attr in READERS:
            if not in_tests or node.attr != "_load_from_bytes":
                yield f"{node.attr} (line {node.lineno})"
        elif isinstance(node, ast.Call):
            yield from called(node, dotted(node.func, known), in_tests=in_tests)
        named = dotted(node, known) if isinstance(node, ast.Attribute | ast.Name) else ""
        if named in TORCH_LOADS and not (reference and id(node) in safe):
            yield f"{named} (line {node.lineno})"


def imported(node: ast.Import | ast.ImportFrom, *, in_tests: bool) -> Iterator[str]:
    for each in node.names:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else each.name
        name = f"{module}.{each.name}" if isinstance(node, ast.ImportFrom) else module
        if module.split(".")[0] in PICKLERS and not (in_tests and name in WRITES):
            yield f"{name} (line {node.lineno})"


def given(node: ast.Call) -> dict[str | None, ast.expr]:
    """Return the arguments that a call names."""
    return {each.arg: each.value for each in node.keywords}


def called(node: ast.Call, name: str, *, in_tests: bool) -> Iterator[str]:
    where, named = f"(line {node.lineno})", given(node)
    if "weights_only" in named and not is_true(named["weights_only"]):
        yield f"weights_only={ast.unparse(named['weights_only'])} {where}"
    # Arrays of objects are written by tests, to be refused.
    writes = in_tests and name in {"numpy.save", "numpy.savez"}
    if "allow_pickle" in named and not is_false(named["allow_pickle"]) and not writes:
        yield f"allow_pickle={ast.unparse(named['allow_pickle'])} {where}"
    words = {each.value for each in node.args if isinstance(each, ast.Constant)}
    if name in {"__import__", "importlib.import_module", "import_module"} and words & PICKLERS:
        yield f"import of {words & PICKLERS} {where}"


def is_test(path: Path) -> bool:
    return "tests" in path.relative_to(ROOT).parts


@pytest.mark.parametrize("path", tracked(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    source, reference = (
        path.read_text(encoding="utf-8"),
        path == ROOT / REFERENCE,
    )
    assert list(faults(source, in_tests=is_test(path), reference=reference)) == []


def test_the_whole_tree_is_searched():
    found = {str(path.relative_to(ROOT)) for path in tracked()}
    assert {"core/brainkit/checkpoints/store.py", "tests/test_no_pickle.py", "noxfile.py"} <= found
    assert any(name.startswith("plugins/") for name in found)
    assert len(found) > 100


FAULTY = [
    "import torch\ntorch.load(path, weights_only=True)",
    "from torch import load\nload(path, 'cpu', weights_only=True)",
    "import torch\nread = torch.load",
    "from torch import load\nread = load",
    "import torch\npartial(torch.load, weights_only=True)",
    "import pickle",
    "import pickle as p",
    "def f():\n    import _pickle",
    "from pickle import load",
    "from pickle import *",
    "from pickle import Unpickler as U",
    "from multiprocessing.reduction import pickle\npickle.Unpickler(f)",
    "import torch\ntorch.load(path)",
    "import torch as t\nt.load(path, map_location='cpu')",
    "from torch import load\nload(path)",
    "from torch import load as read\nread(path, weights_only=safe)",
    "from torch import serialization\nserialization.load(path)",
    "import torch.serialization\ntorch.serialization.load(path)",
    "import torch\ntorch.load(path, weights_only=False)",
    "import torch\ntorch.load(path, weights_only=0)",
    "import torch\ntorch.load(path, **options)",
    "import torch\ntorch.hub.load('a/b', 'c')",
    "from functools import partial\npartial(read, weights_only=False)",
    "import torch\ntorch.storage._load_from_bytes(content)",
    "import numpy as np\nnp.load(path, allow_pickle=True)",
    "import numpy as np\nnp.load(path, allow_pickle=flag)",
    "import pandas\npandas.read_pickle(path)",
    "import joblib",
    "__import__('pickle').loads(content)",
    "import importlib\nimportlib.import_module('pickle')",
]
SOUND = [
    "import numpy as np\nnp.load(path)",
    "import numpy as np\nnp.load(path, allow_pickle=False)",
    "import json\njson.load(file)",
    "text = 'pickle.load(file), weights_only=False'",
    "import pickletools\npickletools.genops(content)",
]


@pytest.mark.parametrize("source", FAULTY)
def test_faults_are_found(source):
    assert len(list(faults(source))) >= 1
    assert len(list(faults(source, in_tests=True))) >= 1 or "_load_from_bytes" in source


@pytest.mark.parametrize("source", SOUND)
def test_sound_programs_have_no_fault(source):
    assert list(faults(source)) == []


def test_tests_may_write_pickles_to_be_refused():
    source = "from pickle import dumps\nimport numpy as np\nnp.save(path, x, allow_pickle=True)"
    assert len(list(faults(source))) == 2
    assert list(faults(source, in_tests=True)) == []


def test_the_module_that_compares_tells_torch_to_run_nothing():
    source = "import torch\ntorch.load(path, weights_only=True)"
    assert len(list(faults(source, in_tests=True))) == 1
    assert list(faults(source, in_tests=True, reference=True)) == []
    for other in ("torch.load(path)", "torch.load(path, weights_only=False)", "f(torch.load)"):
        assert list(faults(f"import torch\n{other}", in_tests=True, reference=True)) != []
    found = (ROOT / REFERENCE).read_text(encoding="utf-8")
    assert len(list(faults(found, in_tests=True))) == 1
