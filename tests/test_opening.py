"""A file of a run is held against its record when a step opens it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brainkit.errors import DataError
from brainkit.run import records
from brainkit.run.artefact import Artefact, Recipe, write_tensors


@pytest.fixture
def written(tmp_path) -> Artefact:
    """A file of one tensor, with its record."""
    artefact = Artefact(tmp_path / "a.safetensors", Recipe("step"))
    write_tensors(artefact.path, {"test": torch.arange(6.0)}, artefact.recipe)
    artefact.record()
    return artefact


OPENINGS: dict[str, Callable[[Artefact], object]] = {
    "one tensor": lambda artefact: artefact["test"],
    "all tensors": Artefact.tensors,
    "of the test images": Artefact.test,
    "the file": Artefact.intact,
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_a_file_is_held_against_its_record_when_it_is_opened(written, opening):
    assert OPENINGS[opening](written) is not None
    content = written.path.read_bytes()
    written.path.write_bytes(content[:-1] + b"\1")
    with pytest.raises(DataError, match=r"a.safetensors was changed after .*; run the same"):
        OPENINGS[opening](written)
    os.truncate(written.path, len(content) // 2)
    with pytest.raises(DataError, match=r"a.safetensors is cut off"):
        OPENINGS[opening](written)
    written.path.unlink()
    with pytest.raises(DataError, match=r"a.safetensors is not there any more"):
        OPENINGS[opening](written)


def test_a_file_is_hashed_on_opening_where_its_time_differs_only(written, monkeypatch):
    hashed: list[Path] = []
    real = records.file_sha256
    monkeypatch.setattr(records, "file_sha256", lambda path: hashed.append(path) or real(path))
    written.tensors()
    assert hashed == []
    os.utime(written.path)
    written.tensors()
    assert hashed == [written.path]
