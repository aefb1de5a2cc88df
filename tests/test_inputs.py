"""Inputs that change, while a run reads them or after: sessions, pictures, labels, weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from brainkit.checkpoints.contents import NOTE, content, revision
from brainkit.checkpoints.record import Record, facts_below, hashes
from brainkit.errors import DataError
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig


@pytest.fixture
def data(nsd, tmp_path, monkeypatch) -> Path:
    """A copy of a download that may be changed, and a home that knows of no content."""
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(nsd, tmp_path / "data"))


@pytest.fixture
def do(data, registry, tmp_path):
    """Return a function that does a run; it returns the names of the steps it computed."""

    def doing(**settings) -> list[str]:
        common = {"nsd": data, "work": tmp_path / "work", "images": 2, "ceiling": False}
        prepared = prepare(RunConfig("toy", **{**common, **settings}), registry, lambda line: None)
        run(prepared)
        return prepared.work.computed

    return doing


def alter(path: Path, change) -> None:
    """Change a file's content as `rsync -a` or a repair does: size and time are kept."""
    status = path.stat()
    altered = change(path.read_bytes())
    assert len(altered) == status.st_size
    aside = path.with_name("aside")
    aside.write_bytes(altered)
    os.utime(aside, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(aside, path)


def one_bit(content: bytes) -> bytes:
    # Between the blocks that fingerprints hold.
    place = len(content) // 2 + 4096 if len(content) > 400_000 else len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_current_run_hashes_nothing(do, monkeypatch):
    do()
    monkeypatch.setattr("brainkit.checkpoints.contents._read", lambda path: pytest.fail(str(path)))
    assert do() == []


def test_pictures_that_changed_between_the_blocks_are_encoded_again(do, data):
    do()
    (stimuli,) = data.rglob("nsd_stimuli.hdf5")
    whole = stimuli.read_bytes()
    alter(stimuli, one_bit)
    assert "features/picture" in do()
    assert do() == []
    alter(stimuli, lambda content: whole)
    assert "features/picture" not in do()


def test_a_copy_elsewhere_with_other_times_recomputes_nothing(do, data, tmp_path):
    do()
    moved = tmp_path / "moved" / "data"
    shutil.copytree(data, moved, copy_function=shutil.copyfile)
    # The settings, which tell where the data lie, are in these two.
    assert set(do(nsd=moved)) <= {"metrics", "report"}


def test_exchanged_labels_are_seen(do, data):
    tables = sorted(data.rglob("*.mgz.ctab"))
    assert tables
    do()
    rows = tables[0].read_bytes().split(b"\n")
    alter(tables[0], lambda content: b"\n".join(rows[::-1]))
    assert "trials" in do()


def test_a_file_that_changes_while_it_is_read_stops_the_run(do, data, monkeypatch, tmp_path):
    session = sorted(data.rglob("betas_session01.*"))[0]
    monkeypatch.setattr("brainkit.nsd.load_trials", _then(session))
    with pytest.raises(DataError, match=r"betas_session01.* changed while this run read it"):
        do()
    assert not list(tmp_path.rglob("trials-*.safetensors"))


def _then(path: Path):
    from brainkit.nsd import load_trials

    def loading(*arguments, **options):
        trials = load_trials(*arguments, **options)
        os.utime(path)
        return trials

    return loading


def test_weights_of_equal_size_and_older_time_are_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"before")
    Record("by hand", files=facts_below(folder)).write(folder)
    before = hashes(folder)
    assert not (tmp_path / "home" / NOTE).exists()
    other = tmp_path / "other"
    other.write_bytes(b"after!")
    os.utime(other, (0, 0))
    os.replace(other, folder / "model.safetensors")
    after = hashes(folder)
    assert after != before
    assert hashes(folder) == after


def test_content_is_read_once_and_known_by_every_process(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path / "home"))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = content(path)
    assert revision("key", path) == ""
    monkeypatch.setattr("brainkit.checkpoints.contents._read", lambda path: pytest.fail("read"))
    assert content(path) == first
    monkeypatch.undo()
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path / "home"))
    path.write_bytes(b"two")
    assert revision("key", path) == content(path) != first
    path.write_bytes(b"one")
    assert revision("key", path) == ""


def test_a_home_that_cannot_be_written_remembers_nothing_and_reads_nothing(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("brainkit.checkpoints.contents._read", lambda path: pytest.fail("read"))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert (content(path), revision("key", path)) == ("", "")


def test_a_spoilt_note_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    (tmp_path / NOTE).write_bytes(b'{"a": 1}\n["key"\n[1, 2]\n\xff\n' + b"[" * 10**5 + b"\n")
    first = content(path)
    assert len(first) == 64
    assert content(path) == first
