"""COCO's caption files, which describe the uncropped photographs behind the pictures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from brainkit.errors import DataError
from brainkit.nsd.files import annotation_paths, reading, require_file

Texts = dict[int, list[str]]
"""COCO image id -> its captions as they were typed, by ascending annotation id."""


def read_texts(path: Path) -> Texts:
    """Read the captions of a file.

    Raises:
        DataError: it is missing, damaged, or lacks "images" or "annotations".
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        for key in ("images", "annotations"):
            if key not in content:
                raise DataError(f"{path} has no key {key!r}; download it again")
        texts: Texts = defaultdict(list)
        for annotation in sorted(content["annotations"], key=lambda each: int(each["id"])):
            texts[int(annotation["image_id"])].append(annotation.get("caption", ""))
    return dict(texts)


def look_up(root: Path, wanted: Iterable[tuple[int, str]]) -> Texts:
    """Gather the captions of some images: from the file of their split, else from any other.

    Args:
        root: the download.
        wanted: pairs of COCO image id and split.

    Raises:
        DataError: no annotation file is there, or one is damaged.
    """
    opened: dict[Path, Texts] = {}
    texts: Texts = {}
    for coco_id, split in wanted:
        for path in annotation_paths(root, split):
            if not path.exists():
                continue
            if path not in opened:
                opened[path] = read_texts(path)
            if coco_id in opened[path]:
                texts[coco_id] = opened[path][coco_id]
                break
    if not opened:
        require_file(annotation_paths(root)[0])
    return texts
