"""Fit what a training reads: a run up to its regressors, of which no generator is asked."""

from __future__ import annotations

from brainkit.run import Run


def fit_mappers(run: Run) -> None:
    """Load, encode and fit what is not current, and predict the test images.

    A later `brainkit run` with the same settings and work folder finds all of it current.
    """
    from brainkit.run import regress as steps

    with run.work.held():
        trials = steps.load(run)
        for name in run.method.encoders:
            steps.predict(run, name, trials, steps.encode(run, name))
