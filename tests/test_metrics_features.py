"""Scores of features that have no golden numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from brainkit import metrics
from brainkit.metrics import variance_explained


def test_variance_explained_matches_scikit_learn():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, 6)) * [1, 2, 3, 4, 5, 6]
    predicted = true + rng.normal(size=true.shape)
    ours = variance_explained(true, predicted, feature="z")
    theirs = r2_score(true, predicted, multioutput="variance_weighted")
    # float32 squares
    assert ours.mean == pytest.approx(theirs, abs=1e-5)
    assert len(ours.per_item) == 40


def test_variance_explained_of_the_truth_is_one_and_of_the_mean_zero():
    true = np.random.default_rng(1).normal(size=(30, 4))
    assert variance_explained(true, true, feature="z").mean == pytest.approx(1)
    mean = np.repeat(true.mean(0, keepdims=True), 30, 0)
    assert variance_explained(true, mean, feature="z").mean == pytest.approx(0, abs=1e-6)


def test_direction_explained_is_the_variance_explained_of_unit_rows():
    from sklearn.metrics import r2_score
    from sklearn.preprocessing import normalize

    random = np.random.default_rng(4)
    shown = random.normal(size=(30, 6)) + 1
    short = 0.3 * (shown + 0.5 * random.normal(size=shown.shape))
    score = metrics.direction_explained(shown, short, feature="toy")
    truth = r2_score(normalize(shown), normalize(short), multioutput="variance_weighted")
    assert score.mean == pytest.approx(truth, abs=1e-6)
    assert score.mean > metrics.variance_explained(shown, short, feature="toy").mean
    assert score.name == "toy variance explained, unit length"
