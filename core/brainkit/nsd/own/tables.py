"""Read who saw what when, and what people wrote, from the tables that labs keep."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from brainkit.errors import DataError, UsageError, did_you_mean
from brainkit.nsd.files import reading

IMAGE_COLUMNS = ("stim_file", "stimulus", "image", "image_id", "image_name", "trial_type")
SESSION_COLUMNS = ("session", "ses")
CAPTION_COLUMNS = ("caption", "captions", "text")
TABLES = (".tsv", ".csv", ".txt", ".npy")
NOTHING = ("", "n/a", "nan", "none", "blank")
"""What a table says of a trial without a picture."""
Table = dict[str, list[str]]


def read_trials(path: Path, column: str = "") -> list[tuple[str, str | int]]:
    """Read the session and the picture of each trial, in the order of the file.

    A table (`.tsv`, `.csv`) has a header: events of BIDS (`stim_file`), or any column that
    `column` names; rows without a picture are passed over. A `.txt` has a picture a line, a `.npy`
    whole numbers from 0.

    Returns:
        Pairs of session, "" where the file tells none, and picture.

    Raises:
        DataError: the file is missing or damaged, or names no picture.
        UsageError: the column is not there, or none can be told to name pictures.
    """
    trials: list[tuple[str, str | int]]
    if path.suffix == ".npy":
        trials = [("", number) for number in _numbers(path)]
    elif path.suffix in (".tsv", ".csv"):
        table = _table(path)
        images = table[_column(path, table, column, IMAGE_COLUMNS, "pictures", "--image-column")]
        of = next((each for each in SESSION_COLUMNS if each in table), None)
        sessions = table[of] if of else [""] * len(images)
        pairs = zip(sessions, images, strict=True)
        trials = [pair for pair in pairs if pair[1].strip().lower() not in NOTHING]
    else:
        with reading(path):
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        trials = [("", line.strip()) for line in lines if line.strip()]
    if not trials:
        raise DataError(f"{path} names no picture, expected one for each trial")
    return trials


def images_of_sessions(
    groups: Sequence[Sequence[Path]], lengths: Sequence[int], column: str = ""
) -> list[list[str | int]]:
    """Return the pictures of each session.

    Args:
        groups: the files of each session; or a single one of all, which has a column `session` or
            as many rows as there are trials in all.
        lengths: trials of each session, by its betas.
        column: as of `read_trials`.

    Raises:
        DataError: as `read_trials`, or there are other numbers of sessions or trials.
    """
    read = [[pair for path in group for pair in read_trials(path, column)] for group in groups]
    if len(read) == 1 and len(lengths) > 1:
        sessions = list(dict.fromkeys(session for session, _ in read[0]))
        if len(sessions) > 1:
            read = [[each for each in read[0] if each[0] == session] for session in sessions]
        elif len(read[0]) == sum(lengths):
            ends = np.cumsum([0, *lengths]).tolist()
            read = [read[0][start:end] for start, end in pairwise(ends)]
    if len(read) != len(lengths):
        raise DataError(
            f"there are betas of {len(lengths)} sessions with {sum(lengths)} trials, but tables of "
            f"{len(read)} with {sum(map(len, read))}; give one table for each session, or one with "
            "a column session"
        )
    return [[image for _, image in session] for session in read]


def sessions_told(paths: Sequence[Path], column: str = "") -> list[list[int]]:
    """Return the 0-based trials of each session that a column `session` of tables tells.

    Raises:
        DataError: as `read_trials`.
    """
    labels = [session for path in paths for session, _ in read_trials(path, column)]
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return list(rows.values())


def read_captions(path: Path) -> dict[str, list[str]]:
    """Read captions by picture from a table (a row a caption), or from COCO's JSON.

    Raises:
        DataError: the file is missing or damaged, or lacks what it has to have.
        UsageError: the table has no column of pictures or captions.
    """
    if path.suffix == ".json":
        return _coco(path)
    table = _table(path)
    images = table[_column(path, table, "", ("image", "name", *IMAGE_COLUMNS), "pictures")]
    texts = table[_column(path, table, "", CAPTION_COLUMNS, "captions")]
    captions: dict[str, list[str]] = {}
    for image, text in zip(images, texts, strict=True):
        captions.setdefault(image, []).append(text)
    return captions


def read_names(path: Path) -> list[str]:
    """Read the names of pictures, one a line, or from a table's column.

    Raises:
        DataError: the file is missing or damaged, or names nothing.
    """
    return [str(image) for _, image in read_trials(path)]


def _coco(path: Path) -> dict[str, list[str]]:
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names = {each["id"]: str(each["file_name"]) for each in content["images"]}
        captions: dict[str, list[str]] = {}
        for each in sorted(content["annotations"], key=lambda each: each.get("id", 0)):
            if not isinstance(each["caption"], str):
                raise DataError(f"{path} has the caption {each['caption']!r:.60}, expected a text")
            captions.setdefault(names[each["image_id"]], []).append(each["caption"])
    return captions


def _numbers(path: Path) -> list[int]:
    with reading(path):
        array: Any = np.load(path, allow_pickle=False)
    if array.dtype.kind not in "iu":
        raise DataError(
            f"{path} holds {array.dtype}, expected whole numbers: ids of pictures from 0"
        )
    return [int(each) for each in array.ravel()]


def _table(path: Path) -> Table:
    with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter="," if path.suffix == ".csv" else "\t"))
    header, *rest = rows or [[]]
    wrong = next(
        (n for n, row in enumerate(rest, start=2) if row and len(row) != len(header)), None
    )
    if wrong:
        raise DataError(
            f"{path}, line {wrong}: {len(rest[wrong - 2])} cells, expected {len(header)} as in the "
            "header"
        )
    columns = zip(*[row for row in rest if row], strict=True) if any(rest) else [[] for _ in header]
    return {name.strip(): list(column) for name, column in zip(header, columns, strict=True)}


def _column(
    path: Path, table: Table, asked: str, known: Sequence[str], what: str, flag: str = ""
) -> str:
    if asked:
        if asked not in table:
            hint = did_you_mean(asked, table)
            raise UsageError(f"{path} has no column {asked!r} (it has: {', '.join(table)}).{hint}")
        return asked
    found = next((name for name in known if name in table), None)
    if found is None:
        way = f"; name one with {flag}" if flag else ""
        raise UsageError(
            f"{path} has no column of {what} (it has: {', '.join(table)}; known: "
            f"{', '.join(dict.fromkeys(known))}){way}"
        )
    return found
