"""Put one value per voxel into the volume it came from, and write it as NIfTI."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.disk import written_aside
from brainkit.names import Subject
from brainkit.nsd import read_layout
from brainkit.nsd.files import roi_folder
from brainkit.nsd.roi import load_roi_volume, roi_voxels

CORTEX = ("nsdgeneral", "streams", "prf-visualrois")
"""ROI volumes of whole cortex, -1 outside it, the likeliest first."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The volume in which a subject's voxels lie.

    Attributes:
        shape: voxels along X, Y and Z.
        affine: float64 (4, 4), voxel to millimetre, of the download's ROI volumes.
        cortex: bool (X, Y, Z), None where the download does not tell.
        anatomy: float32 (X, Y, Z), the T1 image or the mean of the functional ones, None where the
            download has neither.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    cortex: NDArray[np.bool_] | None = None
    anatomy: NDArray[np.float32] | None = None

    @staticmethod
    def of(root: Path, subject: Subject, roi: str) -> Grid:
        """Read the grid of a download from the ROI volumes that selected the voxels.

        Raises:
            BrainkitError: a volume is missing or damaged.
        """
        layout = read_layout(root)
        folder = roi_folder(root, subject, layout.resolution)
        volume = next((name for name in CORTEX if (folder / f"{name}.nii.gz").exists()), None)
        cortex = load_roi_volume(root, subject, volume, layout).labels >= 0 if volume else None
        affine = roi_voxels(root, subject, roi, layout).affine
        shape = layout.subject(subject).volume
        return Grid(shape, affine, cortex, anatomy_of(folder.parent, layout.resolution, shape))

    def image(self, values: NDArray[np.float32], xyz: NDArray[np.int32]) -> Any:
        """Return a NIfTI image, float32 (X, Y, Z), 0 where there is no voxel.

        Args:
            values: float32 (voxels,).
            xyz: int32 (voxels, 3), their grid positions.
        """
        import nibabel

        volume = np.zeros(self.shape, np.float32)
        volume[tuple(xyz.T)] = values
        image = nibabel.Nifti1Image(volume, self.affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header["cal_max"] = volume.max(initial=0)
        return image


def anatomy_of(
    folder: Path, resolution: str, shape: tuple[int, int, int]
) -> NDArray[np.float32] | None:
    """Read a picture of the head on the same grid; one that cannot be used is passed over."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    for name in (f"T1_to_{resolution}.nii.gz", "mean.nii.gz"):
        try:
            image = nibabel.load(folder / name)
            values = np.asarray(image.dataobj, np.float32) if image.shape == shape else None
        except (OSError, EOFError, ValueError, ImageFileError):
            continue
        if values is not None and np.isfinite(values).all() and values.max() > values.min():
            return values
    return None


def write_nifti(path: Path, image: Any) -> None:
    """Write a NIfTI image, gzipped, whole or not at all; equal images give equal bytes."""
    with written_aside(path) as aside:
        aside.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
