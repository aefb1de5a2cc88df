"""A comparison as one web page, of any runs and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainkit.compare.comparison import Comparison, Composition, Line
from brainkit.compare.formats import heading, p_value, table_csv
from brainkit.disk import written_aside
from brainkit.papers import Published
from brainkit.report.data import Picture
from brainkit.report.page import templates
from brainkit.report.pictures import Size, data_uri, size_for
from brainkit.report.scores import GROUPS, finite
from brainkit.report.values import csv_uri

MAIN = {"pictures": 3, "captions": 2}
"""How many scores of a group stand on each image's card."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows of images beside their scores; whatever is missing stays blank.

    Attributes:
        stimuli: pictures by image id.
        captions: true ones by image id.
        pictures: of each results' path, reconstructions by image id.
    """

    stimuli: Mapping[int, Picture]
    captions: Mapping[int, Sequence[str]]
    pictures: Mapping[Path, Mapping[int, Path | None]]


@dataclass(frozen=True)
class PairedCard:
    """One image as the page shows it: pictures and captions of each column."""

    image_id: int
    pictures: tuple[tuple[str, str | None, str, str], ...]
    caption: str
    scores: Mapping[str, float | None]


def write_page(
    comparison: Comparison, published: Sequence[Published], shown: Shown, path: Path, title: str
) -> Path:
    """Write a comparison as one self-contained HTML file, whole or not at all.

    Args:
        comparison: what stands beside what.
        published: numbers to show apart.
        shown: pictures and captions.
        path: of the file.
        title: heading of the page.

    Raises:
        DataError: a picture cannot be read.
        UnwritableError: the system refuses.
    """
    text = rendered(comparison, published, shown, title)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def rendered(
    comparison: Comparison, published: Sequence[Published], shown: Shown, title: str
) -> str:
    """Return the page as text."""
    values, better = _image_values(comparison)
    cards = _cards(comparison, shown, values)
    return templates().get_template("compare.html.j2").render(
        title=title,
        comparison=comparison,
        about=heading(comparison),
        groups=[(name, of) for name in GROUPS if (of := _in_group(comparison, name))],
        widths={line.key: _widths(line) for line in comparison.lines},
        differences=[(each, p_value(each.corrected)) for each in comparison.differences],
        differing=_differing(comparison.columns),
        published=published,
        csv=csv_uri(table_csv(comparison, ())),
        cards=cards,
        names=list(values),
        table={
            "names": list(values),
            "better": better,
            "rows": [[card.image_id, *card.scores.values()] for card in cards],
        },
    )  # fmt: skip


def _in_group(comparison: Comparison, group: str) -> list[Line]:
    return [line for line in comparison.lines if line.group == group]


def _widths(line: Line) -> list[float]:
    """Return how long each value's bar is, in percent of the largest absolute value."""
    widest = max((abs(value) for value in line.values if value is not None), default=0.0) or 1.0
    return [100 * max(value or 0.0, 0.0) / widest for value in line.values]


def _differing(columns: Sequence[Composition]) -> list[tuple[str, list[str]]]:
    """Return the settings in which columns differ, with the value of each."""
    of = [{"method": column.runs[0].method, **column.runs[0].settings} for column in columns]
    names = dict.fromkeys(name for settings in of for name in settings)
    rows = [(name, [settings.get(name, "–") for settings in of]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _image_values(comparison: Comparison) -> tuple[dict[str, list[float | None]], list[bool]]:
    """Return the main scores of each image by column, and the first column less each other."""
    ids = np.array(comparison.ids, np.int64)
    found: dict[str, list[float | None]] = {}
    better: list[bool] = []
    left = dict(MAIN)
    for line in comparison.lines:
        by_column = {}
        for column in comparison.columns:
            of = [run.values(line.key, ids) for run in column.runs]
            if all(each is not None for each in of):
                by_column[column.label] = np.mean([e for e in of if e is not None], axis=0)
        if len(by_column) < len(comparison.columns) or None in line.values:
            continue
        if left.get(line.group, 0) < 1:
            continue
        left[line.group] -= 1
        first, *others = by_column
        shown = {f"{line.name}: {label}": values for label, values in by_column.items()}
        shown |= {
            f"{line.name}: {first} − {label}": by_column[first] - by_column[label]
            for label in others
        }
        found |= {name: [finite(value) for value in values] for name, values in shown.items()}
        better += [line.higher_is_better] * len(shown)
    return found, better


def _cards(
    comparison: Comparison, shown: Shown, values: Mapping[str, list[float | None]]
) -> list[PairedCard]:
    n_pictures = len(comparison.ids) * (1 + len(comparison.columns))
    size = size_for(n_pictures)
    return [
        _card(comparison, shown, image, {name: of[row] for name, of in values.items()}, size)
        for row, image in enumerate(comparison.ids)
    ]


def _card(
    comparison: Comparison,
    shown: Shown,
    image: int,
    scores: Mapping[str, float | None],
    size: Size,
) -> PairedCard:
    captions = shown.captions.get(image, ())
    caption = str(captions[0]) if captions else ""
    pictures = [("Stimulus", _uri(shown.stimuli.get(image), size), f"image {image}", caption)]
    for column in comparison.columns:
        for run in column.runs[:1]:
            uri = _uri(shown.pictures.get(run.path, {}).get(image), size)
            said = run.captions.get(image, "")
            whose = f", {run.subject}" if len(column.runs) > 1 else ""
            pictures.append((column.label + whose, uri, f"image {image} from {column.label}", said))
    return PairedCard(image, tuple(pictures), caption, scores)


def _uri(picture: Any, size: Size) -> str | None:
    return None if picture is None else data_uri(picture, size)
