"""Read columns of the text tables, and what the stimulus table says of each picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd.files import reading, stimulus_table_path

HEADS_SHOWN = 300
LARGEST_EXACT = 2**53


@dataclass(frozen=True)
class StimulusTable:
    """What `nsd_stim_info_merged.csv` says, one row a picture (0-based id).

    Attributes:
        coco_ids: int64 (stimuli,), COCO image id.
        splits: "train2017" or "val2017": the annotation file of each.
    """

    coco_ids: NDArray[np.int64]
    splits: tuple[str, ...]


def read_columns(path: Path, names: Sequence[str], *, delimiter: str) -> dict[str, list[str]]:
    """Return the named columns of a table with a header, as text.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a short row.
    """
    with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        header = next(rows, [])
        missing = [name for name in names if name not in header]
        if missing:
            raise DataError(
                f"{path} has no column {missing[0]!r} (it has: {_heads(header)}); download it again"
            )
        places = [header.index(name) for name in names]
        taken = [[row[place] for place in places] for row in rows if row]
    return {name: [row[place] for row in taken] for place, name in enumerate(names)}


def _heads(header: Sequence[str]) -> str:
    """Return the names of columns as one short text, whatever the file."""
    text = ", ".join(filter(None, header))
    return text if len(text) <= HEADS_SHOWN else f"{text[:HEADS_SHOWN]}..."


def integers(path: Path, columns: dict[str, list[str]], name: str) -> NDArray[np.int64]:
    """Return a column as int64 (rows,).

    Raises:
        DataError: a cell is not a whole number.
    """
    try:
        numbers = np.array(columns[name], dtype=np.float64)
    except ValueError as error:
        raise DataError(
            f"{path}, column {name}: expected whole numbers ({error}); download it again"
        ) from error
    wrong = np.flatnonzero(~whole(numbers))
    if len(wrong):
        raise DataError(
            f"{path}, column {name}, data row {wrong[0] + 1}: {columns[name][wrong[0]]!r:.60} is "
            "no whole number of a reasonable size; download it again"
        )
    return numbers.astype(np.int64)


def whole(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which numbers are whole and so small that float64 holds them exactly."""
    small = np.abs(numbers) < LARGEST_EXACT  # False for NaN too
    exact: NDArray[np.bool_] = small & (np.where(small, numbers, 0) % 1 == 0)
    return exact


def load_stimulus_table(root: Path) -> StimulusTable:
    """Read COCO id and split of every picture.

    Raises:
        DataError: the table is missing, damaged, lacks a column, or its rows are out of order.
    """
    path = stimulus_table_path(root)
    columns = read_columns(path, ("cocoId", "cocoSplit", "nsdId"), delimiter=",")
    numbers = integers(path, columns, "nsdId")
    wrong = np.flatnonzero(numbers != np.arange(len(numbers)))
    if len(wrong):
        raise DataError(
            f"{path}, row {wrong[0]}: nsdId is {numbers[wrong[0]]}, expected the 0-based row "
            "number; restore the original order of its rows"
        )
    return StimulusTable(
        coco_ids=integers(path, columns, "cocoId"),
        splits=tuple(columns["cocoSplit"]),
    )


def coco_ids_of(root: Path, image_ids: NDArray[Any]) -> NDArray[np.int64]:
    """Read the COCO ids of some pictures; of the other rows nothing is parsed.

    Args:
        root: the download.
        image_ids: int (images,), 0-based ids, ascending and distinct.

    Returns:
        int64 (images,).

    Raises:
        DataError: as `load_stimulus_table`, or the table has too few rows.
    """
    path = stimulus_table_path(root)
    with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
        wanted = set(image_ids.tolist())
        lines = (line for number, line in enumerate(file) if number in wanted)
        rows = [dict(zip(header, row, strict=False)) for row in csv.reader(lines)]
    numbers = [row.get("cocoId", "") for row in rows]
    in_order = [row.get("nsdId") for row in rows] == [str(each) for each in image_ids]
    if in_order and all(map(str.isdecimal, numbers)):
        return integers(path, {"cocoId": numbers}, "cocoId")
    # A row may take several lines, or numbers be written otherwise: then the whole table is read.
    table = load_stimulus_table(root).coco_ids
    require_rows(path, image_ids, len(table))
    asked: NDArray[np.int64] = table[image_ids]
    return asked


def require_rows(path: Path, image_ids: Sequence[int] | NDArray[Any], rows: int) -> None:
    """Check that 0-based image ids lie within a table of so many rows.

    Raises:
        DataError: an id is negative or beyond the last row.
    """
    wanted = np.asarray(image_ids)
    if wanted.size and (wanted.min() < 0 or wanted.max() >= rows):
        worst = wanted.min() if wanted.min() < 0 else wanted.max()
        raise DataError(
            f"{path} has {rows} rows, but image id {worst} (0-based) was asked for; "
            f"expected ids from 0 to {rows - 1}, download the whole file if it was shortened"
        )
