"""Scores of all sources to rows of a report: values, intervals, nulls and true features."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from brainkit.errors import BrainkitWarning
from brainkit.metrics import Draws, Score, chance_levels, with_intervals
from brainkit.report.scores import ENOUGH, N_EXCHANGES, Level, OutputGroup, ScoreRow

if TYPE_CHECKING:
    from brainkit.metrics.score import Order
    from brainkit.run.score import Scorer


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect what is warned of while the block runs, each sentence once, for the report."""
    sentences: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield sentences
    told = (str(each.message) for each in caught if issubclass(each.category, UserWarning))
    sentences += dict.fromkeys(told)


def score_rows(
    scorers: Sequence[Scorer],
    n_images: int,
    *,
    nulls: Sequence[str] = (),
    controls: Sequence[str] = (),
) -> tuple[ScoreRow, ...]:
    """Score all sources and return a row for each score of the source "brain".

    Args:
        scorers: of pictures, captions and features; their source "true" is the true features.
        n_images: how many are scored.
        nulls: sources that are draws of one null.
        controls: further sources, a null each.
    """
    draws = Draws.of(n_images) if n_images >= ENOUGH else None
    rows: list[ScoreRow] = []
    for scorer in scorers:
        scores = with_intervals(scorer.score("brain", None), draws)
        of = {source: _quiet(scorer, source, draws) for source in ("true", *controls)}
        null = _spread([_quiet(scorer, source, None) for source in nulls])
        exchanged = _exchanged(scorer, scores, n_images)
        for score in scores:
            name = score.name
            row = _row(score, scorer.group)
            rows.append(
                replace(
                    row,
                    true=of["true"].get(name),
                    null=null.get(name),
                    exchange=row.exchange or exchanged.get(name),
                    controls={each: of[each][name] for each in controls if name in of[each]},
                )
            )
    return tuple(rows)


def _quiet(scorer: Scorer, source: str, draws: Draws | None) -> dict[str, Level]:
    """Return what another source scores; what is undefined there was said of the brain's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrainkitWarning)
        scores = with_intervals(scorer.score(source, None), draws)
    return {
        score.name: Level(value=score.mean, interval=score.interval)
        for score in scores
        if score.n_defined
    }


def _spread(draws: Sequence[Mapping[str, Level]]) -> dict[str, Level]:
    """Return mean and standard deviation over draws of a null."""
    values: dict[str, list[float]] = {}
    for draw in draws:
        for name, level in draw.items():
            values.setdefault(name, []).append(level.value)
    return {
        name: Level(
            value=float(np.mean(of)),
            sd=float(np.std(of, ddof=1)) if len(of) > 1 else math.nan,
            n=len(of),
        )
        for name, of in values.items()
    }


def _exchanged(scorer: Scorer, scores: Sequence[Score], n_images: int) -> dict[str, Level]:
    """Return what each score is when images have the outputs of others, unless that is known."""
    if n_images < ENOUGH or all(score.chance is not None for score in scores):
        return {}

    def score(order: Order) -> Sequence[Score]:
        return scorer.score("brain", order)

    levels = chance_levels(score, n_images, n_shuffles=N_EXCHANGES)
    return {
        name: Level(value=level.mean, sd=level.sd, n=level.n_shuffles)
        for name, level in levels.items()
    }


def _row(score: Score, group: OutputGroup) -> ScoreRow:
    return ScoreRow(
        name=score.name,
        key=score.key,
        group=group,
        unit=score.unit,
        value=score.mean,
        sem=score.sem,
        interval=score.interval,
        n=score.n_defined,
        higher_is_better=score.higher_is_better,
        per_image=tuple(score.per_item.tolist()),
        exchange=None if score.chance is None else Level(value=score.chance),
        noise_ceiling=score.noise_ceiling,
        notes=score.notes,
    )
