"""Write a simulated subject's regions as NSD's: volumes whole, left and right, and their names."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature.brain import AREAS, Anatomy, eccentricities
from brainkit.nsd import files
from brainkit.nsd.atlases import built_in_names
from brainkit.nsd.layout import Layout

Labels = NDArray[np.int64]
VOLUMES: Final = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words")
SECONDS: Final = 4 / 3
"""Between volumes of the scans, which NSD's series of betas state."""
ECCENTRICITY, KASTNER = "prf-eccrois", "Kastner2015"
DEGREES: Final = 4.2
"""Half the width of NSD's pictures, in degrees of the visual field."""
ENDS: Final = (0.5, 1.0, 2.0, 4.0)
"""Degrees at which the labels of `prf-eccrois` end; the last one has no end."""
KASTNER_OF: Final = {
    **{name: (name,) for name in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")},
    "LO": ("LO1", "LO2"),
    "EBA": ("hMT", "MST"),
    "FFA-2": ("VO2",),
    "VWFA-1": ("VO1",),
    "PPA": ("PHC1", "PHC2"),
    "other": ("V3a", "V3b", "IPS0", "IPS1"),
}
"""Labels of `Kastner2015` among which the voxels of an area are parted."""
OF_FSAVERAGE: Final = ("nsdgeneral", "streams", KASTNER)
"""Volumes that were drawn on fsaverage, where their names lie as well."""


@dataclass(frozen=True)
class Brain:
    """Whose regions are written, and where to.

    Attributes:
        root: of the download.
        subject: its number.
        anatomy: where its voxels lie.
        seed: decides its receptive fields.
        layout: sizes of the download.
    """

    root: Path
    subject: int
    anatomy: Anatomy
    seed: int
    layout: Layout


def write_regions(brain: Brain) -> None:
    """Write a subject's brain mask, and every ROI volume with its table of names."""
    folder = files.roi_folder(brain.root, brain.subject, brain.layout.resolution)
    folder.mkdir(parents=True)
    anatomy = brain.anatomy
    mask = np.zeros(anatomy.volume, np.float32)
    mask[tuple(anatomy.xyz.T)] = 1
    write_volume(folder.parent / "brainmask.nii.gz", mask, brain.layout)
    _write_region(brain, "nsdgeneral", (anatomy.area >= 0).astype(int), {1: "nsdgeneral"})
    for name in VOLUMES:
        names = {area.label: area.name for area in AREAS if area.volume == name}
        of_area = [area.label if area.volume == name else 0 for area in AREAS]
        _write_region(brain, name, _of_areas(anatomy, of_area), names)
    names = built_in_names("streams")
    streams = {area.stream: names[area.stream] for area in AREAS}
    _write_region(brain, "streams", _of_areas(anatomy, [area.stream for area in AREAS]), streams)
    _write_region(brain, ECCENTRICITY, _rings(brain), built_in_names(ECCENTRICITY))
    _write_region(brain, KASTNER, _kastner(anatomy), built_in_names(KASTNER))


def write_names_of_fsaverage(root: Path) -> None:
    """Write the tables of names that lie with fsaverage, with all labels."""
    for name in OF_FSAVERAGE:
        _write_names(files.colour_table_paths(root, 1, name)[1], built_in_names(name))


def _of_areas(anatomy: Anatomy, labels: Sequence[int]) -> Labels:
    return np.where(anatomy.area >= 0, np.array(labels)[anatomy.area], 0)


def _rings(brain: Brain) -> Labels:
    degrees = DEGREES * eccentricities(brain.anatomy, brain.seed)
    rings: Labels = np.where(np.isnan(degrees), 0, 1 + np.searchsorted(ENDS, degrees))
    return rings


def _kastner(anatomy: Anatomy) -> Labels:
    labels = np.zeros(len(anatomy.xyz), np.int64)
    numbers = {name: number for number, name in built_in_names(KASTNER).items()}
    for index, area in enumerate(AREAS):
        names = KASTNER_OF.get(area.name, ())
        parts = np.array_split(np.flatnonzero(anatomy.area == index), max(1, len(names)))
        for name, voxels in zip(names, parts, strict=False):
            labels[voxels] = numbers[name]
    return labels


def write_volume(path: Path, volume: NDArray[Any], layout: Layout) -> None:
    """Write a volume (X, Y, Z) or a series of them (X, Y, Z, trials) as `.nii.gz`."""
    import nibabel

    affine = np.diag([layout.voxel_size] * 3 + [1.0])
    affine[:3, 3] = [-((size + 1) / 2 - 1) * layout.voxel_size for size in volume.shape[:3]]
    image = nibabel.Nifti1Image(volume, affine)
    if volume.ndim == 4:
        image.header.set_zooms((*[layout.voxel_size] * 3, SECONDS))
    image.header.set_xyzt_units("mm", "sec")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def _write_region(brain: Brain, name: str, labels: Labels, names: dict[int, str]) -> None:
    """Write labels int64 (brain voxels,) of both hemispheres, the left and the right one."""
    folder = files.roi_folder(brain.root, brain.subject, brain.layout.resolution)
    anatomy = brain.anatomy
    halves = {"": anatomy.left | True, "lh.": anatomy.left, "rh.": ~anatomy.left}
    for prefix, half in halves.items():
        volume = np.full(anatomy.volume, -1.0)
        volume[tuple(anatomy.xyz[half].T)] = labels[half]
        write_volume(folder / f"{prefix}{name}.nii.gz", volume, brain.layout)
    _write_names(files.colour_table_paths(brain.root, brain.subject, name)[0], names)


def _write_names(table: Path, names: dict[int, str]) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    lines = ["0 Unknown", *(f"{number} {label}" for number, label in sorted(names.items()))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
