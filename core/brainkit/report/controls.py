"""What scores are without this brain's signal, and so how much of each comes from it."""

from __future__ import annotations

from collections.abc import Sequence

from brainkit.report.scores import Level, ScoreRow

WITHOUT = ("noise", "other-subject")
"""Controls that have nothing of this brain; the others have a part of its predictions."""

UNSEEN = 5e-4
"""What three decimals do not show."""


def without_signal(row: ScoreRow) -> Level | None:
    """Return the best that is to be had without this brain: floor, noise, other subjects."""
    return row.best(row.floor, *(row.controls.get(control) for control in WITHOUT))


def signal(scores: Sequence[ScoreRow]) -> str:
    """Say in one sentence how much of each score comes from this brain's signal.

    Empty without controls.
    """
    asked = dict.fromkeys(control for row in scores for control in row.controls)
    parts = [part for row in scores if (part := _gain(row))]
    if not asked or not parts:
        return ""
    names = ", ".join(["null", "exchange", *(each for each in asked if each in WITHOUT)])
    return (
        "From this brain's signal comes what a score has over the best without it "
        f"({names}): {'; '.join(parts)}."
    )


def _gain(row: ScoreRow) -> str:
    without = without_signal(row)
    gain = row.gain(without)
    if without is None or gain is None:
        return ""
    if gain < UNSEEN:
        return f"{row.name} none of {row.value:.3f}"
    if row.higher_is_better:
        return f"{row.name} {gain:.3f} of {row.value:.3f}"
    return f"{row.name} {gain:.3f} below {without.value:.3f}"
