"""The pictures subjects saw, from `nsd_stimuli.hdf5`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd.files import reading, stimuli_path
from brainkit.nsd.tables import require_rows

DATASET = "imgBrick"


def load_stimuli(root: Path, image_ids: Sequence[int] | NDArray[np.int32]) -> NDArray[np.uint8]:
    """Read pictures by image id, in the order asked; ids may repeat. Reads only these rows.

    Returns:
        uint8 (images, height, width, 3), RGB, as shown in the scanner.

    Raises:
        DataError: the file is missing or damaged, or has too few rows.
    """
    import h5py

    path = stimuli_path(root)
    wanted = np.asarray(image_ids, dtype=np.int64)
    with reading(path), h5py.File(path, "r") as file:
        dataset = _picture_array(path, file)
        require_rows(path, wanted, dataset.shape[0])
        pictures = np.empty((len(wanted), *dataset.shape[1:]), dtype=np.uint8)
        order = np.argsort(wanted, kind="stable")
        for before, place in zip([None, *order[:-1]], order, strict=False):
            if before is not None and wanted[before] == wanted[place]:
                pictures[place] = pictures[before]
            else:
                dataset.read_direct(pictures, np.s_[int(wanted[place])], np.s_[int(place)])
    return pictures


def count_stimuli(root: Path) -> int:
    """Give the number of pictures in the download; reads the header only.

    Raises:
        DataError: the file is missing or damaged.
    """
    import h5py

    path = stimuli_path(root)
    with reading(path), h5py.File(path, "r") as file:
        return int(_picture_array(path, file).shape[0])


def _picture_array(path: Path, file: Any) -> Any:
    if DATASET not in file:
        has = ", ".join(repr(name) for name in file) or "nothing"
        raise DataError(f"{path} has no dataset {DATASET!r} (it has {has}); download it again")
    dataset = file[DATASET]
    if dataset.ndim != 4 or dataset.shape[3] != 3 or dataset.dtype != np.uint8:
        raise DataError(
            f"{path}: {DATASET} is {dataset.dtype} {dataset.shape}, expected uint8 (images, "
            "height, width, 3); download it again"
        )
    return dataset
