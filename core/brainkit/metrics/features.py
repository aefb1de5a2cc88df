"""Compare paired features: of stimuli and reconstructions, or of captions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from brainkit.metrics.correlation import WORST, correlation_or_worst
from brainkit.metrics.score import (
    CORRELATION,
    COSINE,
    DISTANCE,
    Score,
    Values,
    check_paired,
    scored,
)


def feature_cosine(targets: Any, recons: Any, *, network: str) -> Score:
    """Return the cosine of each pair of features.

    Args:
        targets: (items, *shape), features of the stimuli.
        recons: (items, *shape), features of the reconstructions.
        network: becomes part of the name, e.g. "CLIP (miniature)".
    """
    check_paired(targets, recons, ("targets", "reconstructions"))
    cosines = correlation_or_worst(targets, recons, centred=False)
    return scored(f"{network} cosine", cosines, **COSINE)


def feature_correlation(targets: Any, recons: Any, *, network: str) -> Score:
    """Return the Pearson correlation of each pair of features over their elements.

    As `feature_cosine` of features from which each item's own mean is taken.
    """
    check_paired(targets, recons, ("targets", "reconstructions"))
    correlations = correlation_or_worst(targets, recons)
    return scored(f"{network} correlation", correlations, **CORRELATION)


def without_gaps(targets: Any, predicted: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Take out the units that a regressor left out, which are NaN in every row.

    Args:
        targets: (items, dim), true features.
        predicted: (items, dim).

    Returns:
        both with the predicted units only, and a note on how many count; empty when all do.
    """
    values = np.asarray(predicted)
    left_out = np.isnan(values).all(axis=0) if len(values) else np.zeros(values.shape[1], bool)
    if not left_out.any():
        return targets, predicted, ()
    kept = ~left_out
    note = f"{int(kept.sum())} of {len(kept)} units are predicted and count"
    return np.asarray(targets)[:, kept], values[:, kept], (note,)


def variance_explained(targets: Any, predicted: Any, *, feature: str) -> Score:
    """Return the share of a feature's variance over items that its prediction explains.

    R2 = 1 - sum (y - y')**2 / sum (y - mean(y))**2, both sums over all items and numbers, mean(y)
    per number over the items; an item's value is its own share of the same denominator. A
    prediction with the spread of the targets scores lower than a shrunken one.

    Args:
        targets: (items, dim), true features.
        predicted: (items, dim); see `without_gaps` where units are left out.
        feature: becomes part of the name.
    """
    check_paired(targets, predicted, ("targets", "predictions"), at_least=2)
    true = np.asarray(targets, dtype=np.float32)
    spread = np.square(true - true.mean(axis=0)).sum(1, dtype=np.float64)
    missed = np.square(true - np.asarray(predicted, dtype=np.float32)).sum(1, dtype=np.float64)
    total = spread.mean()
    shares = 1 - missed / total if total > 0 else np.full(len(true), np.nan)

    def resample(counts: Values) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1 - counts @ missed / (counts @ spread))

    score = scored(f"{feature} variance explained", shares, unit="R2")
    return replace(score, resample=resample)


def without_noise(score: Score, targets: Any, noise: float) -> Score:
    """Return a share of variance explained with what it would be without noise in the responses.

        R2 + noise / mean over items of sum (y - mean(y))**2

    Noise that has nothing to do with item or prediction adds its own variance to the squared
    error, and nothing else.

    Args:
        score: of `variance_explained`.
        targets: (items, dim), the true features it is of.
        noise: variance of a prediction by noise, summed over dim, mean over items.
    """
    true = np.asarray(targets, dtype=np.float32)
    total = float(np.square(true - true.mean(axis=0)).sum(1, dtype=np.float64).mean())
    ceiling = score.mean + noise / total if total > 0 else math.nan
    note = (
        f"noise ceiling {ceiling:.3f}: without the noise of the test responses, from ncsnr, as if "
        "voxels had no noise in common"
    )
    return replace(score, noise_ceiling=ceiling, notes=(*score.notes, note))


def direction_explained(targets: Any, predicted: Any, *, feature: str) -> Score:
    """Return `variance_explained` of features and predictions scaled to unit length each.

    For features of which what follows reads the direction alone, as of normalised embeddings: a
    regression predicts them too short, which then costs nothing.
    """
    true, guessed = (_unit_rows(rows) for rows in (targets, predicted))
    score = variance_explained(true, guessed, feature=feature)
    note = "features and predictions at unit length, as what follows reads their direction alone"
    return replace(score, name=f"{feature} variance explained, unit length", notes=(note,))


def _unit_rows(rows: Any) -> Values:
    values = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)


def correlation_distance(targets: Any, recons: Any, *, network: str) -> Score:
    """Return one minus the correlation of each pair of features; lower is better."""
    check_paired(targets, recons, ("targets", "reconstructions"))
    return _distance(correlation_or_worst(targets, recons), network)


def distance_of(correlations: Values, *, network: str) -> Score:
    """Return `correlation_distance` from correlations of all stimuli with all reconstructions.

    Args:
        correlations: (items, items), the pairs on the diagonal.
        network: becomes part of the name.
    """
    check_paired(correlations, correlations.T, ("targets", "reconstructions"))
    own = np.diagonal(correlations)
    # Only a stimulus without correlation with any reconstruction is blank itself.
    blank = np.isnan(own) & ~np.isnan(correlations).all(axis=1)
    return _distance(np.where(blank, WORST, own), network)


def _distance(correlations: Values, network: str) -> Score:
    name = f"{network} correlation distance"
    return scored(name, 1 - correlations, higher_is_better=False, **DISTANCE)
