"""Metrics of images and features against values other programs computed."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from brainkit import metrics
from brainkit.errors import BrainkitWarning, DataError

GOLDEN = Path(__file__).parent / "golden" / "metrics"
EXPECTED = json.loads((GOLDEN / "expected_arrays.json").read_text())
INPUTS = load_file(GOLDEN / "inputs.safetensors")
TARGETS, RECONS = (INPUTS[f"images_{w}"].transpose(0, 2, 3, 1) for w in ("target", "recon"))
SHOWN, DECODED = INPUTS["features_target"], INPUTS["features_pred"]


def clip_s(images, captions, *, network):
    """CLIP-S of captions whose references do not matter."""
    return metrics.clip_scores(metrics.Embedded(network, captions, captions[:, None], images))[0]


def expected(name):
    return np.array([np.nan if value is None else value for value in EXPECTED[name]])


@pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")
@pytest.mark.parametrize(
    ("metric", "suffix", "prepare"),
    [
        (metrics.pixel_correlation, "pixcorr_native", None),
        (metrics.pixel_correlation, "pixcorr_425", (425, False)),
        (metrics.pixel_correlation, "pixcorr_down32_antialias", (32, True)),
        (metrics.pixel_correlation, "pixcorr_down32_no_antialias", (32, False)),
        (metrics.ssim, "ssim_native", None),
        (metrics.ssim, "ssim_425", (425, False)),
        (metrics.ssim_columns_legacy, "ssim_legacy_columns_native", None),
        (metrics.ssim_columns_legacy, "ssim_legacy_columns_425", (425, False)),
        (metrics.psnr, "psnr_native", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_image_metrics_match_the_golden_values(metric, suffix, prepare):
    pair = [TARGETS, RECONS]
    if prepare:
        pair = [metrics.resized(i, prepare[0], antialias=prepare[1]) for i in pair]
    score = metric(*pair)
    tolerance = 1e-3 if "psnr" in suffix else 1e-5
    golden = expected(suffix)
    if "pixcorr" in suffix:
        golden[np.isnan(golden)] = -1  # A constant reconstruction counts as the worst value.
    np.testing.assert_allclose(score.per_item, golden, rtol=0, atol=tolerance)
    defined = golden[~np.isnan(golden)]
    assert score.mean == pytest.approx(defined.mean(), abs=tolerance)
    assert score.n_defined == len(defined)
    assert score.sem == pytest.approx(defined.std(ddof=1) / len(defined) ** 0.5, abs=tolerance)


@pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")
def test_psnr_is_the_golden_squared_error_in_decibels():
    error = 10 ** (-metrics.psnr(TARGETS, RECONS).per_item / 10)
    golden = expected("mse_native")
    assert np.count_nonzero(golden == 0) == 1  # identical images have no ratio
    np.testing.assert_allclose(error, np.where(golden == 0, np.nan, golden), rtol=0, atol=1e-5)


def by_windows(x, y, weights, sample=1.0):
    """SSIM's formula written out, with moments about the mean of every window that fits."""

    def mean(values):
        return (weights * values).sum(axis=(-2, -1))

    pair = [np.lib.stride_tricks.sliding_window_view(each, weights.shape) for each in (x, y)]
    a, b = (mean(each) for each in pair)
    p, q = (each - mean(each)[..., None, None] for each in pair)
    luminance = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    variances, covariance = sample * mean(p**2 + q**2), sample * mean(p * q)
    return np.mean(luminance * (2 * covariance + 9e-4) / (variances + 9e-4))


@pytest.fixture(params=[(11, 11), (40, 31)], ids=str)
def pair(request):
    """Three stimuli and what could be reconstructions, one of them much like its stimulus."""
    shape = (2, 3, *request.param, 3)
    shown, decoded = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded[1] = shown[1] // 2 + 40
    return shown, decoded


