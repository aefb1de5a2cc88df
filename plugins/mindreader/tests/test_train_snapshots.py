"""Snapshots of a training: the curve, the last networks and the best."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tiny_training import SHAPE, draw, toy_set, training
from torch.nn import functional

from brainkit.run.artefact import Recipe
from brainkit_mindreader.train.pictures import as_signed, as_whole
from brainkit_mindreader.train.snapshots import Snapshots
from brainkit_mindreader.train.validation import Distance, Validation

WEIGHTS = "mindreader-generator/model.safetensors"
NAME = "synthesis.b16.conv1.weight"


@pytest.fixture
def course():
    AcceleratorState._reset_state(True)
    yield training()
    AcceleratorState._reset_state(True)


def shown(distance: Distance | None = None) -> Validation:
    pictures, embeddings = toy_set()
    return Validation(as_whole(pictures), (embeddings, embeddings.flip(1)), distance)


def shifted(*shifts: float) -> Distance:
    """A network that sees generated pictures moved by so much, one snapshot after the other."""
    left = [value for shift in shifts for value in (0.0, shift)]
    base = np.random.default_rng(0).normal(size=(4, 3))
    return Distance("toy", lambda pictures: base + left.pop(0))


def test_the_best_snapshot_is_that_of_least_distance(course, tmp_path):
    snapshots, validation = Snapshots(tmp_path, Recipe("test")), shown(shifted(2, 1, 3))
    kept = []
    for _ in range(3):
        said = course.advance(draw, 0.5)
        snapshots.take(course, validation, said)
        kept.append(course.averaged.state_dict()[NAME].clone())
    # Equal covariances: the distance is that of the means, squared, over three dimensions.
    found = [line["Fréchet distance, toy"] for line in snapshots.lines()]
    assert found == pytest.approx([12.0, 3.0, 27.0], rel=1e-4)
    assert torch.equal(load_file(tmp_path / "best" / WEIGHTS)[NAME], kept[1])
    assert torch.equal(load_file(tmp_path / "last" / WEIGHTS)[NAME], kept[2])
    config = json.loads((tmp_path / "last" / "mindreader-generator" / "config.json").read_text())
    assert config["f_dims"] == list(SHAPE.f_dims)


def test_without_a_network_that_compares_there_is_no_best(course, tmp_path):
    snapshots = Snapshots(tmp_path, Recipe("test"))
    snapshots.take(course, shown(), course.advance(draw, 0.5))
    assert {each.name for each in tmp_path.iterdir()} == {"curve.jsonl", "pictures", "last"}


def test_going_on_from_an_earlier_step_forgets_what_came_after_it(course, tmp_path):
    snapshots, validation = Snapshots(tmp_path, Recipe("test")), shown(shifted(2, 1))
    for _ in range(2):
        snapshots.take(course, validation, course.advance(draw, 0.5))
    snapshots.cut(1)
    assert [line["step"] for line in snapshots.lines()] == [1]
    snapshots.cut(0)
    assert not (tmp_path / "best").exists()


def test_validation_pictures_are_made_of_unit_embeddings_with_no_random_number(course):
    validation = shown()
    torch.manual_seed(1)
    made = validation.made(course.averaged)
    assert np.array_equal(made, shown().made(course.averaged))
    unit = [functional.normalize(each, dim=1) for each in validation.conditions]
    with torch.no_grad():
        expected = course.averaged(torch.zeros(4, SHAPE.z_dim), unit)
    assert abs(as_signed(made) - expected.clamp(-1, 1)).max() <= 1 / 255 + 1e-5
