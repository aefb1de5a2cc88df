"""Fit what a training reads: a run up to its regressors, of which no generator is asked."""

from __future__ import annotations

from brainkit.run import Predictions, Run, predictions


def fit_mappers(run: Run) -> Predictions:
    """Load, encode and fit what is not current, predict the test images; return the files.

    A later `brainkit run` with the same settings and work folder finds all of it current.
    """
    return predictions(run)
