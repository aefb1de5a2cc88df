"""Folds of trials, and which units of a feature can be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from brainkit.regressors.checks import check_folds, check_means
from brainkit.regressors.gram import Gram, slices
from brainkit.regressors.scaling import standardised, statistics

if TYPE_CHECKING:
    from torch import Tensor

FOLDS = 5


def contiguous(trials: int, folds: int = FOLDS) -> list[slice]:
    """Return folds of neighbouring trials; the first ones are longer where they cannot be equal.

    >>> contiguous(7, 3)
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    small, more = divmod(trials, folds)
    starts = [each * small + min(each, more) for each in range(folds + 1)]
    return [slice(*pair) for pair in pairwise(starts)]


def without(rows: Tensor, fold: slice) -> Tensor:
    """Return a copy of the rows that are not in the fold."""
    import torch

    return torch.cat([rows[: fold.start], rows[fold.stop :]])


def mean_correlation(truth: Tensor, predicted: Sequence[Tensor], folds: Sequence[slice]) -> Tensor:
    """Return the mean over folds of each unit's |Pearson r|, float64 (units,).

    Args:
        truth: (trials, units).
        predicted: for each fold, (trials of the fold, units).
        folds: which trials.
    """
    import torch

    total = torch.zeros(truth.shape[1], dtype=torch.float64, device=truth.device)
    for fold, guessed in zip(folds, predicted, strict=True):
        total += correlation(truth[fold].double(), guessed.double()).abs()
    return total / len(folds)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return the Pearson r of each column, (columns,); 0 where one of the two does not vary."""
    varies = (first != first[:1]).any(0) & (second != second[:1]).any(0)
    first, second = first - first.mean(0), second - second.mean(0)
    size = (first.square().sum(0) * second.square().sum(0)).sqrt()
    return ((first * second).sum(0) / size).where(varies & (size > 0), 0.0)


def best_units(scores: Tensor, share: float) -> Tensor:
    """Return the units, ascending int64, whose score reaches the percentile 100 (1 - share).

    The percentile is interpolated linearly between scores; equal scores at it all stay.
    """
    threshold = scores.quantile(1 - share)
    return (scores >= threshold).nonzero()[:, 0]


def unit_scores(betas: Tensor, feature: Tensor, block: int) -> Tensor:
    """Return how well ridge predicts each unit: mean |Pearson r| over five folds, (units,).

    The penalty is the mean eigenvalue of the products of standardised betas, max(trials, voxels)
    of a fold, the same for all units.

    Args:
        betas: (trials, voxels).
        feature: (trials, *shape).
        block: units at a time.

    Raises:
        DataError: a fold has fewer than two trials.
    """
    import torch

    check_folds(len(betas), FOLDS, least=2)
    folds = contiguous(len(betas))
    scaled = standardised(betas, *(each.to(betas) for each in statistics(betas)))
    operators = []
    for fold in folds:
        rows = without(scaled, fold)
        gram = Gram.of(rows, intercept=True)
        operators.append(gram.operator(scaled[fold], rows, float(max(rows.shape))))
    flat = feature.reshape(len(feature), -1)
    scores = []
    for cut in slices(flat.shape[1], block):
        targets = flat[:, cut].to(scaled)
        mean = targets.mean(0)
        check_means(mean)
        centred = targets - mean
        # The operators take what is left of a fold's mean to 0, and r does not see it.
        guessed = [
            operator @ without(centred, fold)
            for operator, fold in zip(operators, folds, strict=True)
        ]
        scores.append(mean_correlation(centred, guessed, folds))
    return torch.cat(scores)
