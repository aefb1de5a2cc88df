"""COCO's caption files, which describe the uncropped photographs behind the pictures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from brainkit.errors import DataError
from brainkit.nsd.files import annotation_paths, exists, reading, require_file

Texts = dict[int, list[str]]
"""COCO image id -> its captions as they were typed, by ascending annotation id."""


def read_texts(path: Path) -> Texts:
    """Read the captions of a file.

    Raises:
        DataError: it is missing, damaged, lacks "images" or "annotations", or a caption is no text.
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        for key in ("images", "annotations"):
            if key not in content:
                raise DataError(f"{path} has no key {key!r}; download it again")
        texts: Texts = defaultdict(list)
        for annotation in sorted(content["annotations"], key=lambda each: int(each["id"])):
            caption = annotation.get("caption", "")
            if not isinstance(caption, str):
                raise DataError(
                    f"{path}: annotation {annotation['id']} of COCO image {annotation['image_id']} "
                    f"has the caption {caption!r:.60}, expected a text; download it again"
                )
            texts[int(annotation["image_id"])].append(caption)
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
    places: dict[str, list[Path]] = {}
    for coco_id, split in wanted:
        if split not in places:
            places[split] = [path for path in annotation_paths(root, split) if exists(path)]
        for path in places[split]:
            if path not in opened:
                opened[path] = read_texts(path)
            if coco_id in opened[path]:
                texts[coco_id] = opened[path][coco_id]
                break
    if not opened:
        require_file(annotation_paths(root)[0])
    return texts
