"""Compare paired features: of stimuli and reconstructions, or of captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from brainkit.metrics.correlation import WORST, correlation_matrix, correlation_or_worst
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


def clip_s(images: Any, captions: Any, *, network: str) -> Score:
    """Score captions against images: 2.5 max(cosine, 0).

    Args:
        images: (items, dim), image features.
        captions: (items, dim), text features of "A photo depicts" and the caption.
        network: becomes part of the name; published values are for CLIP ViT-B/32.

    Source: Hessel et al. 2021, CLIPScore, section 3.
    """
    check_paired(images, captions, ("images", "captions"))
    cosines = correlation_or_worst(images, captions, centred=False)
    return scored(f"CLIP-S, {network}", 2.5 * np.maximum(cosines, 0), unit="0 to 2.5", worst=0.0)


def text_cosine(decoded: Any, references: Sequence[Any], *, network: str) -> Score:
    """Return the cosine of each decoded caption with the closest of its references.

    Args:
        decoded: (items, dim), text features of the decoded captions.
        references: for each item (n_references, dim), text features of its true captions.
        network: becomes part of the name.
    """
    check_paired(decoded, references, ("decoded captions", "sets of references"))
    pairs = zip(np.asarray(decoded), references, strict=True)
    cosines = [correlation_matrix(row[None], refs, centred=False).max() for row, refs in pairs]
    return scored(f"{network} text-text@allref", cosines, **COSINE)
