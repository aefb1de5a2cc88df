"""Split clusters: whole clusters of images that CLIP finds alike are held out of training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainkit.cli.run import plan as dry_text
from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.nsd import load_trials, plan_trials
from brainkit.nsd.trials import shown_images
from brainkit.run import prepare, run
from brainkit.run.clusters import chosen_clusters, clustered
from brainkit.run.config import RunConfig

SMALL = {"miniature.voxels": 40, "miniature.train_images": 50, "miniature.test_images": 10}
CLUSTERS = {**SMALL, "selection.split": "clusters", "selection.clusters": 12}

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")


def prepared(registry, work: Path, *, dry: bool = False, **options):
    named = {name.replace("__", "."): value for name, value in options.items()}
    config = RunConfig(method="toy", work=work, options={**CLUSTERS, **named}, ceiling=False)
    return prepare(config, registry, lambda line: None, dry=dry)


def told(one) -> list[dict]:
    (path,) = one.folder.subject.glob("clusters-*.json")
    return json.loads(path.read_text())


def test_no_cluster_is_on_both_sides(registry, tmp_path):
    one = prepared(registry, tmp_path)
    train, test = (set(ids.tolist()) for ids in one.image_ids)
    clusters = told(one)
    assert len(clusters) == 12
    for each in clusters:
        ids = set(each["image_ids"])
        assert ids <= (test if each["held_out"] else train)
    everything = [image for each in clusters for image in each["image_ids"]]
    assert sorted(everything) == sorted(train | test) == list(range(60))
    assert 6 <= len(test) < 30
    trials = load_trials(one.nsd, 1, one.method.selection, held_out=one.held_out)
    assert set(trials.test.image_ids.tolist()) == test
    assert set(trials.train.image_ids.tolist()) == train


def test_the_same_options_part_alike_and_another_seed_does_not(registry, tmp_path):
    first, again = (prepared(registry, tmp_path / name) for name in ("a", "b"))
    assert first.held_out == again.held_out
    assert prepared(registry, tmp_path / "a").work.kept == ["features/clip_embedding", "clusters"]
    other = prepared(registry, tmp_path / "a", selection__cluster_seed=1)
    assert other.held_out != first.held_out
    more = prepared(registry, tmp_path / "b", selection__held_out=0.5)
    assert len(more.held_out) >= 30 > len(first.held_out)
    assert set(first.held_out) <= set(more.held_out)
    assert first.plan.test_images != other.plan.test_images


def test_a_run_says_its_test_set_and_shares_no_trials_with_other_splits(registry, tmp_path):
    one = prepared(registry, tmp_path)
    folder = run(one).parent
    sentence = (
        f"{len(one.held_out)} of 60, whole clusters of images alike by CLIP of which none is in "
        "training (split clusters, 12 clusters, seed 0), so numbers do not compare with the split "
        "shared"
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test_images"] == sentence
    assert tuple(each["image_id"] for each in metrics["images"]) == one.held_out
    assert f"Test images: {sentence}." in (folder / "report.html").read_text()
    assert metrics["findings"] == []
    assert f"tests    {sentence}" in dry_text(prepared(registry, tmp_path, dry=True))
    before = {path.name for path in one.folder.subject.glob("trials-*")}
    other = prepared(registry, tmp_path, selection__cluster_seed=1)
    run(other)
    run(prepare(RunConfig(method="toy", work=tmp_path, options=SMALL), registry, list))
    assert len({path.name for path in one.folder.subject.glob("trials-*")} | before) == 3
    again = prepared(registry, tmp_path)
    run(again)
    assert {"trials", "features/picture"} <= set(again.work.kept)


def test_options_of_clusters_do_not_touch_what_other_splits_made(registry, tmp_path):
    one = prepare(RunConfig(method="toy", work=tmp_path, options=SMALL), registry, list)
    run(one)
    options = {**SMALL, "selection.clusters": 7, "selection.cluster_seed": 3}
    other = prepare(RunConfig(method="toy", work=tmp_path, options=options), registry, list)
    run(other)
    assert {"trials", "features/picture", "decoded/length"} <= set(other.work.kept)


def test_what_cannot_be_clustered_is_told(nsd, registry, tmp_path, cli):
    with pytest.raises(UsageError, match=r"selection\.clusters is 61, but there are 60 images"):
        prepared(registry, tmp_path, selection__clusters=61)
    with pytest.raises(UsageError, match="a dry run does not; leave out --dry-run"):
        prepared(registry, tmp_path, dry=True)
    words = ("-o", "selection.split=clusters", "--nsd", nsd)
    said = cli("run", "toy", *words, code=1).stderr
    assert "clip-vit-l14" in said
    assert "brainkit fetch" in said
    with pytest.raises(UsageError, match="in Python give their ids as held_out"):
        plan_trials(nsd, 1, Selection(split="clusters"))


def test_images_are_those_of_the_sessions_loaded(nsd):
    every = shown_images(nsd, 1, Selection())
    assert every.tolist() == list(range(40))
    first = shown_images(nsd, 1, Selection(sessions=1)).tolist()
    plan = plan_trials(nsd, 1, Selection(sessions=1))
    assert first == np.unique(plan.rows.image_ids).tolist()
    assert len(first) < 40


def test_directions_are_clustered_whatever_their_length():
    draw = np.random.default_rng(0)
    centres = np.linalg.qr(draw.normal(size=(16, 16)))[0][:5]
    truth = draw.integers(0, 5, 200)
    points = centres[truth] + 0.05 * draw.normal(size=(200, 16))
    points *= draw.uniform(0.1, 10, (200, 1))
    labels = clustered(points.astype(np.float32), 5, seed=3)
    assert len({(a, b) for a, b in zip(truth.tolist(), labels.tolist(), strict=True)}) == 5


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_clusters_are_drawn_until_the_share_is_reached(share):
    labels = np.repeat(np.arange(8), [1, 5, 9, 3, 20, 2, 7, 13])
    seen = set()
    for seed in range(20):
        drawn = chosen_clusters(labels, share, seed)
        sizes = [int((labels == cluster).sum()) for cluster in drawn]
        assert 1 <= len(drawn) <= 7
        # The last one drawn was still needed, and one cluster stays for training.
        assert sum(sizes) - max(sizes) < share * 60
        assert sum(sizes) >= share * 60 or len(drawn) == 7
        seen.add(frozenset(drawn))
    assert len(seen) > 1


def test_pruning_leaves_the_clusters_of_a_run(cli):
    words = [word for name, value in CLUSTERS.items() for word in ("-o", f"{name}={value}")]
    cli("run", "toy", *words, "--no-ceiling", "--images", 2)
    (path,) = (cli.folder / "brainkit-runs").rglob("clusters-*.json")
    cli("runs", "--prune", "--yes", code=None)
    assert path.is_file()
    assert "0 steps computed" in cli("run", "toy", *words, "--no-ceiling", "--images", 2).stderr
