"""Averages over the named regions of a download."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import BrainkitWarning
from brainkit.names import Subject
from brainkit.nsd import read_layout, roi_indices
from brainkit.nsd.files import listed, roi_folder

VOLUMES = (
    *("streams", "prf-visualrois"),
    *("floc-bodies", "floc-faces", "floc-places", "floc-words"),
)


@dataclass(frozen=True)
class RegionMean:
    """The mean of a map over the mapped voxels of a region.

    Attributes:
        volume: the ROI volume that names the region, e.g. "floc-faces".
        name: its label there, e.g. "FFA-1".
        voxels: how many of the mapped voxels lie in it, at least one.
        mean: over these.
    """

    volume: str
    name: str
    voxels: int
    mean: float


def regions(
    root: Path, subject: Subject, xyz: NDArray[np.int32]
) -> dict[tuple[str, str], list[int]]:
    """Return the positions, among voxels int32 (voxels, 3), of each (volume, label) that has some.

    Raises:
        DataError: a ROI volume that is there is unusable.
    """
    layout = read_layout(root)
    folder = roi_folder(root, subject, layout.resolution)
    positions_of: dict[tuple[str, str], list[int]] = {}
    with warnings.catch_warnings():
        # A label without voxels is left out of the table; loading the trials has told.
        warnings.simplefilter("ignore", BrainkitWarning)
        for volume in _volumes(folder, own=bool(layout.dataset)):
            labels = roi_indices(root, subject, volume, xyz, layout)
            positions_of |= {
                (volume, name): each.positions.tolist() for name, each in labels.items()
            }
    return {key: positions for key, positions in positions_of.items() if positions}


def _volumes(folder: Path, *, own: bool) -> list[str]:
    """Return the volumes whose labels are named: some of NSD's, or all of data of one's own."""
    present = [path.name.removesuffix(".nii.gz") for path in listed(folder, ".nii.gz")]
    wanted = [name for name in present if name != "nsdgeneral"] if own else VOLUMES
    return [name for name in wanted if name in present]


def region_means(
    values: NDArray[np.float32], where: dict[tuple[str, str], list[int]]
) -> tuple[RegionMean, ...]:
    """Average values float32 (voxels,) over regions."""
    return tuple(
        RegionMean(volume, name, len(positions), float(values[positions].mean(dtype=np.float64)))
        for (volume, name), positions in where.items()
    )
