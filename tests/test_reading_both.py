"""What encoders are given: one half of the stimuli, both, and files of the user's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainkit.errors import DataError
from brainkit.nsd import load_captions, load_stimuli
from brainkit.options import option
from brainkit.run import prepare
from brainkit.run.config import RunConfig
from brainkit.run.encode import encode, stimuli_reader


@dataclass(frozen=True)
class Described:
    """How bright an image is, how many captions it has, and what a file says."""

    name = "described"
    table: str = option("", "a file with a number")
    checkpoints = ()

    @property
    def reads(self):
        return "both"

    @property
    def files(self):
        return (Path(self.table),)

    def shape(self, store):
        return (3,)

    def load(self, store):
        def measure(stimuli):
            said = float(Path(self.table).read_text())
            pairs = zip(stimuli.images, stimuli.captions, strict=True)
            rows = [[each.mean() / 255, len(texts), said] for each, texts in pairs]
            return torch.tensor(rows, dtype=torch.float32)

        return measure


@pytest.fixture
def prepared(nsd, registry, tmp_path):
    """A run whose first feature is that of `Described`, and the lines it says."""
    said = []
    table = tmp_path / "table.txt"
    table.write_text("4.5")
    run = prepare(RunConfig(method="toy", nsd=nsd, work=tmp_path / "work"), registry, said.append)
    feature = next(iter(run.method.encoders))
    part = Described(str(table))
    method = run.method.with_part(f"encoder.{feature}", "described", lambda kind, name: part)
    toy = SimpleNamespace(distribution="brainkit-toy 1.0", version="brainkit-toy 1.0")
    versions = SimpleNamespace(provider=lambda kind, part: toy, get=registry.get)
    return replace(run, method=method, registry=versions), feature, table, said


@pytest.mark.parametrize(
    ("reads", "images", "captions"),
    [("image", True, False), ("caption", False, True), ("both", True, True)],
)
def test_only_what_an_encoder_reads_is_filled_in(prepared, nsd, reads, images, captions):
    run = prepared[0]
    ids = run.image_ids[0][:3]
    found = stimuli_reader(run, reads)(ids)
    assert len(found.images) == (3 if images else 0)
    if images:
        np.testing.assert_array_equal(found.images, load_stimuli(nsd, ids))
    assert found.captions == (load_captions(nsd, ids) if captions else ((),) * 3)


def test_an_encoder_of_both_halves_is_stamped_with_both(prepared):
    run, feature, _, _ = prepared
    assert set(encode(run, feature).recipe.inputs) >= {"images", "captions", "image ids"}


def test_a_change_of_a_file_that_an_encoder_reads_encodes_anew(prepared):
    run, feature, table, said = prepared
    first = encode(run, feature)
    assert encode(run, feature).path == first.path
    assert "kept" in said[-1]
    table.write_text("5.5")
    second = encode(run, feature)
    assert "kept" not in said[-1]
    assert second.recipe.stamp != first.recipe.stamp


def test_a_missing_file_is_told_in_one_sentence(prepared):
    run, feature, table, _ = prepared
    table.unlink()
    with pytest.raises(DataError, match=r"table\.txt cannot be read .* check the path"):
        encode(run, feature)
