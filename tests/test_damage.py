"""Damage in finished results is seen, told and made good, to the byte."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import trees
from damaging import EVERYWHERE, Damage, cut, dangling, flipped
from PIL import Image

from brainkit.errors import BrainkitError, DataError, UsageError
from brainkit.run import prepare, run
from brainkit.run.artefact import Artefact, Recipe, sidecar, write_text
from brainkit.run.config import RunConfig
from brainkit.run.maps import facts
from brainkit.run.publish import summary
from brainkit.run.records import RECORDS, records_in
from brainkit.run.verification import verify


def tree(folder: Path) -> dict[str, bytes]:
    """Return what is recorded: the content of all files, times left out, but for who made them."""
    hidden = ("run.toml", "identity.json")
    return {name: each for name, each in trees.tree(folder).items() if not name.endswith(hidden)}


@pytest.fixture(scope="module")
def settings(nsd):
    use = {"sampler": "toy-wanderer"}
    return lambda work: RunConfig("toy", nsd=nsd, work=work, images=3, use=use, ceiling=False)


@pytest.fixture(scope="module")
def finished(settings, toy, tmp_path_factory, shared_home) -> Path:
    """A finished run, not to be changed."""
    from brainkit.plugins import Registry, Source

    work = tmp_path_factory.mktemp("finished")
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])
    with pytest.MonkeyPatch.context() as patch:
        # The report names it where networks are missing.
        patch.setenv("BRAINKIT_HOME", str(shared_home))
        run(prepare(settings(work), registry, lambda line: None))
    return work


@pytest.fixture
def again(settings, registry, finished, tmp_path):
    """Return a function that runs again on a copy, and the copy."""
    work = tmp_path / "work"
    shutil.copytree(finished, work, copy_function=shutil.copy2)

    def running(*, dry: bool = False) -> tuple[list[str], list[str]]:
        lines: list[str] = []
        prepared = prepare(settings(work), registry, lines.append, dry=dry)
        run(prepared)
        if not dry:
            summary(prepared)
        return prepared.work.computed, lines

    return running, work


def swap(path: Path) -> None:
    other = next(each for each in sorted(path.parent.glob(f"*{path.suffix}")) if each != path)
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"a", b"e", 1).replace(b"0", b"1", 1))


FILES = {
    "trials": "trials-*.safetensors",
    "features": "features/picture-*.safetensors",
    "factor": "factor-*.safetensors",
    "weights": "weights/length-*.safetensors",
    "decoded": "decoded/picture-*.safetensors",
    "latents": "latents/image-*/nsd*.safetensors",
    "images": "runs/*/images/nsd*.png",
    "paths": "runs/*/paths/nsd*.png",
    "captions": "runs/*/captions.jsonl",
    "metrics": "runs/*/metrics.json",
    "report": "runs/*/report.html",
}
DAMAGES: dict[str, Damage] = {
    **EVERYWHERE,
    "another shape": lambda path: path.write_text("[[1, 2], 3]\n"),
    "dangling": dangling,
}


def one_of(work: Path, pattern: str) -> Path:
    return sorted(work.glob(f"*/subj01/{pattern}"))[0]


def test_every_file_of_a_finished_run_is_recorded(finished, settings):
    found = verify(finished)
    assert (found.damaged, found.unrecorded) == ([], [])
    assert {path.relative_to(finished).as_posix() for path in found.sound} == {
        name for name in tree(finished) if not name.endswith(".recipe")
    }


def test_a_run_that_is_as_it_was_computes_and_writes_nothing(again):
    running, work = again
    before = {path: path.read_bytes() for path in work.rglob(RECORDS)}
    assert len(before) > 9
    assert running()[0] == []
    assert {path: path.read_bytes() for path in work.rglob(RECORDS)} == before


@pytest.mark.parametrize("kind", FILES)
def test_damage_of_any_kind_is_made_good_to_the_byte(again, finished, kind):
    running, work = again
    path, whole = one_of(work, FILES[kind]), tree(finished)
    for name, damage in DAMAGES.items():
        damage(path)
        step = {"images": "images/brain", "captions": "captions/brain"}
        computed, lines = running()
        wanted = step.get(kind, kind)
        assert [each for each in computed if each.startswith(wanted)], (name, lines)
        told = "is cut off" in "".join(lines) or "was changed after" in "".join(lines)
        assert told or name == "dangling", (name, lines)
        assert tree(work) == whole, name
    assert running()[0] == []


@pytest.mark.parametrize("kind", ["features", "weights", "decoded", "latents", "images", "paths"])
def test_swapped_files_are_made_good(again, finished, kind):
    running, work = again
    swap(one_of(work, FILES[kind]))
    _, lines = running()
    assert "was changed after it was written" in "".join(lines) or "is cut off" in "".join(lines)
    assert tree(work) == tree(finished)


@pytest.mark.parametrize("kind", ["captions", "metrics", "report"])
def test_edited_text_is_made_good(again, finished, kind):
    running, work = again
    edit(one_of(work, FILES[kind]))
    _, lines = running()
    assert "was changed after it was written" in "".join(lines)
    assert tree(work) == tree(finished)


@pytest.mark.parametrize("text", ["", "[]", "\xff", "{", '{"made_by": 5, "weights": []}'])
def test_a_spoilt_recipe_beside_a_file_is_written_again(again, finished, text):
    running, work = again
    beside = sidecar(one_of(work, FILES["metrics"]))
    beside.write_bytes(text.encode("latin-1"))
    computed, lines = running()
    assert computed == ["metrics"]
    assert "metrics: computing (metrics.json has lost its recipe)" in lines
    assert tree(work) == tree(finished)


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_in_the_place_of_a_file_is_one_sentence(again, kind):
    running, work = again
    path = one_of(work, FILES[kind])
    path.unlink()
    path.mkdir()
    with pytest.raises(BrainkitError, match="is a folder, but a file is to be written there"):
        running()


def test_a_cut_file_is_told_on_a_dry_run_and_stays(again):
    running, work = again
    path = one_of(work, FILES["features"])
    size = path.stat().st_size
    os.truncate(path, size // 2)
    computed, lines = running(dry=True)
    assert computed == ["features/picture"]
    told = f"{path.name} is cut off: {size // 2} of {size} bytes"
    assert [line for line in lines if f"features/picture: would be computed ({told})" in line]
    assert path.stat().st_size == size // 2


def test_several_damaged_files_are_counted(again):
    running, work = again
    for path in work.glob(f"*/subj01/{FILES['images']}"):
        os.truncate(path, 30)
    line = next(line for line in running()[1] if line.startswith("images/brain"))
    assert " is cut off: 30 of " in line
    assert line.endswith(" and 2 more are damaged)")


# --- records ------------------------------------------------------------------------------------


def test_a_copy_without_times_is_current_and_recorded_once(again, finished, tmp_path, settings):
    running, work = again
    for path in work.rglob("*"):
        os.utime(path, (1, 1))
    before = sum(path.stat().st_size for path in work.rglob(RECORDS))
    assert running()[0] == []
    grown = sum(path.stat().st_size for path in work.rglob(RECORDS))
    assert before < grown <= 2 * before
    assert running()[0] == []
    assert sum(path.stat().st_size for path in work.rglob(RECORDS)) == grown


@pytest.mark.parametrize("text", [None, b"", b"\xff\n", b"[]\n5\n{}\n", b'{"name": 5}\n{"name'])
def test_lost_records_are_written_again_and_nothing_is_computed(again, text):
    running, work = again
    for path in work.rglob(RECORDS):
        path.unlink() if text is None else path.write_bytes(text)
    assert running()[0] == []
    found = verify(work)
    assert (found.damaged, found.unrecorded) == ([], [])


@pytest.mark.parametrize("kind", ["trials", "features", "decoded", "latents", "images", "paths"])
def test_a_file_without_a_record_is_held_against_its_own_header(again, finished, kind):
    running, work = again
    for path in work.rglob(RECORDS):
        path.unlink()
    path = one_of(work, FILES[kind])
    for damage in (cut(0.999), lambda path: path.write_bytes(path.read_bytes()[:-40])):
        damage(path)
        path.parent.joinpath(RECORDS).unlink(missing_ok=True)
        computed, lines = running()
        assert computed
        said = "".join(lines)
        assert "is cut off" in said or f"{path.name} has lost its recipe" in said
        assert tree(work) == tree(finished)


def test_a_record_of_other_options_does_not_count(tmp_path):
    first, second = (
        Artefact(tmp_path / "a.json", Recipe("step", (f"Part(n={n})",))) for n in (1, 2)
    )
    write_text(first.path, "one")
    first.record()
    write_text(second.path, "three")
    assert second.damage() == ""
    assert first.damage() == "was changed after it was written"
    second.record()
    assert second.damage() == ""
    assert [each.stamp for each in records_in(tmp_path)["a.json"]] == [first.stamp, second.stamp]


@pytest.mark.parametrize("kind", ["features", "decoded", "latents", "images", "captions"])
def test_a_file_that_is_spoilt_while_a_run_goes_on_feeds_no_step(
    again, finished, settings, registry, kind
):
    running, work = again
    said: list[str] = []
    reader, opening = ("images", "*.png") if kind == "latents" else ("metrics", "metrics.json")
    for each in work.glob(f"*/subj01/runs/*/**/{opening}"):
        each.unlink()

    def say(line: str) -> None:
        if line.startswith(reader) and not said:
            said.append(line)
            for path in work.glob(f"*/subj01/{FILES[kind]}"):
                flipped(0.9)(path)

    with pytest.raises(DataError, match=r"was changed after it was written; run the same command"):
        run(prepare(settings(work), registry, say))
    assert said
    running()
    assert tree(work) == tree(finished)


def test_a_record_that_was_cut_off_spoils_no_other(tmp_path):
    for name in ("a", "b"):
        write_text(tmp_path / name, name)
        Artefact(tmp_path / name, Recipe("step")).record()
        with (tmp_path / RECORDS).open("a") as file:
            file.write('{"name": "c", "stamp"')
    assert set(records_in(tmp_path)) == {"a", "b"}


OTHER_SHAPES = [
    "",
    "{",
    "[]",
    "5",
    '{"scores": 5}',
    '{"scores": [1]}',
    '{"maps": [1]}',
    "[" * 10**5,
]


@pytest.mark.parametrize("text", OTHER_SHAPES)
def test_scores_and_maps_of_another_shape_are_one_sentence(again, text):
    running, work = again
    path = one_of(work, FILES["metrics"])
    path.write_text(text)
    # Without the record, as of a file that an earlier brainkit wrote.
    (path.parent / RECORDS).unlink()
    with pytest.raises(BrainkitError, match=r"metrics.json holds no scores; delete it"):
        running()
    (path.parent / "maps.json").write_text(text)
    with pytest.raises(BrainkitError, match=r"maps.json holds no maps; delete it"):
        facts.read(path.parent / "maps.json")


# --- the command --------------------------------------------------------------------------------


def test_verify_finds_what_a_run_would_not_look_at(again, cli):
    running, work = again
    path = one_of(work, FILES["latents"])
    status = path.stat()
    flipped(1)(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert running()[0] == []
    ended = cli("verify", work, code=1)
    assert f"{path} was changed after it was written" in ended.stdout
    assert "files sound, 1 damaged" in ended.stdout
    report = json.loads(cli("verify", work, "--json", code=1).stdout)
    assert report["damaged"] == [{"file": str(path), "what": "was changed after it was written"}]
    path.unlink()
    assert {"latents/brain", "latents/null"} & set(running()[0])
    assert cli("verify", work).stdout.endswith("files sound, 0 damaged\n")


def test_verify_names_every_kind_of_damage(again):
    _, work = again
    told = {
        "trials": (cut(0.5), "is cut off"),
        "latents": (dangling, "is a link to nothing"),
        "captions": (edit, "was changed"),
        "metrics": (flipped(0.5), "was changed"),
    }
    for kind, (damage, _) in told.items():
        damage(one_of(work, FILES[kind]))
    page = one_of(work, FILES["report"])
    page.unlink()
    page.mkdir()
    one_of(work, FILES["images"]).unlink()
    found = {path.name: what for path, what in verify(work).damaged}
    assert len(found) == 5
    assert found["report.html"] == "is a folder"
    for kind, (_, what) in told.items():
        name = next(name for name in found if Path(FILES[kind]).name.split("*")[0] in name)
        assert found[name].startswith(what)


def test_verify_counts_what_has_no_record(again):
    _, work = again
    for path in work.rglob(RECORDS):
        path.unlink()
    cut(0.9)(one_of(work, FILES["factor"]))
    Image.new("RGB", (2, 2)).save(work / "mine.png")
    found = verify(work)
    assert not found.sound
    assert "cut off" in found.damaged[0][1]
    assert work / "mine.png" not in found.unrecorded
    assert f"{len(found.unrecorded)} without a record" in found.blocks()[-2]


def test_verify_says_where_nothing_is(tmp_path):
    with pytest.raises(UsageError, match="holds no results"):
        verify(tmp_path)
    with pytest.raises(UsageError, match="holds no results"):
        verify(tmp_path / "nowhere")
