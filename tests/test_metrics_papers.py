"""Scores that single papers report, against golden numbers and other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from brainkit import metrics
from brainkit.errors import BrainkitWarning, DataError, UsageError

GOLDEN = load_file(Path(__file__).parent / "golden" / "minddiffuser" / "metrics.safetensors")
IMAGES = GOLDEN["image_a"][None], GOLDEN["image_b"][None]
CLIP = GOLDEN["clip_a"][None], GOLDEN["clip_b"][None]
SHOWN, SAMPLES = GOLDEN["ident.org"], GOLDEN["ident.gen"].transpose(1, 0, 2)


@pytest.mark.parametrize(
    ("place", "metric", "pair"),
    [
        (0, metrics.pixel_correlation, IMAGES),
        (1, metrics.ssim_one_window, IMAGES),
        (2, metrics.ssim, IMAGES),
        (3, metrics.ssim_uniform, IMAGES),
        (4, lambda *pair: metrics.feature_cosine(*pair, network="CLIP"), CLIP),
        (5, lambda *pair: metrics.feature_correlation(*pair, network="CLIP"), CLIP),
    ],
)
def test_the_papers_scores_are_the_golden_numbers(place, metric, pair):
    assert metric(*pair).mean == pytest.approx(GOLDEN["scalars"][place], abs=1e-9)


def test_identification_by_target_averages_correlations_over_samples_first():
    score = metrics.identification_by_target(SHOWN, SAMPLES, network="toy")
    np.testing.assert_allclose(score.per_item, GOLDEN["ident.acc"], atol=1e-9)
    assert score.name == "two-way identification, toy, by target"
    assert "each stimulus is held against all reconstructions" in score.notes[0]
    assert "5 samples" in score.notes[0]


def by_hand(shown, samples):
    n = len(shown)
    r = np.array([
        [np.mean([np.corrcoef(shown[i], s[j])[0, 1] for s in samples]) for j in range(n)]
        for i in range(n)
    ])  # fmt: skip
    return np.array([np.mean([r[i, i] > r[i, j] for j in range(n) if j != i]) for i in range(n)])


def test_identification_by_target_matches_loops_where_pairs_are_hard_to_tell():
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(12, 9))
    samples = shown + 2 * rng.normal(size=(3, 12, 9))
    truth = by_hand(shown, samples)
    assert 0.5 < truth.mean() < 1
    found = metrics.identification_by_target(shown, samples, network="toy")
    np.testing.assert_allclose(found.per_item, truth, atol=1e-12)
    single = [
        metrics.two_way_identification(shown, s, network="toy", direction="target").mean
        for s in samples
    ]
    assert found.mean != pytest.approx(np.mean(single))


def test_directions_of_identification_differ_when_one_reconstruction_wins_everything():
    shown = np.eye(4) + 0.1
    recons = np.repeat(shown[:1], 4, axis=0)
    recons[0] *= 2
    target = metrics.identification_by_target(shown, [recons], network="toy")
    np.testing.assert_array_equal(target.per_item, 0)  # all reconstructions tie
    recon = metrics.two_way_identification(shown, recons, network="toy")
    np.testing.assert_allclose(recon.per_item, [1, 0, 0, 0])


def test_identification_by_target_loses_where_a_sample_is_constant():
    samples = SAMPLES.copy()
    samples[2, 1] = 0.5
    with pytest.warns(BrainkitWarning, match="1 of 6 pairs have constant features"):
        score = metrics.identification_by_target(SHOWN, samples, network="toy")
    assert score.per_item[1] == 0
    assert score.n_defined == 6


def test_ssim_of_one_window_has_its_closed_form_for_constant_images():
    dark, bright = np.full((1, 9, 9, 3), 0.2), np.full((1, 9, 9, 3), 0.8)
    luminance = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    weights = 0.2125 + 0.7154 + 0.0721
    assert weights == pytest.approx(1)
    assert metrics.ssim_one_window(dark, bright).mean == pytest.approx(luminance, abs=1e-12)
    assert metrics.ssim_one_window(dark, dark).mean == pytest.approx(1)


def test_uniform_windows_that_do_not_fit_are_refused():
    small = np.zeros((1, 6, 9, 3), np.uint8)
    with pytest.raises(DataError, match="7 px does not fit an image of 6 x 9"):
        metrics.ssim_uniform(small, small)


def test_samples_are_averaged_per_image_and_the_undefined_are_left_out():
    with pytest.warns(BrainkitWarning):
        pair = [
            metrics.scored("toy", values, notes=("of toys",))
            for values in ([1, 2, np.nan, np.nan], [3, 6, 5, np.nan])
        ]
    both = metrics.over_samples(pair)
    np.testing.assert_array_equal(both.per_item, [2, 4, 5, np.nan])
    assert both.mean == pytest.approx(11 / 3)
    assert both.sem == pytest.approx(np.std([2, 4, 5], ddof=1) / 3**0.5)
    assert both.n_defined == 3
    assert both.notes[0] == "of toys"
    assert both.notes[-1] == "mean over 2 samples of each image"
    assert metrics.over_samples(pair[:1]) is pair[0]


def test_scores_of_a_whole_set_are_averaged_over_the_sets():
    references = [["a red dog runs on the grass today"], ["two boats lie in the small harbour"]]
    good = [each[0] for each in references]
    bad = [good[0], "two boats lie there"]
    scores = [metrics.bleu(each, references, order=4) for each in (good, bad)]
    both = metrics.over_samples(scores)
    assert both.mean == pytest.approx((scores[0].mean + scores[1].mean) / 2)
    assert both.mean != pytest.approx(both.per_item.mean())
    assert np.isnan(both.sem)


def test_units_that_a_regressor_left_out_do_not_count():
    rng = np.random.default_rng(2)
    true = rng.normal(size=(8, 6)).astype(np.float16)
    predicted = true + rng.normal(size=true.shape).astype(np.float16)
    gaps = predicted.copy()
    gaps[:, [1, 4]] = np.nan
    kept = [0, 2, 3, 5]
    shown, found, notes = metrics.without_gaps(true, gaps)
    np.testing.assert_array_equal(shown, true[:, kept])
    np.testing.assert_array_equal(found, predicted[:, kept])
    assert notes == ("4 of 6 units are predicted and count",)
    assert metrics.without_gaps(true, predicted)[2] == ()


def test_a_unit_undefined_for_some_items_only_is_not_passed_over():
    predicted = np.zeros((3, 2))
    predicted[0, 1] = np.nan
    assert metrics.without_gaps(predicted, predicted)[1].shape == (3, 2)


TOY = metrics.Reader("toy")


@pytest.mark.parametrize("group", sorted(set(metrics.GROUPS) - {"mindeye2"}))
def test_every_group_scores_several_samples(group):
    rng = np.random.default_rng(3)
    targets, *samples = rng.integers(0, 256, (4, 5, 16, 16, 3), dtype=np.uint8)
    features = rng.normal(size=(5, 8)), rng.normal(size=(3, 5, 8))
    scores = metrics.GROUPS[group].scores(metrics.Seen(targets, samples, TOY, features))
    assert scores
    for score in scores:
        # Sets have no values of items.
        assert score.per_item.shape == ((0,) if group == "fid" else (5,))
        assert "3 samples" in " ".join(score.notes)
    if group == "ssim_variants":
        first = [metrics.ssim_uniform(targets, each).mean for each in samples]
        assert scores[1].mean == pytest.approx(np.mean(first))


def test_unknown_groups_are_refused():
    with pytest.raises(UsageError, match=r"--scores has 'ssim', expected one of ssim_variants, "):
        metrics.groups_named(["ssim"], "--scores")
