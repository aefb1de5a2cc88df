"""The noise ceiling: how much of a voxel's response repeats with the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd.files import exists
from brainkit.nsd.layout import Volume
from brainkit.nsd.nifti import open_nifti, volume_values

NCSNR = "ncsnr.nii.gz"


def load_ncsnr(
    folder: Path, voxel_xyz: NDArray[np.int32], volume: Volume
) -> NDArray[np.float32] | None:
    """Read the signal-to-noise ratio of some voxels from a preparation's own folder.

    Returns:
        float32 (voxels,), NaN where a voxel was never valid; None if the file is not there.

    Raises:
        DataError: the file is damaged or on another grid.
    """
    path = folder / NCSNR
    absent = not exists(path) and not path.is_symlink()
    if absent and not exists(path.with_suffix("")):
        return None
    values = volume_values(path, open_nifti(path), volume)
    chosen: NDArray[np.float32] = values[tuple(voxel_xyz.T)].astype(np.float32)
    return chosen


def noise_ceiling(ncsnr: NDArray[np.float32], counts: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the percentage of variance that averaged responses can explain.

        NC = 100 ncsnr^2 / (ncsnr^2 + m),   m = mean over images of 1 / counts

    Args:
        ncsnr: float32 (voxels,), signal deviation over noise deviation.
        counts: int32 (images,), presentations averaged into each row.

    Returns:
        float32 (voxels,) in [0, 100], NaN where ncsnr is.

    Raises:
        DataError: there are no counts, or one is below 1.

    Source: Allen et al. 2022 (NSD), noise ceiling; NSD data manual for mixed counts.
    """
    repeats = np.asarray(counts, dtype=np.float64)
    if repeats.size == 0 or repeats.min() < 1:
        raise DataError("a noise ceiling needs presentation counts of 1 or more for every image")
    signal = np.square(np.asarray(ncsnr, dtype=np.float64))
    ceiling: NDArray[np.float32] = (100 * signal / (signal + np.mean(1 / repeats))).astype(
        np.float32
    )
    return ceiling
