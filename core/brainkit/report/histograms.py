"""Distributions of scores over images, as the page draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainkit.report.scales import number
from brainkit.report.scores import ScoreRow, finite

WIDTH, HEIGHT, TOP = 240.0, 64.0, 34.0
"""Size of the box that bars fill, in units of the drawing, and what is above it."""
FEW, MOST = 8, 24
"""Least and most bars."""


@dataclass(frozen=True)
class Histogram:
    """The distribution of one score over images.

    Attributes:
        name: of the score.
        text: median, quartiles and n.
        bars: of each its left edge, top, width and height.
        marks: what is marked and where across: "mean", "floor" and "true".
        low: left end of the axis.
        high: its right end.
    """

    name: str
    text: str
    bars: tuple[tuple[float, float, float, float], ...]
    marks: tuple[tuple[str, float], ...]
    low: str
    high: str


def histogram(row: ScoreRow) -> Histogram | None:
    """Return the distribution of a score; None with fewer than 3 images that have a value.

    Bars are as many as the square root of the images, 8 to 24, of equal width from the least to
    the largest of the images' values, the mean and the levels it is held against.
    """
    values = np.array([value for value in row.per_image if finite(value) is not None])
    if len(values) < 3:
        return None
    known = {
        "floor": finite(row.floor.value) if row.floor else None,
        "true": finite(row.true.value) if row.true else None,
        "mean": finite(row.value),
    }
    marks = {name: value for name, value in known.items() if value is not None}
    low = min(values.min(), *marks.values())
    high = max(values.max(), *marks.values())
    if low == high:
        low, high = low - 0.5, high + 0.5
    n_bars = int(np.clip(np.sqrt(len(values)), FEW, MOST))
    counts, edges = np.histogram(values, n_bars, (low, high))
    across = WIDTH / (high - low)
    heights = counts * (HEIGHT / counts.max())
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75))
    return Histogram(
        name=row.name,
        text=f"median {number(median)}, quartiles {number(lower)} and {number(upper)}, "
        f"n = {len(values)}",
        bars=tuple(
            (float((edge - low) * across), TOP + HEIGHT - float(tall), WIDTH / n_bars, float(tall))
            for edge, tall in zip(edges[:-1], heights, strict=True)
            if tall
        ),
        marks=tuple((name, float((value - low) * across)) for name, value in marks.items()),
        low=number(low),
        high=number(high),
    )
