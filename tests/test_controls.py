"""What scores are held against on request: noise, another subject, one side of the features."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from brainkit.errors import UsageError
from brainkit.miniature import miniature
from brainkit.miniature.brain import Difficulty
from brainkit.regressors.mean import training_spread
from brainkit.report import Level, ScoreRow
from brainkit.report.controls import signal
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig, configured

CONTROLS = ("noise", "text-only", "image-only")


@pytest.fixture
def do(registry, nsd, tmp_path):
    """Run the toy on a download; return its folder and its metrics."""

    def doing(**settings):
        config = RunConfig("toy", nsd=nsd, **{"work": tmp_path / "work", **settings})
        folder = run(prepare(config, registry, lambda line: None)).parent
        return folder, json.loads((folder / "metrics.json").read_text())

    return doing


def captions(folder):
    lines = map(json.loads, (folder / "captions.jsonl").read_text().splitlines())
    return {line["image_id"]: line["caption"] for line in lines}


def by_name(metrics):
    return {each["name"]: each for each in metrics["scores"]}


def test_one_side_alone_has_the_scores_of_the_brain_there_and_of_the_mean_elsewhere(do):
    # The toy draws its pictures from one feature, of pictures, and its captions from the other.
    folder, metrics = do(controls=CONTROLS)
    found = by_name(metrics)
    pictures = found["pixel correlation"]
    assert captions(folder / "text-only") == captions(folder)
    assert len(set(captions(folder / "image-only").values())) == 1
    assert pictures["controls"]["image-only"]["value"] == pytest.approx(pictures["value"])
    assert pictures["controls"]["image-only"]["interval"] == pictures["interval"]
    assert pictures["controls"]["text-only"]["value"] == pytest.approx(
        pictures["null"]["value"], abs=0.05
    )
    explained = found["picture variance explained"]["controls"]
    assert explained["image-only"]["value"] == found["picture variance explained"]["value"]
    # The mean over the training images explains less than the mean over those that are scored.
    assert explained["text-only"]["value"] <= 0
    assert explained["noise"]["value"] < explained["text-only"]["value"]


def test_noise_has_mean_and_spread_of_the_training_features_and_a_seed_an_image(do):
    folder, _ = do(controls=("noise",))
    (kept,) = folder.parents[1].glob("noise/picture-*.safetensors")
    drawn = load_file(kept)["decoded"].astype("f8")
    features = load_file(next(folder.parents[1].glob("features/picture-*.safetensors")))["train"]
    features = features.astype("f8")
    scaled = (drawn - features.mean(0)) / features.std(0)
    # 10 images of 192 numbers: standard errors of 0.023 and 0.016.
    assert scaled.mean() == pytest.approx(0, abs=0.1)
    assert scaled.std() == pytest.approx(1, abs=0.07)
    assert len(np.unique(drawn[:, 0, 0, 0])) == len(drawn)


def test_a_run_without_controls_is_as_if_there_were_none(do, tmp_path):
    before, plain = do()
    after, with_controls = do(controls=CONTROLS)
    assert before == after
    again, once_more = do()
    assert "signal" not in once_more
    assert "signal" in with_controls
    for each in (plain, once_more):
        for key in ("date", "seconds", "steps"):
            del each[key]
    assert plain == once_more
    other, _ = do(work=tmp_path / "other")
    for path in sorted(other.rglob("*.png")):
        assert path.read_bytes() == (again / path.relative_to(other)).read_bytes()
    assert (other / "run.toml").read_text() == (again / "run.toml").read_text()


def test_a_second_run_with_controls_computes_nothing(registry, nsd, tmp_path):
    config = RunConfig("toy", nsd=nsd, work=tmp_path, controls=CONTROLS)
    folder = run(prepare(config, registry, lambda line: None)).parent
    again = prepare(config, registry, lambda line: None)
    run(again)
    assert again.work.computed == []
    for control in CONTROLS:
        assert len(list((folder / control / "images").glob("*.png"))) == 10
    repeated = prepare(configured(None, {}, file=folder / "run.toml"), registry, lambda line: None)
    assert repeated.config.controls == CONTROLS
    assert repeated.folder.root == folder


def test_another_subject_predicts_the_same_images_by_a_fit_of_its_own(registry, tmp_path):
    small = Difficulty(voxels=40, train_images=30, test_images=10)
    nsd = miniature(tmp_path / "nsd", difficulty=small, subjects=[1, 2]).nsd
    settings = {"nsd": nsd, "work": tmp_path / "work"}
    config = RunConfig("toy", controls=("other-subject",), **settings)
    folder = run(prepare(config, registry, lambda line: None)).parent
    metrics = json.loads((folder / "metrics.json").read_text())
    other = run(prepare(RunConfig("toy", subject=2, **settings), registry, lambda line: None))
    own = by_name(json.loads((other.parent / "metrics.json").read_text()))
    # The same pictures, features and noise, so subject 2's own run makes the same.
    for name, score in by_name(metrics).items():
        if score["group"] != "features" and score["value"] is not None:
            control = score["controls"]["other-subject"]
            assert control["value"] == pytest.approx(own[name]["value"], abs=1e-9), name
    assert captions(folder / "other-subject") == captions(other.parent)
    assert any("subj02's brain" in each for each in metrics["footnotes"])


def test_without_another_subject_the_control_is_refused(registry, nsd, tmp_path):
    config = RunConfig("toy", nsd=nsd, work=tmp_path, controls=("other-subject",))
    with pytest.raises(UsageError, match=r"no other subject in .* has all 10 test images"):
        prepare(config, registry, lambda line: None)


def test_one_sentence_says_what_this_brain_gives():
    interval = {"null": Level(value=0.1), "exchange": Level(value=0.2)}
    rows = (
        ScoreRow(name="a", value=0.5, controls={"noise": Level(value=0.3)}, **interval),
        ScoreRow(name="b", value=0.15, controls={"noise": Level(value=0.05)}, **interval),
        ScoreRow(
            name="c",
            value=0.05,
            higher_is_better=False,
            controls={"text-only": Level(value=0.0)},
            **interval,
        ),
        ScoreRow(name="d", value=float("nan"), **interval),
    )
    assert signal(rows) == (
        "From this brain's signal comes what a score has over the best without it (null, "
        "exchange, noise): a 0.200 of 0.500; b none of 0.150; c 0.050 below 0.100."
    )
    assert signal((ScoreRow(name="a", value=0.5, **interval),)) == ""


def test_the_spread_is_numpys():
    feature = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(0)).half()
    truth = feature.double().numpy().std(0)
    np.testing.assert_allclose(training_spread(feature).numpy(), truth, atol=1e-6)


def test_an_unknown_control_is_named():
    with pytest.raises(UsageError, match=r"--controls is .*nois.*, expected"):
        configured("toy", {"controls": "nois"})
    assert configured("toy", {"controls": "noise,text-only"}).controls == ("noise", "text-only")


def test_controls_of_random_weights_are_refused(registry, nsd, tmp_path):
    config = RunConfig("toy", nsd=nsd, work=tmp_path, weights="random", controls=("noise",))
    with pytest.raises(UsageError, match="scores of random weights mean nothing"):
        prepare(config, registry, lambda line: None)


def test_sides_are_refused_where_a_method_has_one(registry, nsd, tmp_path, monkeypatch, toy):
    monkeypatch.setattr(toy.Length, "reads", "both")
    config = RunConfig("toy", nsd=nsd, work=tmp_path, controls=("text-only",))
    with pytest.raises(UsageError, match="features of both at once and of pictures, expected"):
        prepare(config, registry, lambda line: None)
