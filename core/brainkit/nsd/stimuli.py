"""The pictures subjects saw, from `nsd_stimuli.hdf5`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd.files import stimuli_path
from brainkit.nsd.hdf5 import CHUNKS_CACHED, opened
from brainkit.nsd.tables import require_rows

DATASET = "imgBrick"
LARGEST_SIDE = 4096


def load_stimuli(root: Path, image_ids: Sequence[int] | NDArray[np.int32]) -> NDArray[np.uint8]:
    """Read pictures by image id, in the order asked; ids may repeat. Reads only these rows.

    Returns:
        uint8 (images, height, width, 3), RGB, as shown in the scanner.

    Raises:
        DataError: the file is missing or damaged, or has too few rows.
    """
    path = stimuli_path(root)
    wanted = np.asarray(image_ids, dtype=np.int64)
    with picture_array(path) as dataset:
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
    """Return the number of pictures in the download; reads the header only.

    Raises:
        DataError: the file is missing or damaged.
    """
    with picture_array(stimuli_path(root)) as dataset:
        return int(dataset.shape[0])


@contextmanager
def picture_array(path: Path, cached: int = CHUNKS_CACHED) -> Iterator[Any]:
    """Open the picture array: an `h5py.Dataset`, uint8 (images, height, width, 3).

    Args:
        path: the file.
        cached: bytes of chunks that HDF5 keeps; with 0 it reads no more of a picture than asked.

    Raises:
        DataError: the file is missing or damaged, or the array is of another kind.
    """
    with opened(path, DATASET, cached) as dataset:
        if dataset.ndim != 4 or dataset.shape[3] != 3 or dataset.dtype != np.uint8:
            raise DataError(
                f"{path}: {DATASET} is {dataset.dtype} {dataset.shape}, expected uint8 (images, "
                "height, width, 3); download it again"
            )
        if max(dataset.shape[1:]) > LARGEST_SIDE:
            raise DataError(
                f"{path}: {DATASET} has pictures of {dataset.shape[1]} x {dataset.shape[2]} pixels,"
                f" expected at most {LARGEST_SIDE} a side; download it again"
            )
        yield dataset
