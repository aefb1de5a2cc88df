"""Where COCO's objects lie in the pictures as shown, after the crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd.coco import look_up
from brainkit.nsd.files import stimulus_table_path
from brainkit.nsd.layout import Layout, read_layout
from brainkit.nsd.tables import load_stimulus_table, require_rows


@dataclass(frozen=True)
class Boxes:
    """The objects of one picture, by ascending annotation id.

    Attributes:
        corners: float64 (objects, 4), left, top, right, bottom in pixels of the picture.
        categories: the name of each object's category.
    """

    corners: NDArray[np.float64]
    categories: tuple[str, ...]


def load_boxes(
    root: Path, image_ids: Sequence[int] | NDArray[np.int32], layout: Layout | None = None
) -> tuple[Boxes, ...]:
    """Read the objects of pictures, mapped through the crop, in the order asked.

    With original size (H, W), crop (t, b, l, r) and a picture of S pixels:

        x' = (x - l W) S / (W (1 - l - r)),   y' = (y - t H) S / (H (1 - t - b))

    clipped to [0, S]; objects without area are left out. A picture may have none.

    Raises:
        DataError: a file is missing or damaged.
    """
    pixels = (layout or read_layout(root)).pixels
    table = load_stimulus_table(root)
    require_rows(stimulus_table_path(root), image_ids, len(table.coco_ids))
    wanted = [(int(table.coco_ids[each]), table.splits[each]) for each in image_ids]
    found = look_up(root, "instances", wanted)
    boxes = []
    for image_id, (coco_id, _) in zip(image_ids, wanted, strict=True):
        if coco_id not in found.sizes:
            raise DataError(
                f"COCO image {coco_id} (image id {image_id}) is in no instances file below {root}; "
                "download instances_train2017.json and instances_val2017.json again"
            )
        objects = found.annotations.get(coco_id, [])
        corners = np.array([each["bbox"] for each in objects], dtype=np.float64).reshape(-1, 4)
        categories = [found.categories[int(each["category_id"])] for each in objects]
        size = found.sizes[coco_id]
        boxes.append(_mapped(corners, categories, table.crops[image_id], size, pixels))
    return tuple(boxes)


def _mapped(
    bbox: NDArray[np.float64],
    categories: list[str],
    crop: NDArray[np.float64],
    size: tuple[int, int],
    pixels: int,
) -> Boxes:
    (top, bottom, left, right), (height, width) = crop, size
    corners = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    corners[:, 0::2] = (corners[:, 0::2] - left * width) * pixels / (width * (1 - left - right))
    corners[:, 1::2] = (corners[:, 1::2] - top * height) * pixels / (height * (1 - top - bottom))
    corners = np.clip(corners, 0, pixels)
    kept = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    return Boxes(corners[kept], tuple(compress(categories, kept)))
