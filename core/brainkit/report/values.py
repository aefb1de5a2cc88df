"""The values of each image as a table of text, for spreadsheets and programs."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence

from brainkit.report.data import ReportRow
from brainkit.report.scores import finite


def score_names(rows: Sequence[ReportRow]) -> list[str]:
    """Return the names of the scores that images have, each once, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.scores))


def images_csv(rows: Sequence[ReportRow]) -> str:
    """Return a line an image: id, captions as far as there are any, and every score in full.

    Undefined scores are empty cells.
    """
    texts = {
        "caption": [row.captions[0] if row.captions else None for row in rows],
        "caption_from_brain": [row.brain_caption for row in rows],
        "caption_from_true_features": [row.ceiling_caption for row in rows],
    }
    there = {name: column for name, column in texts.items() if any(column)}
    names = score_names(rows)
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(["image_id", *there, *names])
    for index, row in enumerate(rows):
        scores = (finite(row.scores.get(name)) for name in names)
        lines.writerow([row.image_id, *(column[index] for column in there.values()), *scores])
    return written.getvalue()


def csv_uri(text: str) -> str:
    """Return a table as a link that a browser saves, with or without JavaScript."""
    encoded = base64.b64encode(text.encode()).decode("ascii")
    return f"data:text/csv;charset=utf-8;base64,{encoded}"
