"""Read captions and lists of ids: JSON lines, CSV and TSV, plain lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainkit.errors import DataError, UsageError
from brainkit.evaluate.items import ImageSample, added, item_of, normal
from brainkit.evaluate.pictures import ENDINGS, IDS, ids_of
from brainkit.run.captions import printable_caption

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
ID_COLUMNS = (*IDS, "id", "image", "file", "file_name", "filename", "name")
"""What a column or key with the id, or with the name of the picture, may be called."""
TEXT_COLUMNS = ("caption", "captions", "text")


def is_captions(path: Path) -> bool:
    """Say whether a file is read as captions."""
    return path.suffix.lower() in (*TABLES, *LINES)


def read_captions(
    path: Path, *, numbered: bool, several: bool = False, ids: Sequence[str] | None = None
) -> dict[ImageSample, str]:
    """Return captions by whose they are, one a line.

    Args:
        path: of JSON lines, CSV or TSV.
        numbered: whether images are told by numbers.
        several: whether a name may end in the number of a sample.
        ids: of the captions in their order; None to find them in the file.

    Raises:
        DataError: a line is no caption, or two are of one image and sample.
    """
    entries = list(_entries(path))
    if ids is not None and len(ids) != len(entries):
        raise DataError(
            f"{path} has {len(entries)} captions, but there are {len(ids)} ids; give one for each"
        )
    given: dict[ImageSample, str] = {}
    for row, (where, entry) in enumerate(entries):
        item = _item(where, entry, numbered, several) if ids is None else ImageSample(ids[row], 1)
        added(given, item, _caption(where, entry), where)
    return given


def read_texts(path: Path) -> list[str]:
    """Return all captions of a file, whatever images they are of.

    Raises:
        BrainkitError: as of `read_captions`.
    """
    return [_caption(where, entry) for where, entry in _entries(path)]


def read_references(path: Path, *, numbered: bool) -> dict[str, tuple[str, ...]]:
    """Return the true captions of each image; every line adds one.

    Raises:
        DataError: as of `read_captions`, but several lines may be of one image.
    """
    found: dict[str, tuple[str, ...]] = {}
    for where, entry in _entries(path):
        image = _item(where, entry, numbered, several=False).image
        text = _caption(where, entry)
        if not text.strip():
            raise DataError(f"{where}: the true caption of image {image} is empty; write one")
        found[image] = (*found.get(image, ()), text)
    return found


def read_ids(path: Path) -> list[str]:
    """Return ids or names in order: an array in `.npy`, or one a line.

    Of the file of clusters that a run writes, they are the images held out.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    if path.suffix.lower() == ".npy":
        import numpy as np

        try:
            return ids_of(np.load(path, allow_pickle=False), str(path))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); write it again") from error
    if path.suffix.lower() == ".json":
        return _held_out(path)
    lines = [line.strip() for line in _text(path).splitlines()]
    ids = [_plain_name(line) for line in lines if line]
    if not ids:
        raise DataError(f"{path} holds no ids, expected one a line")
    return ids


def _held_out(path: Path) -> list[str]:
    try:
        told = json.loads(_text(path))
        return [normal(int(i)) for each in told if each["held_out"] for i in each["image_ids"]]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise DataError(
            f"{path} is no file of clusters; give ids one a line, in a file of another ending"
        ) from error


def _entries(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return each line's place and what it says by key."""
    if not is_captions(path):
        known = ", ".join((*LINES, *TABLES))
        raise UsageError(
            f"{path.name} is no kind of file that captions are read from; give {known}"
        )
    text = _text(path)
    rows = list(_json_lines(path, text) if path.suffix.lower() in LINES else _table(path, text))
    if not rows:
        raise DataError(f"{path} holds no captions")
    yield from rows


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # Captions may hold U+2028 and the like, at which `splitlines` would break.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is not JSON ({error}); correct it") from error
        if not isinstance(entry, dict):
            raise DataError(f"{path}, line {number} is no JSON object, expected {{...}}")
        yield f"{path}, line {number}", entry


def _table(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=TABLES[path.suffix.lower()])
    try:
        for entry in reader:
            if None in entry or None in entry.values():
                raise DataError(
                    f"{path}, line {reader.line_num} has not as many cells as the heading; quote "
                    "captions that hold the separator"
                )
            yield f"{path}, line {reader.line_num}", entry
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} is no table ({error})") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error


def _item(where: str, entry: Mapping[str, Any], numbered: bool, several: bool) -> ImageSample:
    key = next((each for each in ID_COLUMNS if each in entry), None)
    if key is None:
        raise DataError(
            f"{where} has no id (it has {', '.join(map(str, entry)) or 'nothing'}), expected "
            f"{ID_COLUMNS[0]!r} or 'image_id'; name the column so, or give the ids with --ids"
        )
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | str) or normal(value) == "":
        raise DataError(f"{where}: {key} is {value!r}, expected an id or the name of a picture")
    name = _plain_name(str(value))
    plain = name.isascii() and name.isdecimal()
    item = ImageSample(name, 1) if plain else item_of(name, numbered=numbered, several=several)
    return item._replace(sample=_sample(where, entry)) if "sample" in entry else item


def _sample(where: str, entry: Mapping[str, Any]) -> int:
    text = str(entry["sample"]).strip()
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f"{where}: sample is {entry['sample']!r}, expected a whole number")
    return int(text)


def _caption(where: str, entry: Mapping[str, Any]) -> str:
    key = next((each for each in TEXT_COLUMNS if each in entry), None)
    if key is None:
        raise DataError(f"{where} has no {TEXT_COLUMNS[0]!r}; name the column so")
    if not isinstance(entry[key], str):
        raise DataError(f"{where}: {key} is {entry[key]!r}, expected a text")
    return printable_caption(entry[key])


def _plain_name(name: str) -> str:
    """Return an id, or the name of a picture without its ending."""
    path = Path(name.strip())
    return normal(path.stem if path.suffix.lower() in ENDINGS else name)
