"""No program here unpickles: pickles run what they name. Weights are safetensors.

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
TORCH_LOADS = {"torch.load", "torch.serialization.load", "torch.jit.load", "torch.hub.load"}


def tracked() -> list[Path]:
    """Give the tree's Python files, those of a fresh clone where git tells which they are."""
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
    """Give what each imported name stands for, dotted."""
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
    """Give a name in full, such as torch.load for `t.load` after `import torch as t`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def faults(source: str, *, in_tests: bool = False) -> Iterator[str]:
    """Give what in a program unpickles, or might."""
    tree = ast.parse(source)
    known = aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node, in_tests=in_tests)
        elif isinstance(node, ast.Attribute) and node.attr in READERS:
            if not in_tests or node.attr != "_load_from_bytes":
                yield f"{node.attr} (line {node.lineno})"
        elif isinstance(node, ast.Call):
            yield from called(node, dotted(node.func, known), in_tests=in_tests)


def imported(node: ast.Import | ast.ImportFrom, *, in_tests: bool) -> Iterator[str]:
    for each in node.names:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else each.name
        name = f"{module}.{each.name}" if isinstance(node, ast.ImportFrom) else module
        if module.split(".")[0] in PICKLERS and not (in_tests and name in WRITES):
            yield f"{name} (line {node.lineno})"


def called(node: ast.Call, name: str, *, in_tests: bool) -> Iterator[str]:
    given = {each.arg: each.value for each in node.keywords}
    where = f"(line {node.lineno})"
    if name in TORCH_LOADS and not is_true(given.get("weights_only")):
        yield f"{name} without weights_only=True {where}"
    elif "weights_only" in given and not is_true(given["weights_only"]):
        yield f"weights_only={ast.unparse(given['weights_only'])} {where}"
    # Arrays of objects are written by tests, to be refused.
    writes = in_tests and name in {"numpy.save", "numpy.savez"}
    if "allow_pickle" in given and not is_false(given["allow_pickle"]) and not writes:
        yield f"allow_pickle={ast.unparse(given['allow_pickle'])} {where}"
    words = {each.value for each in node.args if isinstance(each, ast.Constant)}
    if name in {"__import__", "importlib.import_module", "import_module"} and words & PICKLERS:
        yield f"import of {words & PICKLERS} {where}"


def is_test(path: Path) -> bool:
    return "tests" in path.relative_to(ROOT).parts


@pytest.mark.parametrize("path", tracked(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    assert list(faults(path.read_text(encoding="utf-8"), in_tests=is_test(path))) == []


def test_the_whole_tree_is_searched():
    found = {str(path.relative_to(ROOT)) for path in tracked()}
    assert {"core/brainkit/checkpoints/store.py", "tests/test_no_pickle.py", "noxfile.py"} <= found
    assert any(name.startswith("plugins/") for name in found)
    assert len(found) > 100


FAULTY = [
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
    "import torch\ntorch.load(path, weights_only=True)",
    "from torch import load\nload(path, 'cpu', weights_only=True)",
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
