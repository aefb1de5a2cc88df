"""A figure for a paper: images in columns, what was seen and what runs made of it in rows."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainkit.compare.results import Results
from brainkit.disk import written_aside
from brainkit.errors import DataError, UsageError, did_you_mean
from brainkit.report.data import Picture
from brainkit.report.scores import finite
from brainkit.seeds import seed_of

WAYS = ("best", "worst", "median", "random", "even")
SIDE, LABEL, LINE = 1.1, 1.15, 0.13
"""Inches of a picture, of the labels at the left, and of a line of text."""
LETTERS = 21
"""Characters of a caption on a line."""
Format = Literal["png", "svg", "pdf"]


@dataclass(frozen=True, eq=False)
class FigureRow:
    """A row of a figure.

    Attributes:
        label: at its left.
        pictures: by image id; a blank where there is none.
        captions: by image id, below the picture.
    """

    label: str
    pictures: Mapping[int, Picture | None]
    captions: Mapping[int, str]


def chosen(results: Results, ids: Sequence[int], asked: str, by: str) -> list[int]:
    """Return the images that a figure shows.

    Args:
        results: of the run that decides which are best.
        ids: images there are.
        asked: "best:8", "worst:8", "median:8", "random:8", "even:8" or ids, "3,17,52".
        by: part of the name of the score that ranks; empty for the first that images have.

    Raises:
        UsageError: it is none of these, or an id is not among the images.
    """
    way, sign, count = asked.partition(":")
    if not sign:
        return _by_id(ids, asked)
    if way not in WAYS or not count.isdecimal() or int(count) < 1:
        hint = did_you_mean(way, WAYS)
        raise UsageError(
            f"--images is {asked!r}, expected WAY:COUNT with a way among {', '.join(WAYS)}, e.g. "
            f"best:8, or ids such as {ids[0]}.{hint}"
        )
    n = min(int(count), len(ids))
    if way == "even":
        return [ids[row] for row in np.linspace(0, len(ids) - 1, n).round().astype(int).tolist()]
    if way == "random":
        draw = np.random.default_rng(seed_of("figure", len(ids)))
        return sorted(draw.choice(np.array(ids), n, replace=False).tolist())
    ranked = _ranked(results, ids, by)
    if way == "worst":
        return ranked[::-1][:n]
    first = 0 if way == "best" else (len(ranked) - n) // 2
    return ranked[max(first, 0) :][:n]


def _by_id(ids: Sequence[int], asked: str) -> list[int]:
    wanted = [word.strip() for word in asked.split(",")]
    unknown = [word for word in wanted if not word.isdecimal() or int(word) not in ids]
    if unknown:
        raise UsageError(
            f"--images has {', '.join(map(repr, unknown[:5]))}, not among the {len(ids)} images of "
            f"the run (ids such as {', '.join(map(str, ids[:3]))}); best:8 takes the best eight"
        )
    return [int(word) for word in wanted]


def _ranked(results: Results, ids: Sequence[int], by: str) -> list[int]:
    """Return the images that have a value of a score, best first."""
    every = np.array(ids, np.int64)
    values = {key: results.values(key, every) for key in results.scores}
    of_images = {
        key: found
        for key, found in values.items()
        if found is not None and results.scores[key]["group"] != "features"
    }
    named = {
        key: found
        for key, found in of_images.items()
        if by.lower() in f"{key} {results.scores[key]['name']}".lower()
    }
    if not named:
        names = [results.scores[key]["name"] for key in of_images]
        raise UsageError(
            f"no score of images is called {by!r}; there are {', '.join(names) or 'none'}"
        )
    key, found = next(iter(named.items()))
    sign = -1 if results.scores[key]["higher_is_better"] else 1
    known = [row for row in range(len(ids)) if finite(found[row]) is not None]
    return [ids[row] for row in sorted(known, key=lambda row: sign * found[row])]


def write_figure(rows: Sequence[FigureRow], ids: Sequence[int], path: Path, kind: Format) -> Path:
    """Write a figure, whole or not at all; equal input gives equal bytes.

    Raises:
        DataError: a picture cannot be read.
        UnwritableError: the system refuses.
    """
    drawn = _drawn(rows, ids, kind)
    with written_aside(path) as aside:
        aside.write_bytes(drawn)
    return path


def _drawn(rows: Sequence[FigureRow], ids: Sequence[int], kind: Format) -> bytes:
    from matplotlib import pyplot, rc_context

    texts = [[_lines(row.captions.get(image, "")) for image in ids] for row in rows]
    below = [max(len(lines) for lines in of) * LINE for of in texts]
    height = sum(SIDE + each + 0.1 for each in below)
    width = LABEL + len(ids) * (SIDE + 0.08)
    with rc_context({"svg.hashsalt": "brainkit", "pdf.fonttype": 42, "font.size": 7}):
        figure = pyplot.figure(figsize=(width, height), facecolor="white")
        try:
            top = height
            for row, of, space in zip(rows, texts, below, strict=True):
                _row(figure, row, ids, of, (width, height, top))
                top -= SIDE + space + 0.1
            written = io.BytesIO()
            dated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
            figure.savefig(written, format=kind, dpi=300, metadata=dated)
        finally:
            pyplot.close(figure)
    return written.getvalue()


def _row(
    figure: Any,
    row: FigureRow,
    ids: Sequence[int],
    texts: Sequence[Sequence[str]],
    place: tuple[float, float, float],
) -> None:
    width, height, top = place
    label = "\n".join(textwrap.wrap(row.label, 18))
    figure.text(0.05 / width, (top - SIDE / 2) / height, label, va="center", fontsize=8)
    for column, image in enumerate(ids):
        left = LABEL + column * (SIDE + 0.08)
        axes = figure.add_axes((left / width, (top - SIDE) / height, SIDE / width, SIDE / height))
        axes.set_axis_off()
        picture = row.pictures.get(image)
        if picture is not None:
            axes.imshow(_pixels(picture))
        said = "\n".join(texts[column])
        figure.text(left / width, (top - SIDE - 0.03) / height, said, va="top", fontsize=7)


def _pixels(picture: Any) -> Any:
    from PIL import Image

    if not isinstance(picture, Path):
        return picture
    try:
        return np.asarray(Image.open(picture).convert("RGB"))
    except OSError as error:
        raise DataError(f"{picture} is not a picture ({error}); run again") from error


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text.replace("$", r"\$"), LETTERS)[:5]
