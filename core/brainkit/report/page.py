"""Write the report: one HTML file that needs no network and no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.console import duration
from brainkit.disk import written_aside
from brainkit.report.controls import signal
from brainkit.report.data import (
    BrainMap,
    ReportData,
    ReportRow,
    Way,
    said_first,
)
from brainkit.report.histograms import histogram
from brainkit.report.pictures import Size, data_uri, parted, size_for
from brainkit.report.scales import meaning, number, scale
from brainkit.report.scores import GROUPS, INTERVAL, ScoreRow, finite
from brainkit.report.values import csv_uri, images_csv, score_names

if TYPE_CHECKING:
    from jinja2 import Environment

PICTURES = {"stimulus": "Stimulus", "ceiling": "From true features", "brain": "From brain"}
"""What a row can show, in order, and how it is labelled."""
SEVERITIES = {"leak": "Leak", "doubt": "In doubt", "unchecked": "Not checked"}
"""What findings are called, by their severity."""
MAP_SIDE, MAP_BYTES = 1200, 500_000
OTHER_SIDE, OTHER_BYTES = 96, 6000
"""Width in pixels and bytes of a picture of a further sample."""


@dataclass(frozen=True)
class DrawnWay:
    """The frames of a refinement, each with its iteration, and its loss as points of a line."""

    frames: tuple[tuple[int, str], ...]
    text: str
    points: str


@dataclass(frozen=True)
class DrawnMap:
    """A map as the page shows it; each region with its mean and the width of its bar in percent."""

    feature: str
    uri: str
    text: str
    regions: tuple[tuple[str, float, float], ...]
    flatmap: str | None


@dataclass(frozen=True)
class Card:
    """One image as the page shows it."""

    image_id: int
    index: int
    pictures: tuple[tuple[str, str | None, str], ...]
    captions: tuple[str, ...]
    decoded: tuple[tuple[str, str], ...]
    scores: Mapping[str, float | None]
    way: DrawnWay | None = None
    others: tuple[str, ...] = ()


def write_report(data: ReportData, path: Path) -> Path:
    """Write the report as one self-contained HTML file, whole or not at all.

    Raises:
        DataError: a picture cannot be read.
        UnwritableError: the system refuses, e.g. because the disk is full.
    """
    text = rendered(data)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def templates() -> Environment:
    """Return the pages of this folder, which share styles and script."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("brainkit.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, duration=duration)
    return environment


def rendered(data: ReportData) -> str:
    """Return the page as text."""
    cards = _cards(data)
    names = score_names(data.rows)
    better = {row.name: row.higher_is_better for row in data.scores}
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            data=data,
            said_first=said_first(data),
            interval=INTERVAL,
            severities=SEVERITIES,
            cards=cards,
            names=names,
            picks=picks(data.rows, names[0], better.get(names[0], True)) if names else (),
            groups=[(name, of) for name in GROUPS if (of := _in_group(data.scores, name))],
            histograms=[drawn for row in data.scores if (drawn := histogram(row))],
            seconds=sum(data.timings.values()),
            scales={row.name: scale(row) for row in data.scores},
            controls=list(dict.fromkeys(name for row in data.scores for name in row.controls)),
            signal=signal(data.scores),
            meanings={row.name: meaning(row) for row in data.scores},
            kinds=[label for name, label in PICTURES.items() if _any(data.rows, name)],
            figures=[(f, data_uri(f.picture, Size(1200, 2_000_000))) for f in data.figures],
            maps=[_map(each) for each in data.maps],
            csv=csv_uri(images_csv(data.rows)) if names else "",
            file_name="-".join(re.findall(r"\w+", f"{data.method} {data.subject}")),
            bibtex="\n\n".join(paper.bibtex() for paper in data.papers),
            table={
                "names": names,
                "better": [better.get(name, True) for name in names],
                "rows": [[card.image_id, *(card.scores[name] for name in names)] for card in cards],
            },
        )
    )


def picks(rows: Sequence[ReportRow], name: str, higher_is_better: bool) -> tuple[int, ...]:
    """Return the indices of the best, the median and the worst image by one score."""
    defined = [i for i, row in enumerate(rows) if finite(row.scores.get(name)) is not None]
    ranked = sorted(defined, key=lambda i: rows[i].scores[name], reverse=higher_is_better)
    return (ranked[0], ranked[len(ranked) // 2], ranked[-1]) if len(ranked) > 2 else ()


def _in_group(scores: Sequence[ScoreRow], group: str) -> list[ScoreRow]:
    return [row for row in scores if row.group == group]


def _any(rows: Sequence[ReportRow], name: str) -> bool:
    return any(getattr(row, name) is not None for row in rows)


def _cards(data: ReportData) -> list[Card]:
    shown = [name for name in PICTURES if _any(data.rows, name)]
    size = size_for(len(shown) * len(data.rows))
    names = score_names(data.rows)
    others = sum(len(row.others) for row in data.rows)
    small = Size(OTHER_SIDE, min(OTHER_BYTES, size_for(others).n_bytes))
    return [_card(row, index, shown, names, (size, small)) for index, row in enumerate(data.rows)]


def _card(
    row: ReportRow, index: int, shown: list[str], names: list[str], sizes: tuple[Size, Size]
) -> Card:
    size, small = sizes
    about = {
        "stimulus": f": {row.captions[0]}" if row.captions else "",
        "ceiling": "",
        "brain": "",
    }
    pictures: list[tuple[str, str | None, str]] = []
    for name in shown:
        picture: Any = getattr(row, name)
        uri = None if picture is None else data_uri(picture, size)
        pictures.append(
            (PICTURES[name], uri, f"{PICTURES[name]}, image {row.image_id}{about[name]}")
        )
    decoded = (("From true features", row.ceiling_caption), ("From brain", row.brain_caption))
    return Card(
        image_id=int(row.image_id),
        index=index,
        pictures=tuple(pictures),
        captions=row.captions,
        decoded=tuple((label, text) for label, text in decoded if text is not None),
        scores={name: finite(row.scores.get(name)) for name in names},
        way=None if row.way is None else _way(row.way),
        others=tuple(data_uri(each, small) for each in row.others),
    )


def _way(way: Way) -> DrawnWay:
    """Draw a loss as points of a line in a box 100 wide and 20 high, the largest at the top."""
    low, high = min(way.losses), max(way.losses)
    scale = 18 / (high - low) if high > low else 0.0
    across = 100 / max(1, len(way.losses) - 1)
    points = (f"{i * across:.1f},{19 - scale * (x - low):.1f}" for i, x in enumerate(way.losses))
    return DrawnWay(
        frames=tuple(zip(way.iterations, parted(way.strip, len(way.iterations)), strict=True)),
        text=f"Loss {way.losses[0]:.4g} to {way.losses[-1]:.4g}",
        points=" ".join(points),
    )


def _map(each: BrainMap) -> DrawnMap:
    widest = max((mean for _, mean in each.regions), default=0) or 1.0
    size = Size(MAP_SIDE, MAP_BYTES)
    return DrawnMap(
        feature=each.feature,
        uri=data_uri(each.picture, size),
        text=each.text,
        regions=tuple((name, mean, 100 * mean / widest) for name, mean in each.regions),
        flatmap=None if each.flatmap is None else data_uri(each.flatmap, size),
    )
