"""A step over `one` and `each`: what it says, what it makes, and that adding one is little work."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainkit.run import Artefact, Recipe, Run, each, one, prepare, run, write_text
from brainkit.run.artefact import write_png
from brainkit.run.config import RunConfig
from brainkit.run.shared import Draw, Work
from brainkit.run.step import Batches


@pytest.fixture
def prepared(nsd, registry, tmp_path):
    """Return a function that prepares a run of the toy, and what it said."""

    def preparing(**settings) -> tuple[Run, list[str]]:
        lines: list[str] = []
        dry = settings.pop("dry", False)
        config = RunConfig("toy", nsd=nsd, work=tmp_path, **{"images": 5, **settings})
        return prepare(config, registry, lines.append, dry=dry), lines

    return preparing


# --- a typical change: a step that makes a file of every picture --------------------------------


def enlarged(run: Run, pictures: list[Artefact], factor: int) -> list[Artefact]:
    """Enlarge pictures before they are looked at."""
    made = [
        run.artefact(
            run.folder.root / "enlarged" / f"{draw.name}.png",
            "enlarged",
            inputs={"picture": picture.stamp},
            extra=f"factor={factor}",
        )
        for draw, picture in zip(run.draws, pictures, strict=True)
    ]
    with each(run, "enlarged", made, doing="enlarging") as batches:
        for batch in batches:
            for artefact, picture in zip(batch.of(made), batch.of(pictures), strict=True):
                small = np.asarray(Image.open(picture.path))
                write_png(artefact.path, small.repeat(factor, 0).repeat(factor, 1), artefact.recipe)
    return made


def reconstructed(run_: Run) -> list[Artefact]:
    """Do the run and return its pictures."""
    from brainkit.run import decode, predictions, sample

    run(run_)
    latents = sample.sample(run_, "brain", predictions(run_).decoded)
    return list(decode.decode(run_, "brain", latents)["image"])


def test_a_new_step_is_made_kept_and_resumed_like_any_other(prepared):
    now, lines = prepared()
    pictures = reconstructed(now)
    lines.clear()
    made = enlarged(now, pictures, 2)
    assert lines == ["enlarged: computing 5 of 5 images (new)"]
    for large, small in zip(made, pictures, strict=True):
        assert Image.open(large.path).size == tuple(2 * n for n in Image.open(small.path).size)
    made[3].path.unlink()
    lines.clear()
    enlarged(now, pictures, 2)
    enlarged(now, pictures, 2)
    assert lines == [
        "enlarged: computing 5 of 5 images (new, 4 with their batch)",
        "enlarged: kept (5 images)",
    ]
    assert now.work.computed[-2:] == ["enlarged"] * 2
    assert now.work.kept[-1] == "enlarged"


def test_a_new_step_says_why_and_makes_nothing_on_a_dry_run(prepared):
    now, _ = prepared()
    pictures = reconstructed(now)
    made = enlarged(now, pictures, 2)
    before = [each.path.read_bytes() for each in made]
    dry, lines = prepared(dry=True)
    enlarged(dry, pictures, 3)
    assert lines == [
        "enlarged: would be computed for 5 of 5 images (factor=2 -> factor=3)",
    ]
    assert [each.path.read_bytes() for each in made] == before
    other, lines = prepared(images=3)
    enlarged(other, pictures[:3], 2)
    assert lines == ["enlarged: kept (3 images)"]


# --- batches ------------------------------------------------------------------------------------


def files(folder: Path, n: int) -> list[Artefact]:
    return [Artefact(folder / f"{i}.txt", Recipe("texts", (f"text={i}",))) for i in range(n)]


def test_a_batch_with_a_stale_row_of_any_of_several_files_is_made_whole(prepared, tmp_path):
    now, lines = prepared(batch_size=2)
    first, second = files(tmp_path / "a", 7), files(tmp_path / "b", 7)
    for artefact in (*first[:6], *second[1:]):
        one(now, artefact, lambda file: write_text(file.path, "text"))
    lines.clear()
    seen = []
    with each(now, "both", first, second, doing="writing") as batches:
        assert len(batches) == 2
        for batch in batches:
            assert batch.of("abcdefg") == ["abcdefg"[row] for row in batch.rows]
            seen.append((list(batch.rows), batch.writing_order(second)))
    # Of the first batch the second file is current, and so written first.
    assert seen == [([0, 1], [1, 0]), ([6], [0])]
    assert lines == ["both: computing 3 of 7 images (new, 4 kept, 1 with their batch)"]


def test_rows_that_are_not_the_draws_fall_into_the_batches_of_these(prepared, tmp_path):
    now, lines = prepared(batch_size=4)
    strips = files(tmp_path / "a", 4)
    for artefact in (strips[0], strips[3]):
        one(now, artefact, lambda file: write_text(file.path, "text"))
    places = [0, 3, 6, 9]
    with each(now, "strips", strips, doing="writing", places=places, unit="texts") as batches:
        assert [list(batch.rows) for batch in batches] == [[0, 1], [2]]
    assert lines[-1] == "strips: computing 3 of 4 texts (new, 1 kept, 1 with their batch)"


def test_a_step_without_files_says_nothing(prepared):
    now, lines = prepared()
    with each(now, "paths", [], doing="nothing") as batches:
        assert not batches
        assert list(batches) == []
    assert lines == now.work.kept == now.work.computed == []


class Counter:
    """Counts like a bar."""

    def __init__(self) -> None:
        self.done, self.parts = 0.0, []

    def of(self, done: float, total: float) -> None:
        self.done = done

    def within(self, batch: float):
        self.parts.append(batch)


def test_the_bar_ends_where_a_batch_ends_and_begins_with_the_first():
    begun: list[Counter] = []

    def begin() -> Counter:
        begun.append(Counter())
        return begun[0]

    batches = Batches(
        groups=[[0, 1], [2, 3], [4]],
        begin=begin,
        hold=lambda rows: None,
        stale=lambda rows: True,
        wait=pytest.fail,
        end=lambda rows: None,
    )
    assert not begun
    counts = []
    for batch in batches:
        counts.append(begun[0].done)
        batch.progress(0.5)
    assert [*counts, begun[0].done] == [0, 2, 4, 5]
    assert begun[0].parts == [1.0, 1.0, 0.5]


def test_a_failure_within_a_batch_takes_the_bar_away(prepared, tmp_path, monkeypatch):
    closed: list[bool] = []
    monkeypatch.setattr("brainkit.console.Bar.close", lambda bar: closed.append(True))
    now, _ = prepared()

    def failing() -> None:
        with each(now, "texts", files(tmp_path, 3), doing="failing") as batches:
            for _ in batches:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert closed == [True]


# --- one file -----------------------------------------------------------------------------------


def test_one_file_is_made_once_with_its_recipe_beside_it(prepared, tmp_path):
    now, lines = prepared()
    artefact = Artefact(now.work.root / "notes.json", Recipe("notes", ("Notes(n=1)",)))
    assert one(now, artefact, lambda file: write_text(file.path, "{}")) is artefact
    assert artefact.current
    assert lines[0] == "notes: computing (new)"
    assert lines[1].startswith("notes: done in ")
    one(now, artefact, lambda file: pytest.fail("it is current"))
    assert lines[2:] == ["notes: kept"]
    changed = Artefact(artefact.path, Recipe("notes", ("Notes(n=2)",)))
    dry = Work(now.work.root, lines.append, dry=True)
    looking = type(now)(now.config, now.method, now.registry, dry, now.store, now.nsd)
    one(looking, changed, lambda file: pytest.fail("the run is dry"), size="2 B")
    assert lines[3:] == ["notes: would be computed (n 1 -> 2), writes notes.json, 2 B"]
    assert json.loads(artefact.path.read_text()) == {}


def test_a_looking_run_computes_and_says_nothing(prepared, tmp_path):
    now, lines = prepared()
    run(now.looking())
    assert lines == []
    assert not (tmp_path / "nsd").exists()


def test_a_dry_run_on_the_miniature_imports_no_torch(toy_environment, tmp_path):
    code = f"""
        import sys
        from pathlib import Path
        from brainkit.plugins import Registry
        from brainkit.run import RunConfig, prepare, run
        small = {{"miniature.voxels": 40, "miniature.train_images": 20, "miniature.test_images": 4}}
        config = RunConfig("toy", work=Path({str(tmp_path)!r}), options=small)
        run(prepare(config, Registry.installed(), print, dry=True))
        print("torch" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, env=toy_environment)
    assert "latents/brain: would be computed" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


# --- names --------------------------------------------------------------------------------------


def test_files_of_a_draw_are_named_for_image_and_sample(prepared):
    folder = prepared()[0].folder
    assert folder.root.parent == folder.subject / "runs"
    first, second = Draw(12, 1), Draw(12, 2)
    assert folder.picture("brain", first) == folder.root / "images" / "nsd00012.png"
    assert folder.picture("true", second) == folder.root / "true" / "images" / "nsd00012-2.png"
    latent = folder.subject / "latents" / "caption-0a" / "nsd00012.safetensors"
    assert folder.latent("caption", "0a", first) == latent
    assert folder.features("clip", "0a") == folder.subject / "features" / "clip-0a.safetensors"
