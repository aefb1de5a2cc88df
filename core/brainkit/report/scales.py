"""Where a score lies on the way from its floor to the true features, drawn and said in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from brainkit.report.scores import ScoreRow, finite

MARGIN = 8.0
"""Percent of a score's scale that lie below its floor and above the true features."""


@dataclass(frozen=True)
class Scale:
    """Where a score lies between its floor and the true features, in percent of the drawn width.

    Attributes:
        share: of the way from floor to true features.
        value: place of the score.
        low: place of the lower end of its interval, or of a standard error below it.
        high: place of the upper end.
        floor: place of the floor.
        true: place of the true features' score.
        spread: half the width of two standard deviations of the floor.
    """

    share: int
    value: float
    low: float
    high: float
    floor: float
    true: float
    spread: float


def scale(row: ScoreRow) -> Scale | None:
    """Place a score between its floor and the true features'; None where there is no such way.

    That is where either is missing, or the true features are no better than the floor.
    """
    levels = (level.value if level else None for level in (row.floor, row.true))
    value, chance, ceiling = (finite(x) for x in (row.value, *levels))
    if value is None or chance is None or ceiling is None or math.isclose(chance, ceiling):
        return None
    span, inner = ceiling - chance, 100 - 2 * MARGIN
    if (span > 0) != row.higher_is_better:
        return None

    def place(number: float) -> float:
        return min(max(MARGIN + inner * (number - chance) / span, 0), 100)

    ends = sorted(place(end) for end in _ends(row, value))
    return Scale(
        share=round(100 * (value - chance) / span),
        value=place(value),
        low=ends[0],
        high=ends[1],
        floor=MARGIN,
        true=100 - MARGIN,
        spread=min(inner * 2 * (_sd(row) or 0) / abs(span), MARGIN),
    )


def _ends(row: ScoreRow, value: float) -> tuple[float, float]:
    """Return the ends of a score's interval, or a standard error to both sides of it."""
    if row.interval:
        low, high = finite(row.interval.low), finite(row.interval.high)
        if low is not None and high is not None:
            return low, high
    error = finite(row.sem) or 0.0
    return value - error, value + error


def meaning(row: ScoreRow) -> str:
    """Say in one line what a score's three numbers tell."""
    said = [f"From the brain {number(row.value)}"]
    if row.true:
        said.append(
            f"{number(row.true.value)} is what the same pipeline makes of the true features"
        )
    if row.null:
        said.append(f"{number(row.null.value)} is what it makes of the mean brain")
    if row.exchange:
        said.append(f"{number(row.exchange.value)} is what outputs exchanged between images give")
    verdict = ""
    where = scale(row)
    if where is not None:
        verdict = f" {where.share} % of the way from null to true features."
    if _within_chance(row):
        verdict = " Not distinguishable from chance."
    return "; ".join(said) + "." + verdict


def number(value: float | None) -> str:
    """Write a number for reading: three decimals, fewer when large, a dash when undefined.

    >>> number(-0.12345), number(-0.0001), number(123.4567), number(None)
    ('−0.123', '0.000', '123.5', '–')
    """
    known = finite(value)
    if known is None:
        return "–"
    decimals = 3 if abs(known) < 10 else 2 if abs(known) < 100 else 1
    # With "z" what rounds to zero has no sign.
    return f"{known:z.{decimals}f}".replace("-", "−")


def _within_chance(row: ScoreRow) -> bool:
    gain = row.gain(row.floor)
    return gain is not None and gain <= 2 * math.hypot(_sd(row) or 0, finite(row.sem) or 0)


def _sd(row: ScoreRow) -> float | None:
    return finite(row.floor.sd) if row.floor else None