def test_ssim_is_its_formula_under_gaussian_windows(pair):
    row = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(row, row) / row.sum() ** 2
    grey = [each / 255 @ [0.2125, 0.7154, 0.0721] for each in pair]
    truth = [by_windows(x, y, weights) for x, y in zip(*grey, strict=True)]
    np.testing.assert_allclose(metrics.ssim(*pair).per_item, truth, atol=1e-12)


def test_uniform_ssim_is_its_formula_in_each_channel(pair):
    weights = np.full((7, 7), 1 / 49)
    truth = [
        np.mean([by_windows(x[..., c], y[..., c], weights, sample=49 / 48) for c in range(3)])
        for x, y in zip(*(each / 255 for each in pair), strict=True)
    ]
    np.testing.assert_allclose(metrics.ssim_uniform(*pair).per_item, truth, atol=1e-12)


def test_a_blank_reconstruction_counts_as_the_worst_value():
    score = metrics.pixel_correlation(TARGETS, RECONS)
    assert score.per_item[5] == score.worst == -1
    assert score.n_defined == 6
    assert score.mean < metrics.pixel_correlation(TARGETS[:5], RECONS[:5]).mean
    blank = np.ones_like(SHOWN)
    assert metrics.feature_cosine(SHOWN, 0 * blank, network="toy").mean == -1
    assert metrics.correlation_distance(SHOWN, blank, network="toy").mean == 2


def test_a_blank_stimulus_has_no_correlation_and_says_so():
    with pytest.warns(BrainkitWarning, match="undefined for 1 of 6 items"):
        score = metrics.pixel_correlation(RECONS, TARGETS)
    assert np.isnan(score.per_item[5])
    assert score.n_defined == 5
    assert any("undefined" in note for note in score.notes)


def test_bytes_and_floats_of_the_same_image_score_the_same():
    target, recon = (np.round(images * 255).astype(np.uint8) for images in (TARGETS, RECONS))
    as_bytes = metrics.ssim(target, recon)
    as_floats = metrics.ssim(target / 255, recon / 255)
    np.testing.assert_allclose(as_bytes.per_item, as_floats.per_item, atol=1e-5)


def test_reconstruction_of_another_size_is_resized_to_its_stimulus():
    # A smooth ramp survives reduction by two.
    ramp = np.linspace(0, 1, 128)[:, None, None] * np.linspace(1, 0.2, 128)[None, :, None]
    large = np.broadcast_to(ramp, (128, 128, 3))
    small = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert metrics.pixel_correlation([small], [large]).mean == pytest.approx(1, abs=1e-4)
    assert metrics.psnr([small], [large]).mean > 50  # a mean squared error below 1e-5


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((8, 8), np.uint8), "expected \\(height, width, 3\\)"),
        (np.full((8, 8, 3), 255.0), "expected \\[0, 1\\]"),
        (np.zeros((8, 8, 3), np.uint8), "does not fit an image of 8 x 8"),
    ],
)
def test_unusable_images_are_refused_with_what_was_expected(image, says):
    with pytest.raises(DataError, match=says):
        metrics.ssim([image], [image])


def test_different_numbers_of_items_are_refused():
    with pytest.raises(DataError, match="6 stimuli cannot be compared with 5 reconstructions"):
        metrics.ssim(TARGETS, RECONS[:5])


@pytest.mark.parametrize(
    ("direction", "wins", "share"),
    [
        ("recon", "wins_per_prediction", "score"),
        ("target", "wins_per_target_other_direction", "score_other_direction"),
    ],
)
def test_two_way_identification_wins_exactly_the_golden_comparisons(direction, wins, share):
    golden = EXPECTED["two_way_identification"]
    score = metrics.two_way_identification(SHOWN, DECODED, network="toy", direction=direction)
    np.testing.assert_array_equal(np.round(score.per_item * 23), golden[wins])
    assert score.mean == pytest.approx(golden[share], abs=1e-9)
    assert score.chance == 0.5


def test_constant_prediction_loses_all_its_comparisons():
    golden = EXPECTED["two_way_with_constant_prediction"]
    decoded = INPUTS["features_pred_constant_row"]
    with pytest.warns(BrainkitWarning, match="lose every comparison"):
        score = metrics.two_way_identification(SHOWN, decoded, network="toy")
    np.testing.assert_array_equal(np.round(score.per_item * 23), golden["wins_per_prediction"])
    assert score.n_defined == 24


