"""Scores of sets and n-way scores, against closed forms, scipy, loops and enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from brainkit import metrics
from brainkit.errors import DataError
from brainkit.metrics.distribution import frechet_influences

TOY = metrics.Reader("toy")
RNG = np.random.default_rng(11)
FIRST = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 5))
SECOND = RNG.normal(size=(45, 5)) @ RNG.normal(size=(5, 5)) + 0.7


def with_moments(mean, deviation, n=50):
    """Return (n, dim) whose sample means and deviations (n - 1) are exact, uncorrelated."""
    raw = RNG.normal(size=(n, len(mean)))
    raw -= raw.mean(axis=0)
    basis = np.linalg.qr(raw)[0] * np.sqrt(n - 1)
    return basis * np.asarray(deviation) + np.asarray(mean)


def fid(*pair):
    return metrics.frechet_distance(*pair, network="toy")


def kid(*pair):
    return metrics.kernel_distance(*pair, network="toy")


def test_frechet_distance_of_gaussians_on_a_line_is_the_closed_form():
    pair = with_moments([1.0], [2.0]), with_moments([4.0], [0.5], n=33)
    assert fid(*pair).mean == pytest.approx((1 - 4) ** 2 + (2 - 0.5) ** 2, rel=1e-9)


def test_frechet_distance_of_uncorrelated_gaussians_is_the_closed_form():
    means, deviations = ([0, 1, -2], [3, 0, 1]), ([1, 2, 3], [0.5, 2.5, 3])
    pair = [with_moments(*each) for each in zip(means, deviations, strict=True)]
    truth = 9 + 1 + 9 + 0.5**2 + 0.5**2
    assert fid(*pair).mean == pytest.approx(truth, rel=1e-9)


def test_frechet_distance_of_any_gaussians_is_scipys():
    a, b = np.cov(FIRST, rowvar=False), np.cov(SECOND, rowvar=False)
    shift = np.sum((FIRST.mean(axis=0) - SECOND.mean(axis=0)) ** 2)
    truth = shift + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert fid(FIRST, SECOND).mean == pytest.approx(truth, rel=1e-7)


def test_dimensions_without_any_spread_change_no_frechet_distance():
    narrow = fid(FIRST, SECOND).mean
    wide = [np.pad(each, ((0, 0), (0, 90))) for each in (FIRST, SECOND)]
    assert fid(*wide).mean == pytest.approx(narrow, rel=1e-7)


def unbiased_by_loops(x, y):
    def kernel(a, b):
        return (sum(i * j for i, j in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(rows):
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return sum(kernel(rows[i], rows[j]) for i, j in pairs) / len(pairs)

    across = [kernel(a, b) for a in x for b in y]
    return within(x) + within(y) - 2 * sum(across) / len(across)


def test_kernel_distance_is_the_unbiased_estimate_by_loops():
    assert kid(FIRST, SECOND).mean == pytest.approx(unbiased_by_loops(FIRST, SECOND), rel=1e-9)


def test_kernel_distance_of_one_dimension_is_a_hand_computed_number():
    # Kernels (xy + 1)^3: within {0, 1} 1; within {1, 2} 27; across 1, 1, 8, 27 of mean 37 / 4.
    assert kid([[0.0], [1.0]], [[1.0], [2.0]]).mean == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_small_sets_bias_the_frechet_distance_and_not_the_kernel_distance():
    rng = np.random.default_rng(0)
    draws = [(rng.normal(size=(12, 4)), rng.normal(size=(12, 4))) for _ in range(400)]
    frechet = [fid(*each).mean for each in draws]
    kernel = np.array([kid(*each).mean for each in draws])
    assert min(frechet) > 0.1
    assert abs(kernel.mean()) < 4 * kernel.std() / 20
    assert (kernel < 0).any()


@pytest.mark.parametrize("metric", [fid, kid])
def test_exchanging_reconstructions_between_images_changes_nothing(metric):
    order = np.random.default_rng(1).permutation(len(SECOND))
    score = metric(FIRST, SECOND)
    assert metric(FIRST, SECOND[order]).mean == pytest.approx(score.mean, rel=1e-9)
    assert score.chance is None
    assert "no chance level" in " ".join(score.notes)


@pytest.mark.parametrize("metric", [fid, kid])
def test_scores_of_sets_tell_both_sizes(metric):
    score = metric(FIRST, SECOND)
    assert score.notes[0].startswith("n = 60 stimuli and 45 reconstructions: ")
    assert score.n_defined == 45
    assert not score.higher_is_better
    assert score.per_item.shape == (0,)


def test_the_frechet_distance_says_how_it_is_biased():
    wide = np.random.default_rng(2).normal(size=(40, 64))
    few = "n = 60 stimuli and 45 reconstructions: biased upward, as n < 2048;"
    assert fid(FIRST, SECOND).notes[0].startswith(few)
    assert "strongly biased upward, as n is no more than the 64 dim" in fid(wide, wide).notes[0]
    many = np.random.default_rng(3).normal(size=(2048, 2))
    assert "upward" not in fid(many, many).notes[0]
    assert "unbiased whatever n" in kid(FIRST, SECOND).notes[0]


@pytest.mark.parametrize(("metric", "what"), [(fid, "Fréchet"), (kid, "kernel")])
def test_sets_of_other_widths_or_one_item_are_refused(metric, what):
    for pair in ((FIRST, SECOND[:, :4]), (FIRST, SECOND[:1])):
        with pytest.raises(DataError, match=f"have no {what} distance; give at least two rows"):
            metric(*pair)


def test_several_samples_are_averaged_over_their_sets_and_not_pooled():
    samples = [SECOND, SECOND + 1]
    found = metrics.FID.scores(metrics.Seen(None, [], TOY, (FIRST, samples)))
    for score, metric in zip(found, (fid, kid), strict=True):
        single = [metric(FIRST, each).mean for each in samples]
        assert score.mean == pytest.approx(np.mean(single))
        assert score.mean != pytest.approx(metric(FIRST, np.concatenate(samples)).mean, rel=1e-3)
        assert score.notes[-1] == "mean over 2 samples of each image"


def by_enumeration(logits, true, n, k):
    others = [c for c in range(len(logits)) if c != true]
    sets = list(combinations(others, n - 1))
    return np.mean([sum(logits[c] > logits[true] for c in each) < k for each in sets])


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 1), (5, 3), (10, 1), (12, 2)])
def test_n_way_is_the_share_of_all_sets_of_others(n, k):
    rng = np.random.default_rng(5)
    logits, classes = rng.normal(size=(6, 12)), rng.integers(0, 12, 6)
    truth = [by_enumeration(*each, n, k) for each in zip(logits, classes, strict=True)]
    score = metrics.n_way_top_k(logits, classes, n=n, k=k, network="toy")
    np.testing.assert_allclose(score.per_item, truth, atol=1e-12)


def test_the_class_of_a_stimulus_is_the_likeliest_one_in_it():
    rng = np.random.default_rng(6)
    shown, decoded = rng.normal(size=(7, 12)), rng.normal(size=(7, 12))
    found = metrics.GROUPS["n_way"].scores(metrics.Seen(None, [], TOY, (shown, [decoded])))
    assert [each.name for each in found] == [f"{n}-way top-1, toy" for n in (2, 5, 10)]
    for score, n in zip(found, (2, 5, 10), strict=True):
        pairs = zip(shown, decoded, strict=True)
        truth = [by_enumeration(d, list(s).index(max(s)), n, 1) for s, d in pairs]
        np.testing.assert_allclose(score.per_item, truth, atol=1e-12)


def test_ways_never_exceed_the_classes():
    assert metrics.n_ways(1000) == (2, 10, 50, 100)
    assert metrics.n_ways(12) == (2, 5, 10)
    assert metrics.n_ways(4) == (2,)


def test_a_score_that_cannot_be_had_says_why():
    score = metrics.not_computed("FID", "weights missing, place them", higher_is_better=False)
    assert np.isnan(score.mean)
    assert score.n_defined == 0
    assert score.notes == ("not computed (weights missing, place them)",)


def weighted_frechet(first, second, weights):
    """The distance of weighted items, straight from its definition and scipy's matrix root."""
    p, n = weights / weights.sum(), len(weights)
    means = [p @ rows for rows in (first, second)]
    away = [rows - mean for rows, mean in zip((first, second), means, strict=True)]
    spreads = [(rows.T * p) @ rows * n / (n - 1) for rows in away]
    root = np.trace(sqrtm(spreads[0] @ spreads[1]).real)
    shift = ((means[0] - means[1]) ** 2).sum()
    return shift + np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * root


