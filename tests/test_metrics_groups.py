"""A group of scores is one value: all else that a new one needs follows from it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from brainkit import metrics
from brainkit.checkpoints import CheckpointStore
from brainkit.errors import UsageError
from brainkit.fetch import known
from brainkit.metrics import groups
from brainkit.metrics.groups import STANDARD, Group
from brainkit.miniature import referee
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, readers, run
from brainkit.run.config import RunConfig

TOLD = ("spread, Inception 2015",)


def spread(seen):
    """Score by how far the features of all reconstructions lie from one another."""
    values = [np.linalg.norm(recons - recons.mean(axis=0), axis=1) for _, recons in seen.read()]
    return (metrics.scored(f"spread, {seen.reader.name}", np.mean(values, axis=0)),)


@pytest.fixture(autouse=True)
def new_group(monkeypatch):
    """One more group, registered as the table in `groups` would have it."""
    group = Group("toy", "inception-2015", spread, lambda reader: (f"spread, {reader.name}",))
    monkeypatch.setitem(metrics.GROUPS, "toy", group)
    return group


@pytest.fixture
def do(nsd, toy, tmp_path):
    """Run the toy plugin's method with a group on a download; return its scores by name."""
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])

    def doing(*scores, miniature=False):
        config = RunConfig("toy", nsd=nsd, work=tmp_path, images=4, ceiling=False, scores=scores)
        prepared = prepare(config, registry, lambda line: None)
        store = CheckpointStore(tmp_path / "store", miniature=miniature)
        if miniature:
            config = dataclasses.replace(config, nsd=None)
        folder = run(dataclasses.replace(prepared, config=config, store=store)).parent
        entries = json.loads((folder / "metrics.json").read_text())["scores"]
        return {entry["name"]: entry for entry in entries}

    return doing


def test_a_new_group_is_computed_and_named(do):
    score = do("toy", miniature=True)["spread, referee (miniature)"]
    assert score["value"] > 0
    assert score["n"] == 4
    assert score["exchange"]["value"] == pytest.approx(score["value"], rel=1e-5)
    assert score["notes"][0].startswith("beside the standard scores because the method asks for it")


def test_a_new_group_is_told_when_its_network_is_missing(do, tmp_path):
    score = do("toy")[TOLD[0]]
    path = tmp_path / "store" / "inception-2015" / "model.safetensors"
    assert score["value"] is None
    assert score["notes"] == [
        f"not computed ({path} is missing, run `brainkit fetch inception-2015`)",
        "beside the standard scores because the method asks for it, or --scores does",
    ]


def test_a_new_group_is_fetched_for(toy):
    method = dataclasses.replace(toy.TOY, scores=("toy",))
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])
    read = [each.name for each in known.of_method(registry, method) if each.scores]
    plain = [each.name for each in known.of_method(registry, toy.TOY) if each.scores]
    assert plain == ["clip-vit-l14", "alexnet", "inception-v3", "efficientnet-b1-v1",
                     "swav-resnet50", "all-minilm-l6-v2"]  # fmt: skip
    assert read == [*plain[:-1], "inception-2015", "all-minilm-l6-v2"]


def test_a_new_group_is_offered_by_name():
    with pytest.raises(UsageError, match=r"--scores has 'tyo', .*, toy\. Did you mean 'toy'\?"):
        metrics.groups_named(["tyo"], "--scores")


def test_results_with_a_new_group_hang_on_its_network(tmp_path):
    def stamps(*scores):
        sight = readers.Sight(CheckpointStore(tmp_path), "released", scores)
        return readers.stamps(sight, pictures=True)

    assert len(stamps("toy")) == len(stamps()) + 1
    (tmp_path / "inception-2015").mkdir()
    (tmp_path / "inception-2015" / "model.safetensors").write_bytes(b"toy")
    assert stamps().count("absent") == 5
    assert [stamp == "absent" for stamp in stamps("toy")] == [True, False, *[True] * 4]


def test_the_order_in_recipes_is_that_of_earlier_ones():
    names = [
        *("clip-vit-l14", "inception-2015", "imagenet-classifier"),
        *("alexnet", "inception-v3", "efficientnet-b1-v1", "swav-resnet50"),
        *("alexnet", "inception-v3", "efficientnet-b1-v2", "swav-resnet50"),
    ]
    store = SimpleNamespace(has=lambda _: True, fingerprint=lambda checkpoint: checkpoint.name)
    sight = readers.Sight(store, "released", ("n_way", "mindeye2", "ssim_variants", "fid"))
    assert readers.stamps(sight, pictures=True) == names
    assert readers.stamps(sight, pictures=False) == names[:1]


def test_a_group_of_networks_without_a_stand_in_says_so_on_the_miniature(monkeypatch):
    other = dataclasses.replace(groups.NETWORKS["inception-2015"], title="Other", checkpoint=None)
    monkeypatch.setitem(groups.NETWORKS, "other", other)
    group = Group("toy", "other", spread, lambda reader: (f"spread, {reader.name}",))
    pictures = np.zeros((3, 64, 64, 3), np.uint8)
    run_of = SimpleNamespace(networks="miniature")
    (score,) = group.scores(readers.seen(run_of, "other", pictures, [pictures]))
    assert score.name == "spread, Other"
    assert score.notes == ("not computed (the miniature has no network in place of Other)",)


def test_networks_are_let_go_once_pictures_are_read():
    pictures = np.zeros((3, 64, 64, 3), np.uint8)
    seen = readers.seen(
        SimpleNamespace(networks="miniature"), "inception-2015", pictures, [pictures]
    )
    np.testing.assert_array_equal(seen.features[0], referee.features(pictures))
    assert seen.reader.read is None


def test_another_order_is_that_of_reconstructions_only():
    pictures = np.arange(3 * 12).reshape(3, 2, 2, 3).astype(np.uint8)
    features = (np.arange(3), [np.arange(3) + 10])
    order = np.array([2, 0, 1])
    seen = metrics.Seen(pictures, [pictures], metrics.Reader("toy"), features, order=order)
    ((targets, recons),) = seen.pictures()
    np.testing.assert_array_equal(targets, pictures)
    np.testing.assert_array_equal(recons, pictures[order])
    ((first, second),) = seen.read()
    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [12, 10, 11])
    assert metrics.FID.scores(seen) == ()  # sets have no chance level


def test_groups_of_profiles_come_first_in_reports():
    names = [group.name for group in metrics.groups_named(["n_way", "mindeye2", "fid"], "toy")]
    assert names == ["mindeye2", "n_way", "fid"]
    assert STANDARD.name not in metrics.GROUPS
