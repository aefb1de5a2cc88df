"""Open `.nii.gz` volumes; each number of a header is checked before anything is read by it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd.files import reading
from brainkit.nsd.layout import Volume

FIRST_HEADER, SECOND_HEADER = 348, 540  # bytes of the header of NIfTI-1 and NIfTI-2
LARGEST_OFFSET = 1 << 24
INFLATED_AT_ONCE = 1 << 20
# The empty block that ends a file written in blocks by bgzip (SAM specification, section 4.1.2).
BLOCK_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def open_nifti(path: Path) -> Any:
    """Open a volume or series without reading its data.

    Returns:
        A `nibabel.Nifti1Image` or `Nifti2Image`; its numbers are real, its data begin where a
        header can end. Its shape is as the file says: compare it before reading any data.

    Raises:
        DataError: the file is missing, damaged, no NIfTI, or its header contradicts the format.
    """
    import nibabel

    with reading(path):
        with gzip.open(path, "rb") as stream:
            head = stream.read(4)
        sizes = {int.from_bytes(head, "little"), int.from_bytes(head, "big")}
        second = SECOND_HEADER in sizes
        if not second and FIRST_HEADER not in sizes:
            raise ValueError("it does not begin with the size of a NIfTI header")
        kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        image: Any = kind.from_filename(path)
        dtype, offset = image.get_data_dtype(), int(image.dataobj.offset)
    least = (SECOND_HEADER if second else FIRST_HEADER) + 4
    if not least <= offset <= LARGEST_OFFSET:
        raise DataError(
            f"{path} has vox_offset {offset}, where its data would begin, expected {least} or a "
            "little more; its header was changed, download it again"
        )
    if dtype.kind not in "iuf":
        raise DataError(f"{path} holds {dtype}, expected real numbers; download it again")
    return image


def volume_values(path: Path, image: Any, expected: Volume) -> NDArray[Any]:
    """Return the numbers of a volume, scaled as its header says, (X, Y, Z).

    Raises:
        DataError: the volume is on another grid, or the file is damaged.
    """
    shape = tuple(int(size) for size in image.shape)
    if shape != expected:
        raise DataError(
            f"{path} has shape {shape}, expected {expected}; it belongs to another subject, "
            "download it again"
        )
    with reading(path):
        values: NDArray[Any] = np.asanyarray(image.dataobj)
    return values


def ends_in_block(path: Path) -> bool:
    """Say whether a file ends as whole files of bgzip do, of whatever length they are."""
    with reading(path), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(BLOCK_END)))
        return file.read() == BLOCK_END


def inflates(path: Path, n_bytes: int) -> bool:
    """Say whether a gzip file is sound and holds at least so many bytes; reads all of it.

    Raises:
        DataError: the system refuses to read it.
    """
    count = 0
    with reading(path), gzip.open(path, "rb") as stream:
        try:
            while count < n_bytes and (block := stream.read(INFLATED_AT_ONCE)):
                count += len(block)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return False
    return count >= n_bytes