def pair_of_sets(draw, n, dim):
    first = draw.normal(size=(n, dim)) * np.linspace(0.5, 2, dim)
    return first, 0.6 * first + draw.normal(size=(n, dim)) + 0.3


def test_influences_are_derivatives_of_the_distance_by_weight():
    first, second = pair_of_sets(np.random.default_rng(0), 20, 4)
    found, step = frechet_influences(first, second), 1e-5
    for item in range(0, 20, 3):
        towards = np.eye(20)[item]
        ends = [
            weighted_frechet(first, second, (1 - t) * np.full(20, 1 / 20) + t * towards)
            for t in (step, -step)
        ]
        assert found[item] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)
    assert found.sum() == pytest.approx(0, abs=1e-8)


def test_influences_are_the_same_however_many_dimensions_say_nothing():
    first, second = pair_of_sets(np.random.default_rng(1), 30, 4)
    more = [np.hstack([rows, np.zeros((30, 40))]) for rows in (first, second)]
    np.testing.assert_allclose(
        frechet_influences(*more), frechet_influences(first, second), atol=1e-6
    )


def test_the_interval_of_the_distance_is_as_wide_as_other_images_move_it():
    draw = np.random.default_rng(2)
    scores = [
        metrics.frechet_distance(*pair_of_sets(draw, 300, 6), network="x") for _ in range(200)
    ]
    spread = np.std([each.mean for each in scores], ddof=1)
    widths = [(each.interval.high - each.interval.low) / (2 * 1.96) for each in scores]
    assert np.mean(widths) == pytest.approx(spread, rel=0.15)
    # 300 items of 6 dimensions leave a bias that is small beside the spread.
    truth = metrics.frechet_distance(*pair_of_sets(draw, 200_000, 6), network="x").mean
    held = np.mean([each.interval.low <= truth <= each.interval.high for each in scores])
    assert held > 0.88
    assert scores[0].interval.method == "delta method"
    assert "bias" in scores[0].notes[-1]


def test_sets_of_other_sizes_and_means_over_samples_have_no_interval():
    first, second = pair_of_sets(np.random.default_rng(3), 12, 4)
    assert metrics.frechet_distance(first, second[:9], network="x").interval is None
    one = metrics.frechet_distance(first, second, network="x")
    assert one.interval.low >= 0
    assert metrics.over_samples([one, one]).interval is None
