"""Sum a session's trials into rows, raw or as z-scores; arithmetic in float64, in voxel blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODES = ("session", "train", "none")
VOXELS_AT_ONCE = 256
SMALLEST_STD = 1e-8


def add_raw(betas: NDArray[np.float32], raw: NDArray[Any], rows: NDArray[np.int64]) -> None:
    """Add each trial of `raw` (trials, voxels) to its row of `betas`, in place.

    Sums of a few int16 numbers are exact in float32.
    """
    for row, trial in zip(rows, raw, strict=True):
        betas[row] += trial


def add_session_scores(
    betas: NDArray[np.float32],
    raw: NDArray[Any],
    rows: NDArray[np.int64],
    *,
    fit: NDArray[np.bool_],
    scale: float,
) -> None:
    """Add each trial's z-score to its row of `betas`, in place.

        z = (x / scale - mean) / std

    with mean and population standard deviation of the trials in `fit`; 0 where std < 1e-8.

    Args:
        betas: float32 (rows, voxels), the sums so far.
        raw: (trials, voxels), one session as stored.
        rows: int64 (trials,), the row of each trial.
        fit: bool (trials,), the trials statistics are taken from.
        scale: what stored numbers are divided by to give percent signal change.
    """
    for columns in _blocks(raw.shape[1]):
        values = raw[:, columns] / np.float64(scale)
        scores = _scores(values, values[fit], ddof=0).astype(np.float32)
        for row, trial in zip(rows, scores, strict=True):
            betas[row, columns] += trial


def score_by_train(betas: NDArray[np.float32], n_train: int) -> None:
    """Z-score all rows by mean and sample deviation (ddof 1) of the first `n_train`, in place."""
    for columns in _blocks(betas.shape[1]):
        values = betas[:, columns].astype(np.float64)
        betas[:, columns] = _scores(values, values[:n_train], ddof=1)


def _scores(
    values: NDArray[np.float64], fit: NDArray[np.float64], ddof: int
) -> NDArray[np.float64]:
    mean, std = fit.mean(axis=0), fit.std(axis=0, ddof=ddof)
    scores: NDArray[np.float64] = (values - mean) / np.where(std < SMALLEST_STD, np.inf, std)
    return scores


def _blocks(n_voxels: int) -> Iterator[slice]:
    for start in range(0, n_voxels, VOXELS_AT_ONCE):
        yield slice(start, start + VOXELS_AT_ONCE)