def test_correlation_over_column_blocks_matches_numpy():
    generator = np.random.default_rng(1)
    shown, decoded = generator.normal(3, 1, (2, 7, 3, 3000)).astype(np.float16)  # 9000 columns
    theirs = np.corrcoef(shown.reshape(7, -1), decoded.reshape(7, -1))[:7, 7:]
    ours = metrics.correlation_matrix(shown, decoded)
    # So wide a product is taken in float32.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)
    np.testing.assert_allclose(
        metrics.paired_correlation(shown, decoded), np.diag(theirs), rtol=0, atol=1e-7
    )
    narrow = shown.reshape(7, -1)[:, :4000], decoded.reshape(7, -1)[:, :4000]
    exact = np.corrcoef(*narrow)[:7, 7:]
    np.testing.assert_allclose(metrics.correlation_matrix(*narrow), exact, rtol=0, atol=1e-10)


def test_unrelated_pairs_are_identified_half_of_the_time():
    generator = np.random.default_rng(2)
    shown, decoded = generator.normal(size=(2, 400, 64))
    score = metrics.two_way_identification(shown, decoded, network="toy")
    assert score.mean == pytest.approx(0.5, abs=0.05)  # spread over seeds is 0.015


def test_targets_against_themselves_are_perfect():
    shown = np.random.default_rng(3).normal(size=(20, 30))
    assert metrics.two_way_identification(shown, shown, network="toy").mean == 1
    assert metrics.correlation_distance(shown, shown, network="toy").mean == pytest.approx(0)
    assert metrics.pixel_correlation(TARGETS, TARGETS).mean == pytest.approx(1)
    assert metrics.ssim(TARGETS, TARGETS).mean == pytest.approx(1)


@pytest.mark.parametrize(
    ("metric", "name", "value"),
    [
        (metrics.correlation_distance, "correlation_distance", "toy correlation distance"),
        (metrics.feature_cosine, "cosine_paired", "toy cosine"),
        (clip_s, "clipscore_from_features", "CLIP-S, toy"),
    ],
)
def test_paired_feature_metrics_match_the_golden_values(metric, name, value):
    score = metric(SHOWN, DECODED, network="toy")
    np.testing.assert_allclose(score.per_item, EXPECTED[name]["per_image"], atol=1e-5)
    assert score.mean == pytest.approx(EXPECTED[name]["mean"], abs=1e-5)
    assert score.name == value
    assert score.higher_is_better is ("distance" not in name)


@pytest.mark.parametrize("k", [1, 5])
def test_retrieval_in_both_directions_matches_the_golden_values(k):
    golden = EXPECTED["retrieval"]
    pair = DECODED, SHOWN
    for retrieve, key in [
        (metrics.image_from_brain, f"image_given_brain_top{k}"),
        (metrics.brain_from_image, f"brain_given_image_top{k}"),
    ]:
        for subset, value in zip(golden["subsets"], golden[key], strict=True):
            own = (rows[subset] for rows in pair)
            score = retrieve(*own, network="toy", k=k)
            assert score.mean == pytest.approx(value, abs=1e-12)
            assert score.chance == pytest.approx(k / 12)


def test_retrieval_is_the_mean_over_all_sets_without_drawing_any():
    from itertools import combinations

    brain, images = DECODED[:7], SHOWN[:7]
    cosine = metrics.correlation_matrix(brain, images, centred=False)
    truth = np.zeros(7)
    for item in range(7):
        others = [each for each in range(7) if each != item]
        sets = list(combinations(others, 3))
        right = [sum(cosine[item, list(each)] > cosine[item, item]) < 2 for each in sets]
        truth[item] = np.mean(right)
    score = metrics.image_from_brain(brain, images, network="toy", size=4, k=2)
    np.testing.assert_allclose(score.per_item, truth, atol=1e-12)
    assert score.name == "image from brain, toy, top-2 of 4"


