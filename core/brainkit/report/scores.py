"""Scores beside what they are held against, as reports show them and `metrics.json` keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from brainkit.data import Interval
from brainkit.errors import DataError

LAYOUT = 2
"""Version of the JSON's keys."""
N_EXCHANGES = 5
"""How often outputs are exchanged between images."""
ENOUGH = 3
"""Images from which on outputs of one can be exchanged with those of others."""
INTERVAL = "95 % BCa bootstrap over images"
"""What every interval is, in the legend of tables."""
OutputGroup = Literal["pictures", "captions", "features"]
GROUPS: tuple[OutputGroup, ...] = ("pictures", "captions", "features")
"""What is scored, in the order of reports."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """The value of a score for something else than this brain's own outputs.

    Attributes:
        value: of the score.
        sd: standard deviation over draws (of a null) or exchanges; NaN when there is one, or the
            value is exact.
        interval: over the images, where it was found.
        n: draws or exchanges behind the value; 0 when it is exact.
    """

    value: float
    sd: float = math.nan
    interval: Interval | None = None
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One metric over all test images, beside what it could be and what no brain would give.

    Attributes:
        name: of the metric, with everything that changes its value.
        key: the name as one word, the same in every run.
        group: what is scored.
        unit: what the number is, e.g. "r" or "share".
        value: from the brain.
        sem: standard error over the images; NaN when there is none.
        interval: of the value, over images; None when there is none.
        n: images behind the value.
        higher_is_better: whether larger means closer.
        per_image: value of each test image, NaN if undefined; empty when only the whole set has
            one.
        true: the same pipeline from the true features; None when it was not run.
        null: the same pipeline from the mean brain, one output for all images; None when not run.
        exchange: outputs exchanged between images; None when that makes no difference.
        noise_ceiling: the value without measurement noise in the test responses, where estimated.
        controls: further nulls that were asked for, by name.
        notes: sentences that a reader of the number needs.
    """

    name: str
    value: float
    key: str = ""
    group: OutputGroup = "pictures"
    unit: str = ""
    sem: float = math.nan
    interval: Interval | None = None
    n: int = 0
    higher_is_better: bool = True
    per_image: tuple[float, ...] = ()
    true: Level | None = None
    null: Level | None = None
    exchange: Level | None = None
    noise_ceiling: float | None = None
    controls: Mapping[str, Level] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def floor(self) -> Level | None:
        """Where the scale of the score begins: the better of null and exchange."""
        return self.best(self.null, self.exchange)

    def best(self, *levels: Level | None) -> Level | None:
        """Return the best of some levels of the score; None where none is known."""
        known = [each for each in levels if each and finite(each.value) is not None]
        sign = 1 if self.higher_is_better else -1
        return max(known, key=lambda level: sign * level.value, default=None)

    def gain(self, level: Level | None) -> float | None:
        """Return by how much the score is better than a level; None where either is not known."""
        if level is None or finite(self.value) is None:
            return None
        return self.value - level.value if self.higher_is_better else level.value - self.value

    @property
    def note(self) -> str:
        """Its notes as one text."""
        return " ".join(self.notes)


def score_json(row: ScoreRow) -> dict[str, Any]:
    """Return a score as an object that JSON can hold; undefined values are null."""
    return {
        "key": row.key,
        "name": row.name,
        "group": row.group,
        "unit": row.unit,
        "higher_is_better": row.higher_is_better,
        "value": finite(row.value),
        "sem": finite(row.sem),
        "interval": _interval(row.interval),
        "n": row.n,
        "true_features": _level(row.true),
        "null": _level(row.null),
        "exchange": _level(row.exchange),
        "floor": _level(row.floor),
        "noise_ceiling": finite(row.noise_ceiling),
        "controls": {name: _level(level) for name, level in row.controls.items()},
        "per_image": [finite(value) for value in row.per_image] or None,
        "notes": list(row.notes),
    }


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a `metrics.json` of this layout.

    Raises:
        DataError: it cannot be read, is no such file, or is of an earlier brainkit.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        layout, _ = found["layout"], found["scores"]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise DataError(f"{path} holds no scores; delete it and run again") from error
    if layout != LAYOUT:
        raise DataError(
            f"{path} has the layout {layout!r} of another brainkit, expected {LAYOUT}; run again "
            "and it is scored anew"
        )
    return dict(found)


def finite(value: float | None) -> float | None:
    """Return a Python float, or None where there is no finite number."""
    return None if value is None or not math.isfinite(value) else float(value)


def _level(level: Level | None) -> dict[str, Any] | None:
    if level is None:
        return None
    return {
        "value": finite(level.value),
        "sd": finite(level.sd),
        "interval": _interval(level.interval),
        "n": level.n,
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        "low": finite(interval.low),
        "high": finite(interval.high),
        "level": interval.level,
        "method": interval.method,
    }
