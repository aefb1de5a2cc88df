"""How far a score would move with other images: bootstrap intervals of all scores at once.

Images are drawn with replacement as many times as there are images. A draw is told by how often it
holds each image, so one matrix of counts serves every score, and a score answers for all draws in a
few matrix products (`Score.over`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Final

import numpy as np

from brainkit.data import Interval
from brainkit.errors import BrainkitWarning
from brainkit.metrics.score import Score, Values

LEVEL: Final = 0.95
N_DRAWS: Final = 2000
FEWEST: Final = 3
"""Images below which there is no interval."""
NORMAL: Final = NormalDist()


@dataclass(frozen=True, eq=False)
class Draws:
    """Sets of images drawn with replacement.

    Attributes:
        counts: float64 (draws, images), how often each draw holds each image.
    """

    counts: Values

    @classmethod
    def of(cls, n_images: int, *, count: int = N_DRAWS, seed: int = 0) -> Draws:
        """Draw `count` sets of as many images as there are."""
        indices = np.random.default_rng(seed).integers(0, n_images, (count, n_images))
        flat = (indices + n_images * np.arange(count)[:, None]).ravel()
        counts = np.bincount(flat, minlength=count * n_images).reshape(count, n_images)
        return cls(counts.astype(np.float64))

    @cached_property
    def _sets(self) -> Values:
        """The draws, and the images without each one in turn."""
        return np.concatenate([self.counts, 1 - np.eye(self.counts.shape[1])])

    def interval(self, score: Score, level: float = LEVEL) -> Interval | None:
        """Return a score's interval, or None where it has no value of its own for other images.

        The bias-corrected and accelerated (BCa) percentile interval: the share of draws below the
        score corrects the bias, leaving out each image in turn corrects the skew.

        Source: Efron 1987, Better bootstrap confidence intervals, equations 2.3 and 7.3.
        """
        n_draws, n_images = self.counts.shape
        if n_images < FEWEST or not np.isfinite(score.mean):
            return None
        values = score.over(self._sets)
        if values is None:
            return None
        drawn, left_out = values[:n_draws], values[n_draws:]
        drawn, left_out = drawn[np.isfinite(drawn)], left_out[np.isfinite(left_out)]
        if not len(drawn):
            return None
        low, high = _quantiles(drawn, left_out, score.mean, level)
        return Interval(low, high, level, "BCa")


def with_intervals(scores: Sequence[Score], draws: Draws | None) -> tuple[Score, ...]:
    """Return the scores with their intervals; without draws as they are."""
    if draws is None:
        return tuple(scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrainkitWarning)
        return tuple(
            score if score.interval else replace(score, interval=draws.interval(score))
            for score in scores
        )


def _quantiles(drawn: Values, left_out: Values, value: float, level: float) -> tuple[float, float]:
    below = (np.sum(drawn < value) + np.sum(drawn <= value)) / (2 * len(drawn))
    tails = (1 - level) / 2, (1 + level) / 2
    if 0 < below < 1:
        bias, skew = NORMAL.inv_cdf(float(below)), _acceleration(left_out)
        shifted = [bias + NORMAL.inv_cdf(tail) for tail in tails]
        tails = _adjusted(shifted[0], bias, skew), _adjusted(shifted[1], bias, skew)
    low, high = np.quantile(drawn, tails)
    return float(low), float(high)


def _adjusted(shifted: float, bias: float, skew: float) -> float:
    return NORMAL.cdf(bias + shifted / (1 - skew * shifted))


def _acceleration(left_out: Values) -> float:
    away = left_out.mean() - left_out
    spread = float(np.sum(away**2)) ** 1.5
    return float(np.sum(away**3)) / (6 * spread) if spread > 0 else 0.0
