"""Intervals of scores against scipy's bootstrap and written-out definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from brainkit import metrics
from brainkit.metrics import Draws

N, COUNT = 40, 999
RANDOM = np.random.default_rng(1)
SHOWN, DECODED = (RANDOM.normal(size=(N, 12)) for _ in range(2))
DECODED += 0.5 * SHOWN


def by_scipy(statistic):
    """BCa by scipy, which draws the same indices from the same seed."""
    found = bootstrap(
        (np.arange(N),),
        statistic,
        n_resamples=COUNT,
        method="BCa",
        vectorized=False,
        rng=np.random.default_rng(0),
    )
    return found.confidence_interval


def interval_of(score):
    return Draws.of(N, count=COUNT, seed=0).interval(score)


def test_the_interval_of_a_mean_is_scipys():
    score = metrics.feature_cosine(SHOWN, DECODED, network="toy")
    low, high = by_scipy(lambda rows: score.per_item[rows].mean())
    found = interval_of(score)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-10)
    assert (found.level, found.method) == (0.95, "BCa")
    assert found.low < score.mean < found.high


def test_the_interval_of_identification_counts_pairs_of_different_images():
    r = np.corrcoef(SHOWN, DECODED)[:N, N:]

    def identified(rows):
        pairs = [(i, j) for i in rows for j in rows if i != j]
        return np.mean([r[i, j] < r[j, j] for i, j in pairs])

    low, high = by_scipy(identified)
    found = interval_of(metrics.two_way_identification(SHOWN, DECODED, network="toy"))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_the_interval_of_bleu_is_that_of_its_summed_counts():
    words = np.array(["a", "red", "dog", "runs", "on", "the", "green", "field"])
    texts = [" ".join(RANDOM.choice(words, 6)) for _ in range(N)]
    references = [[" ".join(RANDOM.choice(words, 7))] for _ in range(N)]

    def bleu(rows):
        chosen = [texts[i] for i in rows], [references[i] for i in rows]
        return metrics.bleu(*chosen, order=2).mean

    low, high = by_scipy(bleu)
    found = interval_of(metrics.bleu(texts, references, order=2))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-10)


def test_the_kernel_distance_of_other_sets_never_pairs_an_image_with_itself():
    score = metrics.kernel_distance(SHOWN, DECODED, network="toy")
    rows = np.array([0, 0, 3, 4, 5, 5, 5, 9])
    counts = np.bincount(rows, minlength=N)[None].astype(float)

    def kernel(a, b):
        return (a @ b / 12 + 1) ** 3

    apart = [(i, j) for i in rows for j in rows if i != j]
    within = [np.mean([kernel(x[i], x[j]) for i, j in apart]) for x in (SHOWN, DECODED)]
    across = np.mean([[kernel(SHOWN[i], DECODED[j]) for j in rows] for i in rows])
    assert score.over(counts)[0] == pytest.approx(sum(within) - 2 * across, rel=1e-9)
    assert score.over(np.ones((1, N)))[0] == pytest.approx(score.mean, rel=1e-9)


def test_explained_variance_of_other_sets_is_a_ratio_of_sums():
    score = metrics.variance_explained(SHOWN, DECODED, feature="toy")
    rows = RANDOM.integers(0, N, N)
    counts = np.bincount(rows, minlength=N)[None].astype(float)
    missed = np.square(SHOWN - DECODED).sum(1)[rows].sum()
    spread = np.square(SHOWN - SHOWN.mean(0)).sum(1)[rows].sum()
    assert score.over(counts)[0] == pytest.approx(1 - missed / spread, rel=1e-5)
    assert score.over(np.ones((1, N)))[0] == pytest.approx(score.mean, rel=1e-6)


def test_samples_are_averaged_in_every_draw():
    one, two = (
        metrics.two_way_identification(SHOWN, each, network="toy") for each in (DECODED, -DECODED)
    )
    counts = Draws.of(N, count=5).counts
    both = metrics.over_samples([one, two])
    np.testing.assert_allclose(both.over(counts), (one.over(counts) + two.over(counts)) / 2)


def test_intervals_hold_the_true_value_as_often_as_they_say():
    """Of 300 intervals of skewed values 95 % hold the mean; 3 sd of that share are 4 %."""
    truth, held = np.exp(0.5), 0
    for seed in range(300):
        values = np.random.default_rng(seed).lognormal(size=80)
        found = Draws.of(80, count=400, seed=seed).interval(metrics.scored("toy", values))
        held += found.low <= truth <= found.high
    assert 0.88 <= held / 300 <= 0.98


def test_what_does_not_vary_has_an_interval_without_width():
    found = interval_of(metrics.scored("toy", np.ones(N)))
    assert (found.low, found.high) == (1, 1)


def test_two_images_and_what_only_the_whole_set_has_have_no_interval():
    assert Draws.of(2).interval(metrics.scored("toy", [0.1, 0.2])) is None
    assert interval_of(metrics.frechet_distance(SHOWN, DECODED, network="toy")) is None
    assert interval_of(metrics.not_computed("toy", "no weights")) is None


def test_keys_are_one_word():
    score = metrics.scored("Fréchet distance, CLIP (miniature)@1ref", [1.0])
    assert score.key == "frechet-distance-clip-miniature-@1ref"