def test_a_prediction_without_direction_retrieves_nothing():
    brain = DECODED.copy()
    brain[3] = 0
    for score in metrics.retrieval_scores(brain, SHOWN, network="toy"):
        assert score.per_item[3] == 0
    with pytest.raises(DataError, match="top-5 of 4 is no retrieval; take k from 1 to 3"):
        metrics.image_from_brain(DECODED[:4], SHOWN[:4], network="toy", k=5)


@pytest.mark.parametrize("key", list(EXPECTED["n_way_top_k"]))
def test_n_way_top_k_matches_the_hypergeometric_values(key):
    n, k = (int(part) for part in key.replace("way_top", " ").split())
    golden = EXPECTED["n_way_top_k"][key]
    logits, truth = INPUTS["class_logits"], INPUTS["class_truth"]
    score = metrics.n_way_top_k(logits, truth, n=n, k=k, network="toy")
    np.testing.assert_allclose(score.per_item, golden["per_image"], rtol=0, atol=1e-9)


def test_equal_and_undefined_logits_never_win():
    logits = np.array([[0.0, 0, 0, 0], [1, 0, 0, 0], [np.nan, 0, 0, 0], [1, np.nan, 0, 0]])
    score = metrics.n_way_top_k(logits, np.zeros(4, int), n=2, k=1, network="toy")
    np.testing.assert_allclose(score.per_item, [0, 1, 0, 2 / 3])


def test_n_way_refuses_more_classes_than_there_are():
    logits, truth = INPUTS["class_logits"], INPUTS["class_truth"]
    with pytest.raises(DataError, match="50-way top-1 is impossible with 40 classes"):
        metrics.n_way_top_k(logits, truth, n=50, k=1, network="toy")


def test_frechet_distance_matches_the_golden_values():
    golden = EXPECTED["frechet_distance"]
    narrow = metrics.frechet_distance(SHOWN[:, :8], DECODED[:, :8], network="toy")
    wide = metrics.frechet_distance(SHOWN, DECODED, network="toy")
    assert narrow.mean == pytest.approx(golden["first_8_columns"], rel=1e-4)
    assert wide.mean == pytest.approx(golden["all_32_columns_singular"], rel=1e-3)
    assert any("biased upward" in note for note in wide.notes)
    # The root of a singular matrix is exact to the root of the rounding, 1e-8.
    assert metrics.frechet_distance(SHOWN, SHOWN, network="toy").mean == pytest.approx(0, abs=1e-5)


def test_brain_correlation_matches_the_golden_values():
    golden = EXPECTED["brain_correlation"]
    measured, predicted = INPUTS["voxels_target"], INPUTS["voxels_pred"]
    whole = metrics.brain_correlation(measured, predicted)
    region = metrics.brain_correlation(
        measured, predicted, roi="V1", voxels=INPUTS["voxel_roi"].astype(bool)
    )
    np.testing.assert_allclose(whole.per_item, golden["per_image_all"], atol=1e-5)
    np.testing.assert_allclose(region.per_item, golden["per_image_roi"], atol=1e-5)
    per_voxel = metrics.voxel_correlation(measured, predicted)
    assert per_voxel.mean == pytest.approx(golden["per_voxel_encoding_style_mean"], abs=1e-5)


def test_noise_ceiling_follows_the_formula_of_nsd():
    golden = EXPECTED["noise_ceiling_percent"]
    ncsnr = np.array(golden["ncsnr"])
    np.testing.assert_allclose(metrics.noise_ceiling(ncsnr, 1), golden["n1"], atol=1e-9)
    np.testing.assert_allclose(metrics.noise_ceiling(ncsnr, 3), golden["n3"], atol=1e-9)
    mixed = metrics.noise_ceiling(ncsnr, np.array([1, 2, 2, 3, 3, 3]))
    np.testing.assert_allclose(mixed, golden["mix_A1_B2_C3_of_6"], atol=1e-9)
