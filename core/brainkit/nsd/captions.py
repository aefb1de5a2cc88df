"""What people wrote about the pictures: COCO's captions, or the curated ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd.coco import look_up
from brainkit.nsd.files import (
    CURATED,
    annotation_paths,
    curated_path,
    exists,
    reading,
    stimulus_table_path,
)
from brainkit.nsd.tables import load_stimulus_table, require_rows

Captions = tuple[tuple[str, ...], ...]


def has_captions(root: Path) -> bool:
    """Say whether a folder has captions, curated or in COCO's files."""
    return curated_path(root) is not None or any(exists(path) for path in annotation_paths(root))


def load_captions(
    root: Path,
    image_ids: Sequence[int] | NDArray[np.int32],
    curated: bool | None = None,
) -> Captions:
    """Read the captions of pictures, in the order asked; ids may repeat.

    White space is collapsed; case and punctuation stay. COCO's captions are in order of their
    annotation id and describe the uncropped photograph. The curated array leaves out captions that
    name objects the crop removed.

    Args:
        root: the download.
        image_ids: 0-based image ids.
        curated: True reads the curated array, False COCO's files, None the curated array if there.

    Returns:
        For each image its captions, at least one.

    Raises:
        DataError: a file is missing or damaged, or an image has no caption.
    """
    path = curated_path(root)
    if curated or (curated is None and path is not None):
        return _curated(root, path, image_ids)
    return _coco(root, image_ids)


def _coco(root: Path, image_ids: Sequence[int] | NDArray[np.int32]) -> Captions:
    table = load_stimulus_table(root)
    require_rows(stimulus_table_path(root), image_ids, len(table.coco_ids))
    wanted = [(int(table.coco_ids[each]), table.splits[each]) for each in image_ids]
    typed = look_up(root, wanted)
    captions = []
    for image_id, (coco_id, split) in zip(image_ids, wanted, strict=True):
        texts = _tidy(typed.get(coco_id, []))
        if not texts:
            tried = annotation_paths(root, split)
            searched = " and ".join(str(path) for path in tried if exists(path))
            raise DataError(
                f"COCO image {coco_id} (image id {image_id}) has no caption in {searched}; "
                "download captions_train2017.json and captions_val2017.json again"
            )
        captions.append(texts)
    return tuple(captions)


def _curated(
    root: Path, path: Path | None, image_ids: Sequence[int] | NDArray[np.int32]
) -> Captions:
    if path is None:
        raise DataError(
            f"{root} has no {CURATED}; place it in nsddata_stimuli/stimuli/nsd/annotations, "
            "or use COCO's captions with curated=False"
        )
    try:
        with reading(path):
            cells: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except DataError as error:
        if "pickle" in str(error.__cause__).lower() or "object" in str(error.__cause__).lower():
            raise DataError(
                f"{path} holds pickled objects, which could run code, expected fixed-length "
                "unicode; convert it with array.astype(str) on a machine where you trust it"
            ) from error
        raise
    if not isinstance(cells, np.ndarray):
        raise DataError(f"{path} is an archive of arrays, expected one array; download it again")
    if cells.ndim != 2 or cells.dtype.kind != "U":
        raise DataError(
            f"{path} is {cells.dtype} {cells.shape}, expected unicode (images, captions); "
            "download it again"
        )
    require_rows(path, image_ids, len(cells))
    with reading(path):
        captions = tuple(_tidy(_texts(cells[int(each)])) for each in image_ids)
    for image_id, texts in zip(image_ids, captions, strict=True):
        if not texts:
            raise DataError(
                f"{path} has no caption of image id {image_id}; "
                "use COCO's captions with curated=False"
            )
    return captions


def _texts(cells: NDArray[np.str_]) -> list[str]:
    """Return a row as texts; NumPy itself would make texts of numbers that are no characters."""
    native = cells.astype(cells.dtype.newbyteorder("="))
    if native.view(np.uint32).max(initial=0) > sys.maxunicode:
        raise ValueError("a cell holds what is no character")
    return [str(cell) for cell in native]


def _tidy(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(tidied for text in texts if (tidied := " ".join(text.split())))
