"""What no brain gives: regressors that ignore it, and the null beside every score."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from brainkit import metrics
from brainkit.nsd import load_stimuli
from brainkit.regressors import Mean, Ridge, Shuffled
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig
from brainkit.run.sources import sources_of
from brainkit.testing import checks

BLIND = {"a_planted_linear_map_is_found": "it knows nothing of the stimulus"}


@pytest.mark.parametrize("check", checks.for_regressor(Mean(), expected_failures=BLIND), ids=str)
def test_the_mean_keeps_the_promises_of_regressors(check):
    check()


@pytest.mark.parametrize(
    "check", checks.for_regressor(Shuffled(), expected_failures=BLIND), ids=str
)
def test_shuffled_ridge_keeps_the_promises_of_regressors(check):
    check()


def trials(n_trials=30, voxels=12):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(n_trials, voxels, generator=generator),
        torch.randn(n_trials, 3, 2, generator=generator).half(),
    )


def test_the_mean_is_that_of_the_training_trials():
    betas, feature = trials()
    part = Mean()
    predicted = part.predict(part.fit(betas, feature), betas[:4], feature)
    truth = feature.double().mean(0)
    np.testing.assert_allclose(predicted.numpy(), truth.expand(4, 3, 2).numpy(), atol=1e-6)


def test_shuffled_ridge_is_ridge_of_permuted_features():
    betas, feature = trials()
    part, ridge = Shuffled(alpha=2.0, seed=7), Ridge(alpha=2.0)
    order = torch.from_numpy(np.random.default_rng(7).permutation(30))
    weights = part.fit(betas, feature)
    truth = ridge.fit(betas, feature[order])
    new = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        part.predict(weights, new, feature), ridge.predict(truth, new, feature[order])
    )
    others = Shuffled(alpha=2.0, seed=8).fit(betas, feature)
    assert not torch.equal(others["predicted_mean"], weights["predicted_mean"])


@pytest.fixture
def do(registry, nsd, tmp_path):
    """Run the toy on a download; return its folder and its scores by name."""

    def doing(**settings):
        config = RunConfig("toy", nsd=nsd, **{"work": tmp_path / "work", **settings})
        folder = run(prepare(config, registry, lambda line: None)).parent
        found = json.loads((folder / "metrics.json").read_text())["scores"]
        return folder, {each["name"]: each for each in found}

    return doing


def test_the_null_is_the_pipeline_from_the_mean_brain(do, nsd):
    folder, found = do()
    _, blind = do(use={"regressor": "mean"}, null=False)
    generic = [
        np.asarray(Image.open(each)) for each in sorted((folder / "null/images").glob("*.png"))
    ]
    assert len(generic) == 3
    images = [int(each.stem[3:]) for each in sorted((folder / "images").glob("*.png"))]
    shown = load_stimuli(nsd, images)
    by_hand = [
        metrics.pixel_correlation(shown, np.stack([each] * len(shown))).mean for each in generic
    ]
    null = found["pixel correlation"]["null"]
    assert null["value"] == pytest.approx(np.mean(by_hand), abs=1e-9)
    assert null["sd"] == pytest.approx(np.std(by_hand, ddof=1), abs=1e-9)
    assert null["n"] == 3
    # A run of the regressor `mean` makes a picture an image, with other noise.
    assert blind["pixel correlation"]["value"] == pytest.approx(null["value"], abs=0.05)
    assert blind["pixel correlation"]["null"] is None


def test_the_null_does_not_hang_on_which_images_are_chosen(do):
    folder, _ = do()
    before = {each.name: each.stat().st_mtime_ns for each in (folder / "null/images").glob("*.png")}
    folder, _ = do(images=2)
    after = {each.name: each.stat().st_mtime_ns for each in (folder / "null/images").glob("*.png")}
    assert after == before


def test_the_scale_begins_at_the_better_of_null_and_exchange(do):
    _, found = do()
    for score in found.values():
        levels = [score[name]["value"] for name in ("null", "exchange") if score[name]]
        if not levels:
            assert score["value"] is None
            continue
        best = max(levels) if score["higher_is_better"] else min(levels)
        assert score["floor"]["value"] == best


def test_features_have_their_null_at_no_variance_and_chance(do):
    _, found = do()
    assert found["picture variance explained"]["null"]["value"] == pytest.approx(0, abs=1e-6)
    identified = found["two-way identification, picture"]
    assert identified["exchange"] == {"value": 0.5, "sd": None, "interval": None, "n": 0}


def test_chance_of_identification_is_exact_with_four_images(do):
    _, found = do(images=4)
    assert found["two-way identification, picture"]["exchange"]["value"] == 0.5


def test_nothing_is_made_from_the_mean_brain_by_random_weights(registry, nsd, tmp_path):
    config = RunConfig("toy", nsd=nsd, work=tmp_path, weights="random")
    assert sources_of(prepare(config, registry, lambda line: None, dry=True)) == ("brain", "true")


def test_a_run_without_a_null_makes_none(do):
    folder, found = do(null=False, images=3)
    assert not (folder / "null").exists()
    assert found["SSIM"]["null"] is None
    assert found["SSIM"]["floor"] == found["SSIM"]["exchange"]


def test_the_mean_is_kept_in_half_precision_a_row_for_each_draw(do):
    folder, _ = do(images=3)
    (kept,) = folder.parents[1].rglob("mean/picture-*.safetensors")
    rows = load_file(kept)["decoded"]
    features = load_file(next(kept.parents[1].glob("features/picture-*.safetensors")))["train"]
    assert rows.dtype == np.float16
    np.testing.assert_allclose(rows[0], features.astype("f8").mean(0), atol=2e-3)
    assert (rows == rows[0]).all()


def test_scores_of_a_generic_output_are_those_of_its_copies():
    random = np.random.default_rng(0)
    shown = random.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    generic = random.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    copies = np.repeat(generic, 5, axis=0)
    features = random.normal(size=(5, 8)), [random.normal(size=(1, 8))]
    one = metrics.Seen(shown, [generic], metrics.Reader("toy"), features, order=np.zeros(5, int))
    many = dataclasses.replace(
        one, samples=[copies], features=(features[0], [np.repeat(features[1][0], 5, axis=0)])
    )
    from brainkit.metrics.groups import CLIP_IDENTIFICATION, PIXELS

    for group in (PIXELS, CLIP_IDENTIFICATION):
        pairs = zip(group.score(one), group.score(many), strict=True)
        for first, second in pairs:
            np.testing.assert_array_equal(first.per_item, second.per_item)
