"""Open HDF5 files for reading, whoever else has them open."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainkit.errors import DataError, printable
from brainkit.nsd.files import reading

NAMES_SHOWN = 10
CHUNKS_CACHED = 1 << 20  # bytes, HDF5's own default
LARGEST_PROBE = 1 << 22  # bytes


@contextmanager
def opened(path: Path, name: str, cached: int = CHUNKS_CACHED) -> Iterator[Any]:
    """Open a dataset without a lock: network disks refuse locks, and so do programs that write.

    Args:
        path: the file.
        name: of the dataset at its top.
        cached: bytes of chunks that HDF5 keeps.

    Returns:
        A context that gives the `h5py.Dataset`.

    Raises:
        DataError: the file is missing or damaged, lacks the dataset, or nothing was written to it.
    """
    import h5py

    with reading(path), h5py.File(path, "r", locking=False, rdcc_nbytes=cached) as file:
        if name not in file or not isinstance(file[name], h5py.Dataset):
            raise DataError(
                f"{path} has no dataset {name!r} (it has {_names(file)}); {_again(path)}"
            )
        dataset = file[name]
        if _never_written(dataset):
            raise DataError(
                f"{path}: nothing was ever written into {name!r}, only its shape {dataset.shape} "
                f"is there; the copy was interrupted, {_again(path)}"
            )
        yield dataset


def _never_written(dataset: Any) -> bool:
    if not dataset.size or dataset.is_virtual or dataset.external or _has_middle(dataset):
        return False
    # HDF5 adds up the sizes of all chunks: half a second for a session of one chunk a voxel.
    return bool(dataset.id.get_storage_size() == 0)


def _has_middle(dataset: Any) -> bool:
    """Say whether the middle chunk is there; False also where that would take much to tell."""
    chunks = dataset.chunks
    if chunks is None or math.prod(chunks) * dataset.dtype.itemsize > LARGEST_PROBE:
        return False
    middle = tuple(n // 2 // chunk * chunk for n, chunk in zip(dataset.shape, chunks, strict=True))
    try:
        dataset.id.read_direct_chunk(middle)
    except (OSError, RuntimeError, MemoryError):  # which of them depends on what else is there
        return False
    return True


def _names(file: Any) -> str:
    names = [repr(printable(name)) for name in list(file)[: NAMES_SHOWN + 1]]
    more = ["..."] if len(names) > NAMES_SHOWN else []
    return ", ".join(names[:NAMES_SHOWN] + more) or "nothing"


def _again(path: Path) -> str:
    return f"download {path.name} again"
