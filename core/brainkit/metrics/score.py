"""What every metric returns, and the one place where values of items become a mean."""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainkit.data import Interval
from brainkit.errors import BrainkitWarning, DataError

Values = NDArray[np.float64]
Resampled = Callable[[Values], Values]
"""From how often each of several sets holds each item, (sets, items), to each set's value."""


Order = NDArray[np.intp] | None
"""Takes reconstruction `order[j]` for that of item j; None for each its own."""


class Measure(TypedDict):
    """What a score is measured in and the least good value it can have, see `Score`."""

    unit: str
    worst: float


CORRELATION: Final[Measure] = {"unit": "r", "worst": -1.0}
COSINE: Final[Measure] = {"unit": "cosine", "worst": -1.0}
DISTANCE: Final[Measure] = {"unit": "1 - r", "worst": 2.0}
INDEX: Final[Measure] = {"unit": "index", "worst": -1.0}
SHARE: Final[Measure] = {"unit": "share", "worst": 0.0}
F1: Final[Measure] = {"unit": "F1", "worst": 0.0}


@dataclass(frozen=True, eq=False)
class Score:
    """One metric of one set of reconstructions or captions.

    Attributes:
        name: metric with everything that changes its value: network, references, direction.
        mean: over the defined items; for metrics of a whole set (BLEU, Fréchet) the set's value.
        sem: standard error of the mean over the defined items, NaN with fewer than two.
        per_item: float64 (items,), NaN where undefined; length 0 when only the set has a value.
        n_defined: items behind the mean.
        higher_is_better: whether larger means closer.
        chance: expected value of outputs exchanged between items, where it is known exactly.
        notes: sentences a reader of the number needs.
        unit: what the number is, e.g. "r" or "share".
        worst: the least good value an item can have; NaN where there is none.
        resample: the value of other sets of the items; None where it is their mean.
        interval: of the value; None where it is not known.
        noise_ceiling: the value without noise in what was measured, where it is estimated.
    """

    name: str
    mean: float
    sem: float
    per_item: Values
    n_defined: int
    higher_is_better: bool = True
    chance: float | None = None
    notes: tuple[str, ...] = ()
    unit: str = ""
    worst: float = math.nan
    resample: Resampled | None = None
    interval: Interval | None = None
    noise_ceiling: float | None = None

    @property
    def key(self) -> str:
        """The name as one word, stable as long as the name is: "pixel-correlation"."""
        return key_of(self.name)

    def over(self, counts: Values) -> Values | None:
        """Return the value of other sets of the same items.

        Args:
            counts: float64 (sets, items), how often each set holds each item.

        Returns:
            float64 (sets,), NaN where undefined; None for what only the whole set has.
        """
        if self.resample is not None:
            return self.resample(counts)
        if not len(self.per_item):
            return None
        defined = ~np.isnan(self.per_item)
        with np.errstate(invalid="ignore"):
            return np.asarray(
                counts @ np.where(defined, self.per_item, 0) / (counts @ defined.astype(float))
            )


def key_of(name: str) -> str:
    """Return a score's name as one word of ASCII.

    >>> key_of("Fréchet distance, Inception 2015"), key_of("BLEU-1@allref")
    ('frechet-distance-inception-2015', 'bleu-1@allref')
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9@.]+", "-", plain.lower()).strip("-")


def scored(
    name: str,
    per_item: ArrayLike,
    *,
    higher_is_better: bool = True,
    chance: float | None = None,
    notes: tuple[str, ...] = (),
    unit: str = "",
    worst: float = math.nan,
) -> Score:
    """Average the defined values of the items; the other arguments are those of `Score`.

    Args:
        name: of the metric.
        per_item: (items,), NaN where the metric is undefined.

    Warns:
        BrainkitWarning: some values are undefined; they are left out of the mean.
    """
    values = np.asarray(per_item, dtype=np.float64)
    defined = values[~np.isnan(values)]
    if len(defined) < len(values):
        note = f"{name} is undefined for {len(values) - len(defined)} of {len(values)} items"
        warnings.warn(f"{note}; they are left out of its mean", BrainkitWarning, stacklevel=3)
        notes = (*notes, note)
    return Score(
        name=name,
        mean=float(defined.mean()) if len(defined) else math.nan,
        sem=_sem(defined),
        per_item=values,
        n_defined=len(defined),
        higher_is_better=higher_is_better,
        chance=chance,
        notes=notes,
        unit=unit,
        worst=worst,
    )


def not_computed(name: str, reason: str, *, higher_is_better: bool = True) -> Score:
    """Stand in for a score that cannot be had here; its value is NaN and its note says why.

    Args:
        name: what the score would have been called.
        reason: what is missing and what to do, e.g. "file X is missing, place it in Y".
    """
    return Score(
        name=name,
        mean=math.nan,
        sem=math.nan,
        per_item=np.empty(0),
        n_defined=0,
        higher_is_better=higher_is_better,
        notes=(f"not computed ({reason})",),
    )


def over_samples(scores: Sequence[Score]) -> Score:
    """Average one metric over several reconstructions of the same items.

    An item's value is the mean over its defined samples. A metric that only the whole set has
    (BLEU) is averaged over the samples' sets.

    Args:
        scores: of the first, second, ... sample of every item, in the same order.
    """
    first = scores[0]
    absent = not first.n_defined and not len(first.per_item)
    if len(scores) == 1 or absent:
        return first
    note = f"mean over {len(scores)} samples of each image"
    notes = tuple(dict.fromkeys(note for each in scores for note in each.notes))
    rows = np.stack([each.per_item for each in scores])
    counts = (~np.isnan(rows)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        values = np.where(counts > 0, np.nansum(rows, axis=0) / counts, np.nan)
    defined = values[~np.isnan(values)]
    of_sets = not len(defined) or all(math.isnan(each.sem) for each in scores)
    return replace(
        first,
        mean=float(np.mean([each.mean for each in scores]) if of_sets else defined.mean()),
        sem=math.nan if of_sets else _sem(defined),
        per_item=values,
        n_defined=len(defined) if len(values) else first.n_defined,
        notes=(*notes, note),
        resample=_mean_resample(scores) if first.resample else None,
        interval=None,
    )


def _mean_resample(scores: Sequence[Score]) -> Resampled:
    def resample(counts: Values) -> Values:
        values = [each.over(counts) for each in scores]
        return np.asarray(np.mean([each for each in values if each is not None], axis=0))

    return resample


def _sem(defined: Values) -> float:
    return float(defined.std(ddof=1) / math.sqrt(len(defined))) if len(defined) > 1 else math.nan


def taken(rows: Any, order: Order) -> Any:
    """Return rows in an order; a single one stands for all without being copied."""
    if order is None:
        return rows
    one = len(rows) == 1
    return np.broadcast_to(rows, (len(order), *rows.shape[1:])) if one else rows[order]


def check_paired(first: Any, second: Any, words: tuple[str, str], at_least: int = 1) -> int:
    """Return the number of pairs.

    Raises:
        DataError: the two differ in length, or there are too few pairs.
    """
    if len(first) != len(second):
        raise DataError(
            f"{len(first)} {words[0]} cannot be compared with {len(second)} {words[1]}; "
            "give one of each for every item, in the same order"
        )
    if len(first) < at_least:
        raise DataError(
            f"this metric needs at least {at_least} items and got {len(first)}; score more images"
        )
    return len(first)
