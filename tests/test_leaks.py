"""What makes scores too good is found before scoring, heads the report and fails --strict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainkit.data import Selection
from brainkit.errors import BrainkitError
from brainkit.nsd import plan_trials
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig
from brainkit.run.leaks import ALIKE, look
from brainkit.run.publish import require_no_findings

PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
TINY = (
    *("-o", "miniature.voxels=40", "-o", "miniature.train_images=30"),
    *("-o", "miniature.test_images=10"),
)

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")


@pytest.fixture
def own(nsd, tmp_path) -> Path:
    """A download that a test may change."""
    return shutil.copytree(nsd, tmp_path / "nsd")


def sides(root: Path) -> tuple[list[int], list[int]]:
    """Ids of the training and the test images, ascending."""
    rows = plan_trials(root, 1, Selection()).rows
    return rows.image_ids[: rows.n_train].tolist(), rows.image_ids[rows.n_train :].tolist()


def place(root: Path, source: int, target: int, noise: int = 0) -> None:
    """Show one image's picture under another's id, with noise on its pixels."""
    draw = np.random.default_rng(0)
    with h5py.File(root / PICTURES, "r+") as file:
        picture = file["imgBrick"][source].astype(int)
        changed = picture + draw.integers(-noise, noise + 1, picture.shape)
        file["imgBrick"][target] = changed.clip(0, 255)


def done(registry, tmp_path: Path, root: Path | None, **settings):
    """Do a run of the toy; return it and its `metrics.json`."""
    config = RunConfig(method="toy", nsd=root, work=tmp_path / "work", **settings)
    finished = prepare(config, registry, lambda line: None)
    run(finished)
    return finished, json.loads(finished.folder.metrics.read_text())


def found(metrics: dict, kind: str) -> list[dict]:
    return [each for each in metrics["findings"] if each["kind"] == kind]


def test_a_test_image_among_the_training_images_heads_the_report(own, registry, tmp_path):
    train, test = sides(own)
    place(own, train[4], test[2])
    finished, metrics = done(registry, tmp_path, own)
    (copy,) = found(metrics, "duplicates")
    assert copy["severity"] == "leak"
    assert copy["ids"] == [test[2]]
    assert f"images {train[4]} (training) and {test[2]} (test)" in copy["sentence"]
    assert not any("under two ids" in each for each in metrics["warnings"])
    page = finished.folder.report.read_text()
    assert 0 < page.index(f"<b>Leak.</b> {copy['sentence']}") < page.index('id="scores"')


def test_only_images_that_are_scored_are_told(own, registry, tmp_path):
    train, test = sides(own)
    place(own, train[4], test[2])
    _, metrics = done(registry, tmp_path, own, images=(test[0], test[5]))
    assert found(metrics, "duplicates") == []


def test_without_clip_it_is_said_that_it_did_not_look(nsd, registry, tmp_path):
    _, metrics = done(registry, tmp_path, nsd)
    (unchecked,) = metrics["findings"]
    assert (unchecked["kind"], unchecked["severity"]) == ("near-duplicates", "unchecked")
    assert "`brainkit fetch clip-vit-l14`" in unchecked["sentence"]


def test_a_damaged_table_of_stimuli_is_said_too(own, registry, tmp_path):
    (own / "nsddata/experiments/nsd/nsd_stim_info_merged.csv").write_text("cocoId\n1\n")
    curated = np.array([["a word"]] * 40)
    np.save(own / "nsddata_stimuli/stimuli/nsd/annotations/COCO_73k_annots_curated.npy", curated)
    _, metrics = done(registry, tmp_path, own)
    (unchecked,) = found(metrics, "duplicates")
    assert unchecked["severity"] == "unchecked"
    assert "nsd_stim_info_merged.csv" in unchecked["sentence"]


def test_statistics_of_the_test_set_and_choices_by_the_truth_are_told(
    nsd, registry, toy, tmp_path, monkeypatch
):
    monkeypatch.setattr(toy.Wanderer, "uses_truth", True, raising=False)
    options = {"regressor.scaling": "test-batch"}
    use = {"sampler": "toy-wanderer"}
    _, metrics = done(registry, tmp_path, nsd, options=options, use=use)
    statistics = found(metrics, "test-statistics")
    assert [each["sentence"].split()[0] for each in statistics] == [
        "regressor.picture",
        "regressor.length",
    ]
    (chosen,) = found(metrics, "ground-truth")
    assert chosen["sentence"].startswith("sampler (toy-wanderer) chooses by the true image")
    assert {each["severity"] for each in (*statistics, chosen)} == {"leak"}


@pytest.fixture
def miniature(cli):
    """The folder of a miniature in a home of the test's own, made by a first run."""
    cli("run", "toy", *TINY, "--images", 4, "--strict", "--work", "before")
    (path,) = (cli.folder / "home").rglob(PICTURES)
    return path.parents[3]


def test_a_picture_that_looks_alike_is_found_and_fails_strict(cli, miniature):
    train, test = sides(miniature)
    place(miniature, train[7], test[1], noise=3)
    ended = cli("run", "toy", *TINY, "--images", 4, "--strict", code=1)
    path = cli.folder / ended.stdout.splitlines()[-1]
    assert path.stat().st_size > 10_000
    (near,) = json.loads(path.with_name("metrics.json").read_text())["findings"]
    assert (near["kind"], near["severity"]) == ("near-duplicates", "doubt")
    assert near["ids"] == [test[1]]
    assert f"{test[1]} (test) and {train[7]} at " in near["sentence"]
    assert f"Finding: {near['sentence']}." in ended.stdout
    assert "--strict: the report begins with 1 finding, the first: 1 test image has" in ended.stderr
    assert "0 steps computed" in cli("run", "toy", *TINY, "--images", 4).stderr
    # What is kept is as strict.
    assert cli("run", "toy", *TINY, "--images", 4, "--strict", code=1).stdout == ended.stdout


def test_neighbours_are_those_of_brute_force(registry, tmp_path, shared_home):
    small = {
        "miniature.voxels": 40,
        "miniature.train_images": 30,
        "miniature.test_images": 10,
    }
    finished, _ = done(registry, tmp_path, None, options=small)
    nearest = json.loads(look(finished).path.read_text())["nearest"]
    (path,) = finished.folder.subject.glob("features/clip_embedding-*.safetensors")
    from safetensors.numpy import load_file

    embedded = load_file(path)["all"].astype(np.float64)
    embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
    train, test = finished.image_ids
    every = np.sort(np.concatenate([train, test])).tolist()
    rows = {image: embedded[every.index(image)] for image in every}
    assert [each[0] for each in nearest] == test.tolist()
    for image, partner, cosine in nearest:
        best = max(train.tolist(), key=lambda other: rows[image] @ rows[other])
        assert partner == best
        assert cosine == pytest.approx(rows[image] @ rows[best], abs=2e-5)  # rounded to 5 digits
    assert max(each[2] for each in nearest) < ALIKE["miniature"]


def test_strict_counts_what_was_found(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"layout": 2, "scores": [], "findings": []}))
    require_no_findings(path)
    two = [{"sentence": "one thing"}, {"sentence": "another"}]
    path.write_text(json.dumps({"layout": 2, "scores": [], "findings": two}))
    with pytest.raises(BrainkitError, match="2 findings, the first: one thing; mend"):
        require_no_findings(path)
