"""The folder of a run: one module spells its paths, and the page about runs lists them all."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from brainkit.run.folder import Data, Folder, found_runs, older, subject_folder, work_of
from brainkit.run.shared import Draw

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "brainkit"
FOLDER = CORE / "run" / "folder.py"
NAMES = re.compile(
    r"(trials|factor)(-.*)?|features|weights|decoded|latents|images|paths|true|maps"
    r"|captions\.jsonl|metrics\.json|report\.html|run\.toml|identity\.json|runs|subj\d\d"
)
JOINING = (".glob", ".rglob", ".joinpath", ".with_name")
# These have files of other folders under the same names: checkpoints and the training of them.
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
    assert {"latents", "paths", "maps"} <= spelled(FOLDER.read_text(encoding="utf-8"))


def test_every_path_is_in_the_table_of_the_page():
    page = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
    rows = " ".join(line for line in page.splitlines() if line.startswith("| `"))
    folder, draw = Folder.of(Path(), "NAME"), Draw(12345, 1)
    paths = [
        *(folder.trials("STAMP"), folder.factor("STAMP"), folder.features("FEATURE", "STAMP")),
        *(folder.weights("FEATURE", "STAMP"), folder.decoded("FEATURE", "STAMP")),
        *(folder.latent("OUTPUT", "STAMP", draw), folder.picture("brain", draw)),
        *(folder.strip(draw), folder.captions("brain"), folder.metrics, folder.report),
        *(folder.run_file, folder.identity),
    ]
    names = [path.as_posix().replace("12345", "NNNNN") for path in paths]
    assert [name for name in names if f"`{name}`" not in rows] == []
    assert f"`{folder.map('FEATURE', '.json').parent.as_posix()}/…`" in rows
    assert f"`{folder.captions('true').parent.as_posix()}/…`" in rows


MINE = Data("mine-0123abcd", "0123abcd")


def filled(folder: Folder) -> Folder:
    folder.root.mkdir(parents=True)
    folder.run_file.write_text("")
    return folder


def test_runs_are_found_from_any_folder_above_them_and_lead_back_to_the_work_folder(tmp_path):
    subject = subject_folder(tmp_path / "work", MINE, "random", 3)
    assert subject.parts[-2:] == ("mine-0123abcd-random", "subj03")
    first, second = (filled(Folder.of(subject, name)) for name in ("a", "b"))
    above = [tmp_path, first.work, subject.parent, subject, subject / "runs"]
    assert all(found_runs(path) == ([first, second], []) for path in above)
    assert found_runs(second.root) == ([second], [])
    assert found_runs(tmp_path / "nowhere") == ([], [])
    assert work_of(first.run_file) == first.work == tmp_path / "work"


def test_a_run_is_found_from_within_its_folder(tmp_path, monkeypatch):
    run = filled(Folder.of(subject_folder(tmp_path / "work", MINE, "", 1), "a"))
    monkeypatch.chdir(run.root)
    assert found_runs(Path(".")) == ([run], [])


def test_a_run_file_elsewhere_belongs_to_no_work_folder(tmp_path):
    assert work_of(tmp_path / "run.toml") is None
    assert work_of(tmp_path / "subj01" / "runs" / "a" / "other.toml") is None


def test_data_that_were_moved_keep_their_folder_and_other_data_never_get_it(tmp_path):
    had = subject_folder(tmp_path, MINE, "", 1)
    had.mkdir(parents=True)
    assert subject_folder(tmp_path, Data("moved-0123abcd", "0123abcd"), "", 2).parent == had.parent
    others = [
        subject_folder(tmp_path, Data("mine-0123abce", "0123abce"), "", 1),
        subject_folder(tmp_path, MINE, "random", 1),
        subject_folder(tmp_path, Data("miniature", "0123abcd"), "", 1),
    ]
    assert len({path.parent for path in (had, *others)}) == 4


def test_runs_of_an_earlier_brainkit_are_told_in_one_sentence(tmp_path):
    old = tmp_path / "miniature" / "subj01" / "toy"
    old.mkdir(parents=True)
    (old / "run.toml").write_text("")
    assert found_runs(tmp_path) == ([], [old])
    sentence = older([old])
    assert str(old) in sentence
    assert "earlier brainkit" in sentence
    assert "\n" not in sentence
