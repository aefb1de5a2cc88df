"""The folder of a run: one module spells its paths, and the page about runs lists them all."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from brainkit.run.folder import Folder, run_files, subject_folder, work_of
from brainkit.run.shared import Draw

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "brainkit"
FOLDER = CORE / "run" / "folder.py"
NAMES = re.compile(
    r"(trials|factor)(-.*)?|features|weights|decoded|latents|images|paths|true|maps"
    r"|captions\.jsonl|metrics\.json|report\.html|run\.toml|subj\d\d"
)
JOINING = (".glob", ".rglob", ".joinpath", ".with_name")
# These write files of other folders under the same names: checkpoints and the training of them.
OTHERS = (
    "miniature/",
    "training/",
    "checkpoints/",
    "weights/",
    "fetch/",
    "nsd/",
    "metrics/",
    "networks/",
)


def spelled(source: str) -> set[str]:
    """Return what a module's text says of a run's paths: words that are joined by a slash."""
    texts: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        joined: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            joined = [node.left, node.right]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(JOINING):
            joined = node.args
        for each in joined:
            first = each.values[0] if isinstance(each, ast.JoinedStr) else each
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                texts |= {word for word in first.value.split("/") if NAMES.fullmatch(word)}
    return texts


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(CORE.rglob("*.py"))
        if path != FOLDER and not path.relative_to(CORE).as_posix().startswith(OTHERS)
    ],
    ids=lambda path: str(path.relative_to(CORE)),
)
def test_no_other_module_spells_a_path_of_a_run(path):
    assert spelled(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('folder / "weights" / name', {"weights"}),
        ('root / f"features/{name}.safetensors"', {"features"}),
        ('path.with_name("metrics.json")', {"metrics.json"}),
        ('sorted(work.rglob("run.toml"))', {"run.toml"}),
        ('run.recipe(f"weights/{feature}")', set()),
        ('"images" in names', set()),
    ],
)
def test_the_rule_sees_how_paths_are_spelled(source, words):
    assert spelled(source) == words


def test_the_module_itself_spells_them():
    assert {"weights", "paths", "true", "maps"} <= spelled(FOLDER.read_text(encoding="utf-8"))


def test_every_path_is_in_the_table_of_the_page():
    page = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
    rows = " ".join(line for line in page.splitlines() if line.startswith("| `"))
    folder, draw = Folder(Path("METHOD")), Draw(12345, 1)
    paths = [
        *(folder.trials("STAMP"), folder.factor("STAMP"), folder.features("FEATURE", "STAMP")),
        *(folder.weights("FEATURE"), folder.decoded("FEATURE"), folder.strip(draw)),
        *(folder.latent("brain", "OUTPUT", draw), folder.picture("brain", draw)),
        *(folder.captions("brain"), folder.metrics, folder.report, folder.run_file),
    ]
    names = [path.as_posix().replace("12345", "NNNNN") for path in paths]
    assert [name for name in names if f"`{name}`" not in rows] == []
    assert f"`{folder.map('FEATURE', '.json').parent.as_posix()}/…`" in rows
    assert f"`{folder.captions('true').parent.as_posix()}/…`" in rows


def test_the_work_folder_is_found_again_from_the_run_file(tmp_path, monkeypatch):
    folder = Folder(subject_folder(tmp_path / "work", "nsd", "random", 3) / "toy")
    assert folder.root.parts[-3:] == ("nsd-random", "subj03", "toy")
    folder.root.mkdir(parents=True)
    folder.run_file.write_text("")
    assert run_files(tmp_path) == [folder.run_file]
    assert run_files(tmp_path / "nowhere") == []
    assert work_of(folder.run_file) == tmp_path / "work"
    monkeypatch.chdir(folder.root)
    assert work_of(Path("run.toml")) == tmp_path / "work"
