"""What users give with --from: folders of the hub's cache, and folders that macOS wrote into."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save

from brainkit.checkpoints.record import FileFacts, Record, hashes, listed
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.fetch.given import given
from brainkit.fetch.inventory import Stored, leftovers, state
from brainkit.fetch.known import Known
from brainkit.fetch.plan import FetchPlan, there
from brainkit.fetch.work import from_path
from brainkit.weights import Companion, Naming, Origin, Piece, Release, RemoteFile
from brainkit.weights.open import open_weights

PINNED, MAIN, OTHER = "a" * 40, "b" * 40, "c" * 40
CONTENT = save({"w": torch.arange(6.0).reshape(2, 3)})
DIGEST = sha256(CONTENT).hexdigest()


def release(sha: str = "", revision: str = "") -> Release:
    file = RemoteFile("net/model.safetensors", sha256=sha)
    layout = Naming(
        "official",
        (("net/model.safetensors", "net/model.bin"),),
        lambda config, names: {"w": Piece("w")},
    )
    return Release(
        "toy",
        (Origin((file,), "MIT", repository="toys/net", revision=revision),),
        {"kind": "toy"},
        lambda config: {"w": (2, 3)},
        (layout,),
        (Companion("words.json", (("words.json",),)),),
    )


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Convert what a path has of the toy; return the store's tensor and the lines that are told."""
    module = SimpleNamespace(TOY=release())
    monkeypatch.setitem(sys.modules, "given_toy", module)

    def fetch(path: Path, of: Release) -> SimpleNamespace:
        module.TOY, store = of, tmp_path / "store"
        planned = FetchPlan(
            tuple(there([Known(Checkpoint("toy", release="given_toy:TOY"))], store)), store
        )
        lines = list(from_path(planned, path, None, connect=False, say=lambda text: None))
        return SimpleNamespace(tensor=load_file(store / "toy/model.safetensors")["w"], lines=lines)

    return fetch


def cache(root: Path, commits: dict[str, dict[str, bytes]], main: str = "") -> Path:
    """Write a repository into a cache as the hub's library does."""
    repository = root / "models--toys--net"
    for commit, files in commits.items():
        for name, content in files.items():
            blob = repository / "blobs" / sha256(content).hexdigest()
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            path = repository / "snapshots" / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(blob)
    if main:
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text(main)
    return repository


WHOLE = {"net/model.safetensors": CONTENT, "words.json": b"{}"}


@pytest.mark.parametrize("part", ["", "snapshots", "blobs", f"snapshots/{MAIN}", "..", "../.."])
def test_a_repository_of_the_cache_serves_in_every_part(part, fetched, tmp_path):
    repository = cache(tmp_path / "hf/hub", {MAIN: WHOLE}, main=MAIN)
    done = fetched(repository / part, release())
    assert torch.equal(done.tensor, torch.arange(6.0).reshape(2, 3))
    assert (tmp_path / "store/toy/words.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("commits", "revision", "main", "taken"),
    [
        ({PINNED: WHOLE, MAIN: WHOLE, OTHER: WHOLE}, PINNED, MAIN, PINNED),
        ({PINNED: WHOLE, MAIN: WHOLE, OTHER: WHOLE}, "", MAIN, MAIN),
        ({MAIN: {"words.json": b"{}"}, OTHER: WHOLE}, "", MAIN, OTHER),
        ({PINNED: {"words.json": b"{}"}}, "", "", PINNED),
        ({"._a": WHOLE, OTHER: WHOLE}, "", "", OTHER),
    ],
)
def test_the_published_commit_is_taken_or_the_newest_that_has_weights(
    commits, revision, main, taken, tmp_path
):
    repository = cache(tmp_path, commits, main=main)
    items = [SimpleNamespace(release=release(revision=revision))]
    with given(repository, items) as places:
        assert places == (repository / "snapshots" / taken,)


@pytest.mark.parametrize("sha", [DIGEST, DIGEST[:8], ""])
def test_blobs_alone_are_known_by_their_hash_or_by_being_the_only_ones(sha, fetched, tmp_path):
    blobs = cache(tmp_path, {MAIN: WHOLE}).rename(tmp_path / "copied") / "blobs"
    for path in sorted((tmp_path / "copied/snapshots").rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() else path.rmdir()
    (tmp_path / "copied/snapshots").rmdir()
    if sha:
        (blobs / ("d" * 64)).write_bytes(save({"other": torch.ones(1)}))
    done = fetched(blobs, release(sha=sha))
    assert torch.equal(done.tensor, torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("kind", ["torch", "old", "safetensors"])
def test_one_content_of_the_cache_is_read_whatever_its_format(kind, fetched, tmp_path):
    tensors, path = {"w": torch.ones(2, 3)}, tmp_path / ("e" * 64)
    if kind == "safetensors":
        path.write_bytes(save(tensors))
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "torch")
    assert torch.equal(fetched(path, release()).tensor, tensors["w"])


def test_blobs_of_which_nothing_says_what_they_are_are_refused(tmp_path):
    (tmp_path / "blobs").mkdir()
    for letter in "de":
        (tmp_path / "blobs" / (letter * 64)).write_bytes(save({letter: torch.ones(1)}))
    items = [SimpleNamespace(release=release())]
    with (
        pytest.raises(CheckpointError, match="blobs has 2 files with weights, and nothing says"),
        given(tmp_path / "blobs", items),
    ):
        pass


def test_messages_name_the_folder_that_was_given(fetched, tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / ("d" * 64)).write_bytes(save({"other": torch.ones(1)}))
    with pytest.raises(
        CheckpointError, match=r"blobs has 1 tensors.*its names are 'other'"
    ) as told:
        fetched(tmp_path / "blobs", release())
    assert "brainkit-blobs" not in str(told.value)


SIDE = bytes.fromhex("00051607") + bytes(4092)


def test_side_files_of_macos_are_passed_over_in_the_store(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(CONTENT)
    before = hashes(folder)
    (folder / "._model.safetensors").write_bytes(SIDE)
    (tmp_path / "._toy").write_bytes(SIDE)
    assert hashes(folder) == before
    assert leftovers(tmp_path, ["toy"]) == []
    assert [each.name for each in listed(tmp_path)] == ["toy"]


def test_a_side_file_that_is_given_is_told_as_one(tmp_path):
    (tmp_path / "._net.pth").write_bytes(SIDE)
    with (
        pytest.raises(CheckpointError, match=r"is a side file of macOS in place of the weights"),
        open_weights(tmp_path / "._net.pth"),
    ):
        pass


def test_names_from_files_and_folders_steer_no_terminal(tmp_path):
    folder, toy = tmp_path / "toy", Checkpoint("toy")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(CONTENT)
    (folder / "config.json").write_text("{}")
    (tmp_path / "stray\x1b[2J\nname").write_bytes(b"x")
    record = Record("owner/\x1b[2J", "a\x1b", "MIT\x07", files={"\x1b]0;x": FileFacts(1, "00")})
    record.write(folder)
    found = state(toy, tmp_path)
    assert found.word == "damaged"
    text = Stored(tmp_path, ((Known(toy), found),), tuple(leftovers(tmp_path, ["toy"]))).text()
    assert all(line.isprintable() for line in text.split("\n"))
    assert "owner/\\x1b[2J" in text
    assert "stray\\x1b[2J\\nname, 1 B" in text
