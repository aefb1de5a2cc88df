"""Tables of captions that were screened elsewhere: row i has what is kept of image id i's.

Rejected captions are empty texts. The table that is shared with NSD's preparations as
`COCO_73k_annots_curated.npy` is one, once its pickled objects are saved as unicode. A download that
has it among its own annotations gives its captions to every encoder, and the rule screens what it
left; there `captions="all"` takes the table as it is.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Table = Callable[[int], tuple[str, ...]]
"""Returns the captions that are kept of an image id, at least one."""


def tidied(texts: Iterable[str]) -> tuple[str, ...]:
    """Collapse white space and leave out texts that are empty."""
    return tuple(tidy for text in texts if (tidy := " ".join(text.split())))


def read_curated(path: Path) -> Table:
    """Read a table of screened captions; row i is image id i.

    Args:
        path: `.npy` of fixed-length unicode (images, captions); `.csv` in UTF-8 without a heading,
            one line an image; or `.jsonl`, one list of strings a line. Pickled objects are refused.

    Returns:
        A function from an image id to its captions that are not empty.

    Raises:
        DataError: the file cannot be read or has another form; when called, an image has no
            caption.
    """
    readers: dict[str, Callable[[Path], NDArray[np.str_] | list[list[str]]]] = {
        ".npy": _read_npy,
        ".csv": _read_csv,
        ".jsonl": _read_jsonl,
    }
    if path.suffix.lower() not in readers:
        raise DataError(
            f"{path} ends in {path.suffix!r}, expected one of {', '.join(readers)}; "
            "save the table in one of these forms"
        )
    with _reading(path):
        rows = readers[path.suffix.lower()](path)

    def look_up(image_id: int) -> tuple[str, ...]:
        if not 0 <= image_id < len(rows):
            raise DataError(
                f"{path} has {len(rows)} rows but image id {image_id} is asked for; expected a row "
                "for every image of the download, 73000 for NSD"
            )
        texts = tidied(str(cell) for cell in rows[image_id])
        if not texts:
            raise DataError(
                f"{path} keeps no caption of image id {image_id}, expected at least one; fill the "
                "row, or leave out curated to screen by the rule"
            )
        return texts

    return look_up


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check the path") from error
    except (ValueError, EOFError, RecursionError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error}); save the table again") from error


def _read_npy(path: Path) -> NDArray[np.str_]:
    import numpy as np

    try:
        cells = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise DataError(
                f"{path} holds pickled objects, which can run code when read, expected "
                "fixed-length unicode; on a machine where you trust it save array.astype(str) as a "
                "new .npy"
            ) from error
        raise
    if not isinstance(cells, np.ndarray) or cells.ndim != 2 or cells.dtype.kind != "U":
        found = f"{getattr(cells, 'dtype', 'an archive')} {getattr(cells, 'shape', '')}".strip()
        raise DataError(
            f"{path} is {found}, expected unicode (images, captions); save array.astype(str)"
        )
    return cells


def _read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, strict=True))


def _read_jsonl(path: Path) -> list[list[str]]:
    rows: list[list[str]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            row = json.loads(line) if line.strip() else None
            if not isinstance(row, list) or not all(isinstance(text, str) for text in row):
                raise DataError(
                    f"{path} has {line.strip()[:60]!r} in line {number}, expected a list of "
                    'strings, e.g. ["a dog on grass", ""]; write one list an image'
                )
            rows.append(row)
    return rows
