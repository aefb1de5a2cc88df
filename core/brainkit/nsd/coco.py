"""COCO's annotation files, which describe the uncropped photographs behind the pictures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainkit.errors import DataError
from brainkit.nsd.files import annotation_paths, reading, require_file

Annotations = dict[int, list[dict[str, Any]]]


@dataclass(frozen=True)
class CocoFile:
    """One annotation file, by COCO image id.

    Attributes:
        annotations: the annotations of an image, by ascending annotation id.
        sizes: (height, width) of the photograph.
        categories: category id to name, in files of instances.
    """

    annotations: Annotations = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file.

    Raises:
        DataError: it is missing, damaged, or lacks "images" or "annotations".
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        for key in ("images", "annotations"):
            if key not in content:
                raise DataError(f"{path} has no key {key!r}; download it again")
        annotations: Annotations = defaultdict(list)
        for annotation in sorted(content["annotations"], key=lambda each: int(each["id"])):
            annotations[int(annotation["image_id"])].append(annotation)
        sizes = {
            int(image["id"]): (int(image["height"]), int(image["width"]))
            for image in content["images"]
        }
        categories = {int(each["id"]): str(each["name"]) for each in content.get("categories", [])}
    return CocoFile(dict(annotations), sizes, categories)


def look_up(root: Path, kind: str, wanted: Iterable[tuple[int, str]]) -> CocoFile:
    """Gather what the files of a kind say of some images: the file of their split, else any other.

    Args:
        root: the download.
        kind: "captions" or "instances".
        wanted: pairs of COCO image id and split.

    Raises:
        DataError: no annotation file is there, or one is damaged.
    """
    opened: dict[Path, CocoFile] = {}
    found = CocoFile()
    for coco_id, split in wanted:
        for path in annotation_paths(root, kind, split):
            if not path.exists():
                continue
            if path not in opened:
                opened[path] = read_coco(path)
                found.categories.update(opened[path].categories)
            if coco_id in opened[path].sizes:
                found.sizes[coco_id] = opened[path].sizes[coco_id]
            if coco_id in opened[path].annotations:
                found.annotations[coco_id] = opened[path].annotations[coco_id]
                break
    if not opened:
        require_file(annotation_paths(root, kind)[0])
    return found
