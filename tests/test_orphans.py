"""What killed runs leave: facts of trials, rows, states and part files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from trees import TIMES

from brainkit.errors import BrainkitError
from brainkit.miniature import miniature
from brainkit.miniature.brain import Difficulty
from brainkit.run import Run, prepare, run
from brainkit.run.artefact import Artefact, Recipe, read_note, write_tensors
from brainkit.run.config import RunConfig
from brainkit.run.growing import GrowingTensors, TensorRows
from brainkit.run.journal import FileFitJournal, FileJournal
from brainkit.run.orphans import remove_orphans
from brainkit.run.records import RECORDS


@pytest.fixture
def do(nsd, registry, tmp_path):
    """Return a function that does a run of the toy in a folder of its own, and what it said."""

    def doing(work: str = "work", **settings) -> tuple[Run, list[str]]:
        lines: list[str] = []
        config = RunConfig("toy", nsd=nsd, work=tmp_path / work, **{"images": 3, **settings})
        prepared = prepare(config, registry, lines.append)
        run(prepared)
        return prepared, lines

    return doing


def metrics(prepared: Run) -> dict:
    """Return the scores without the times they tell."""
    return json.loads(TIMES.sub(b'"": 0', prepared.folder.metrics.read_bytes()))


def trials_of(prepared: Run) -> Path:
    (path,) = prepared.folder.subject.glob("trials-*.safetensors")
    return path


def tell_like_an_earlier_brainkit(path: Path) -> Path:
    """Keep the facts of trials in a file beside them, as was done before."""
    facts = path.with_suffix(".json")
    facts.write_text(read_note(path, "facts"))
    trials = Artefact(path, Recipe("trials"))
    recipe = Recipe(**{k: v for k, v in json.loads(read_note(path, "brainkit")).items()
                       if k != "layout"})  # fmt: skip
    tensors = {name: tensor.clone() for name, tensor in trials.tensors().items()}
    write_tensors(path, tensors, recipe)
    (path.parent / RECORDS).unlink()
    for name in ("metrics.json", "report.html"):
        for file in path.parent.rglob(name):
            file.unlink()
    return facts


# --- the facts of trials ------------------------------------------------------------------------


def test_sessions_and_warnings_lie_in_the_header_of_trials(do):
    whole, _ = do()
    assert not trials_of(whole).with_suffix(".json").exists()
    assert read_note(trials_of(whole), "facts").startswith('{"sessions": [')
    assert " 0 sessions" not in json.dumps(metrics(whole))
    again, _ = do("again")
    assert trials_of(again).read_bytes() == trials_of(whole).read_bytes()


def test_the_file_beside_older_trials_is_read(do):
    whole, _ = do()
    before = metrics(whole)
    tell_like_an_earlier_brainkit(trials_of(whole))
    again, lines = do()
    assert "trials: kept" in lines
    assert metrics(again) == before


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "5", '{"sessions": 3}', "\ud800", "[" * 10**5]
)
def test_older_trials_whose_facts_are_lost_are_made_again(do, text):
    whole, _ = do()
    before, content = metrics(whole), trials_of(whole).read_bytes()
    facts = tell_like_an_earlier_brainkit(trials_of(whole))
    if text is None:
        facts.unlink()
    else:
        facts.write_bytes(text.encode("utf-8", "surrogatepass"))
    again, lines = do()
    assert f"trials: computing (its facts, {facts.name}, are lost or damaged)" in lines
    assert "features/picture: kept" in lines
    assert metrics(again) == before
    assert trials_of(again).read_bytes() == content


# --- orphans ------------------------------------------------------------------------------------

RECIPE, OTHER = Recipe("one"), Recipe("other")


def make_orphans(folder: Path) -> set[str]:
    """Leave behind what kills leave; return what has to stay."""
    rows = (TensorRows("train", "F32", (4, 2)),)
    done = folder / "features" / "done.safetensors"
    done.parent.mkdir(parents=True)
    growing = GrowingTensors(done, rows, RECIPE)
    growing.write("train", 0, torch.ones(4, 2).numpy())
    note = (folder / "features" / "done.safetensors.rows").read_bytes()
    growing.finish()
    (folder / "features" / "done.safetensors.rows").write_bytes(note)
    GrowingTensors(folder / "features" / "begun.safetensors", rows, RECIPE)
    half = GrowingTensors(folder / "features" / "half.safetensors", rows, RECIPE)
    half.write("train", 0, torch.ones(2, 2).numpy())
    (folder / "toy").mkdir()
    for name in ("a.png.1234.part", "metrics.json.part", ".a.recipe.77.part", "old.png.part"):
        (folder / "toy" / name).write_text("half")
    (folder / "toy" / "captions.jsonl.part").write_text('{"caption": "word"}\n')
    (folder / "ended").mkdir()
    finished = Artefact(folder / "ended" / "finished.safetensors", RECIPE)
    FileJournal([finished]).keep(0, {"latent": torch.ones(2)})
    write_tensors(finished.path, {"latent": torch.ones(2)}, RECIPE)
    running = Artefact(folder / "toy" / "running.safetensors", RECIPE)
    FileJournal([running]).keep(0, {"latent": torch.ones(2)})
    rerun = Artefact(folder / "toy" / "rerun.safetensors", OTHER)
    FileJournal([rerun]).keep(0, {"latent": torch.ones(2)})
    write_tensors(rerun.path, {"latent": torch.ones(2)}, RECIPE)
    (folder / "toy" / "spoilt.state.safetensors").write_bytes(b"\0" * 20)
    (folder / "toy" / "dangling.part").symlink_to(folder / "nowhere")
    (folder / "toy" / "folder.part").mkdir()
    return {
        *("done.safetensors", "half.safetensors.part", "half.safetensors.rows"),
        *("captions.jsonl.part", "finished.safetensors", "running.state.safetensors"),
        *("rerun.safetensors", "rerun.state.safetensors", "folder.part"),
    }


def test_what_no_run_would_take_up_is_removed_and_the_rest_stays(tmp_path):
    stays = make_orphans(tmp_path)
    assert remove_orphans(tmp_path) == 9
    left = {path.name for path in tmp_path.rglob("*")} - {"features", "toy", "ended", ".locks"}
    assert left == stays
    assert remove_orphans(tmp_path) == 0


def test_states_stay_while_another_of_their_batch_leads_on(tmp_path):
    batch = [Artefact(tmp_path / f"nsd{row}.safetensors", RECIPE) for row in range(3)]
    journal = FileJournal(batch)
    for row in range(3):
        journal.keep(row, {"latent": torch.ones(2)})
    journal.finish(0, torch.ones(2))
    journal.finish(1, torch.ones(2))
    assert remove_orphans(tmp_path) == 0
    journal.finish(2, torch.ones(2))
    assert remove_orphans(tmp_path) == 3
    assert {path.name for path in tmp_path.glob("nsd*")} == {latent.path.name for latent in batch}


def test_a_run_removes_what_a_killed_one_left_and_says_so(do):
    whole, _ = do()
    subject = whole.folder.subject
    (subject / "features" / "picture-00.safetensors.rows").write_text("{}")
    (whole.folder.root / "images" / "nsd00001.png.999.part").write_text("half")
    before = len(list(subject.rglob("*")))
    _, lines = do()
    assert "2 files that a killed run left over are removed" in lines
    assert len(list(subject.rglob("*"))) == before - 2
    _, lines = do()
    assert not [line for line in lines if "left over" in line]


def test_a_dry_run_removes_nothing(do, nsd, registry, tmp_path):
    whole, _ = do()
    orphan = whole.folder.root / "images" / "nsd00001.png.999.part"
    orphan.write_text("half")
    config = RunConfig("toy", nsd=nsd, work=tmp_path / "work", images=3)
    run(prepare(config, registry, lambda line: None, dry=True))
    assert orphan.exists()


def test_a_killed_making_of_the_miniature_is_removed_by_the_next(tmp_path):
    small = Difficulty(voxels=40, train_images=10, test_images=4)
    folder = miniature(tmp_path, small).nsd
    folder.rename(folder.with_name(f"{folder.name}.x1.part"))
    other = tmp_path / "nsd-0123456789ab.x2.part"
    other.mkdir()
    assert miniature(tmp_path, small).nsd == folder
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {folder.name, other.name}


# --- damaged states -----------------------------------------------------------------------------


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, 60),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
        lambda path: write_tensors(path, {"latent": torch.ones(2)}, RECIPE),
    ],
)
def test_a_damaged_state_is_not_taken_up(tmp_path, damage):
    weights = Artefact(tmp_path / "picture.safetensors", RECIPE)
    journal = FileFitJournal(weights)
    state = {"latent": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3).half()}
    journal.keep({**state, "done": torch.tensor(3), "none": torch.zeros(0, 3)})
    assert torch.equal(journal.state()["latent"], state["latent"])
    assert int(journal.state()["done"]) == 3
    damage(tmp_path / "picture.state.safetensors")
    assert journal.state() == {}


def test_an_error_of_a_run_is_a_sentence(do):
    whole, _ = do()
    picture = next((whole.folder.root / "images").glob("*.png"))
    picture.unlink()
    picture.mkdir()
    with pytest.raises(BrainkitError, match=rf"{picture.name} is a folder, but a file"):
        do()
