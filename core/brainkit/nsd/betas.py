"""Read one session's betas at some voxels, without ever holding the whole volume series.

The two formats hold the same int16 numbers: percent signal change times 300. NIfTI is a gzip
stream, so it is inflated one trial at a time; HDF5 is chunked by voxel, so only the chunks of the
voxels asked for are read.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError, UsageError
from brainkit.nsd.files import reading
from brainkit.nsd.hdf5 import opened
from brainkit.nsd.layout import Volume
from brainkit.nsd.nifti import ends_in_block, open_nifti

SCALE = 300.0
DATASET = "betas"
UNITS = ("int16x300", "percent")
TRIALS_AT_ONCE = 16


@dataclass(frozen=True)
class SessionGrid:
    """What every session file of a subject has to look like.

    Attributes:
        volume: voxels along X, Y, Z.
        trials: length of the trial axis.
        units: "int16x300" as released, or "percent" if float files hold percent signal change
            (int16 files still hold it times 300).
    """

    volume: Volume
    trials: int
    units: str = "int16x300"

    def __post_init__(self) -> None:
        if self.units not in UNITS:
            raise UsageError(f"units is {self.units!r}, expected one of {', '.join(UNITS)}")

    @property
    def scale(self) -> float:
        """What a number from `read_session` is divided by to give percent signal change."""
        return SCALE if self.units == "int16x300" else 1.0


@dataclass(frozen=True)
class SessionHeader:
    """What the head of a `.nii.gz` says beyond what `SessionGrid` demands; HDF5 files have neither.

    Attributes:
        affine: float64 (4, 4), voxel to millimetre.
        n_bytes: length of the file once inflated.
    """

    affine: NDArray[np.float64]
    n_bytes: int


def inspect(path: Path, grid: SessionGrid) -> SessionHeader | None:
    """Check a session file's header against the grid; None for HDF5.

    Raises:
        DataError: shape, trials or number type differ, or the file is cut off.
    """
    if path.suffix != ".hdf5":
        return _inspect_nifti(path, grid)
    _inspect_hdf5(path, grid)
    return None


def looks_cut(path: Path, header: SessionHeader) -> bool:
    """Say whether the length written at the end of a `.nii.gz` contradicts its header.

    Reads a few bytes; a file of several gzip members may look cut without being so.
    """
    with reading(path), path.open("rb") as file:
        file.seek(-4, 2)
        (said,) = struct.unpack("<I", file.read(4))
    return bool(said != header.n_bytes % (1 << 32)) and not ends_in_block(path)


def read_session(path: Path, voxel_xyz: NDArray[np.int32], grid: SessionGrid) -> NDArray[Any]:
    """Read one session at some voxels.

    Args:
        path: `betas_sessionNN.nii.gz` or `.hdf5`.
        voxel_xyz: int32 (voxels, 3), grid positions.
        grid: what the file has to look like.

    Returns:
        (trials, voxels): int16 as stored, or float32 percent signal change with units "percent".

    Raises:
        DataError: the file is not what `grid` says, or is cut off.
    """
    inspect(path, grid)
    dtype = np.int16 if grid.units == "int16x300" else np.float32
    betas = np.empty((grid.trials, len(voxel_xyz)), dtype=dtype)
    fill = _fill_from_hdf5 if path.suffix == ".hdf5" else _fill_from_nifti
    with reading(path):
        stored = fill(betas, path, voxel_xyz)
    if grid.units == "percent" and stored.kind == "i":
        betas /= SCALE
    return betas


def bytes_to_read(path: Path, voxel_xyz: NDArray[np.int32], grid: SessionGrid) -> int:
    """Estimate the bytes read for a session: all of a `.nii.gz`, the voxels of an HDF5 file."""
    if path.suffix != ".hdf5":
        return path.stat().st_size
    itemsize = 2 if grid.units == "int16x300" else 4
    return len(voxel_xyz) * grid.trials * itemsize


def _inspect_nifti(path: Path, grid: SessionGrid) -> SessionHeader:
    image = open_nifti(path)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    shape = tuple(int(size) for size in image.shape)
    if len(shape) != 4 or shape[:3] != grid.volume:
        raise DataError(
            f"{path} has volumes of {shape[:3]}, expected {grid.volume}; "
            f"it belongs to another subject or resolution, {_again(path)}"
        )
    if shape[3] != grid.trials:
        raise DataError(_wrong_trials(path, shape[3], grid.trials))
    _check_dtype(path, image.get_data_dtype(), grid)
    if (slope, intercept) != (1.0, 0.0):
        raise DataError(
            f"{path} has scl_slope {slope} and scl_inter {intercept}, expected 1 and 0; it was "
            f"rewritten by another program, {_again(path)}"
        )
    n_data_bytes = int(np.prod(shape)) * image.get_data_dtype().itemsize
    affine = np.asarray(image.affine, dtype=np.float64)
    return SessionHeader(affine, int(image.dataobj.offset) + n_data_bytes)


def _inspect_hdf5(path: Path, grid: SessionGrid) -> None:
    expected = (grid.trials, *reversed(grid.volume))
    with opened(path, DATASET) as dataset:
        shape, dtype = dataset.shape, dataset.dtype
    if len(shape) == 2:
        raise DataError(
            f"{path} is a packed array of {shape} (trials, voxels), usually z-scored already, "
            f"expected {expected} in int16; {_again(path)}"
        )
    if shape[1:] == expected[1:] and shape[0] != grid.trials:
        raise DataError(_wrong_trials(path, shape[0], grid.trials))
    if shape != expected:
        raise DataError(
            f"{path} has shape {shape}, expected {expected} (trials, Z, Y, X); it was saved again "
            f"with other axes or belongs to another subject, {_again(path)}"
        )
    _check_dtype(path, dtype, grid)


def _check_dtype(path: Path, dtype: np.dtype[Any], grid: SessionGrid) -> None:
    floats = grid.units == "percent" and dtype.kind == "f"
    if dtype.newbyteorder("=") != np.int16 and not floats:
        raise DataError(
            f"{path} holds {dtype.name}, expected int16 (percent times 300); it was converted: "
            "download it again, or give units='percent' if it is percent signal change already"
        )


def _fill_from_nifti(
    betas: NDArray[Any], path: Path, voxel_xyz: NDArray[np.int32]
) -> np.dtype[Any]:
    image = open_nifti(path)
    dtype, shape = image.get_data_dtype(), image.shape[:3]
    size = int(np.prod(shape)) * dtype.itemsize
    places = np.ravel_multi_index(tuple(voxel_xyz.T), shape, order="F")
    with gzip.open(path, "rb") as stream:
        stream.read(int(image.dataobj.offset))
        for trial in range(len(betas)):
            volume = stream.read(size)
            if len(volume) != size:
                raise EOFError(f"trial {trial + 1} of {len(betas)} is cut short")
            betas[trial] = np.frombuffer(volume, dtype)[places]
        stream.read(1)  # reaches the checksum at the end, which gzip then verifies
    stored: np.dtype[Any] = dtype
    return stored


def _fill_from_hdf5(betas: NDArray[Any], path: Path, voxel_xyz: NDArray[np.int32]) -> np.dtype[Any]:
    with opened(path, DATASET) as dataset:
        n_filters = dataset.id.get_create_plist().get_nfilters()
        if dataset.chunks == (len(betas), 1, 1, 1) and n_filters == 0:
            _fill_from_chunks(betas, dataset, voxel_xyz)
        else:
            _fill_from_boxes(betas, dataset, voxel_xyz)
        stored: np.dtype[Any] = dataset.dtype
    return stored


def _fill_from_chunks(betas: NDArray[Any], dataset: Any, voxel_xyz: NDArray[np.int32]) -> None:
    """Read a released file: each voxel is one uncompressed chunk, so nothing else is touched."""
    for column in np.lexsort(voxel_xyz.T):
        x, y, z = voxel_xyz[column].tolist()
        try:
            _, stored = dataset.id.read_direct_chunk((0, z, y, x))
        except (OSError, RuntimeError):  # a chunk never written has no bytes, only a fill value
            betas[:, column] = dataset[:, z, y, x]
        else:
            betas[:, column] = np.frombuffer(stored, dataset.dtype)


def _fill_from_boxes(betas: NDArray[Any], dataset: Any, voxel_xyz: NDArray[np.int32]) -> None:
    """Read a file stored otherwise: by plane if chunks hold all trials, else by a few trials."""
    by_plane = dataset.chunks is not None and dataset.chunks[0] == len(betas)
    parts = _planes(voxel_xyz) if by_plane else _trial_blocks(voxel_xyz, dataset)
    for trials, columns in parts:
        x, y, z = voxel_xyz[columns].T
        x0, y0, z0 = x.min(), y.min(), z.min()
        box = dataset[trials, z0 : z.max() + 1, y0 : y.max() + 1, x0 : x.max() + 1]
        betas[trials, columns] = box[:, z - z0, y - y0, x - x0]


def _planes(voxel_xyz: NDArray[np.int32]) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    for z in np.unique(voxel_xyz[:, 2]):
        yield slice(None), np.flatnonzero(voxel_xyz[:, 2] == z)


def _trial_blocks(
    voxel_xyz: NDArray[np.int32], dataset: Any
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    step = max(TRIALS_AT_ONCE, dataset.chunks[0] if dataset.chunks else 1)
    for start in range(0, dataset.shape[0], step):
        yield slice(start, start + step), np.arange(len(voxel_xyz))


def _wrong_trials(path: Path, found: int, expected: int) -> str:
    return (
        f"{path} has {found} trials, expected {expected}; it is cut off or of another experiment, "
        f"{_again(path)}"
    )


def _again(path: Path) -> str:
    return f"download {path.name} again"
