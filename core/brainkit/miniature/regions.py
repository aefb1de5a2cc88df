"""Write a simulated subject's regions as NSD's: volumes whole, left and right, and their names."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature.brain import AREAS, Anatomy
from brainkit.nsd import files
from brainkit.nsd.layout import Layout

Labels = NDArray[np.int64]
VOLUMES: Final = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words")
STREAMS: Final = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral")


def write_regions(root: Path, anatomy: Anatomy, layout: Layout, subject: int) -> None:
    """Write a subject's brain mask, and every ROI volume with its table of names."""
    folder = files.roi_folder(root, subject, layout.resolution)
    folder.mkdir(parents=True)
    mask = np.zeros(anatomy.volume, np.float32)
    mask[tuple(anatomy.xyz.T)] = 1
    write_volume(folder.parent / "brainmask.nii.gz", mask, layout)
    inside = anatomy.area >= 0
    _write_halves(folder / "nsdgeneral", anatomy, layout, inside.astype(int))
    _write_names(root, subject, "nsdgeneral", {1: "nsdgeneral"})
    for name in VOLUMES:
        of_area = [area.label if area.volume == name else 0 for area in AREAS]
        labels = np.where(inside, np.array(of_area)[anatomy.area], 0)
        _write_halves(folder / name, anatomy, layout, labels)
        names = {area.label: area.name for area in AREAS if area.volume == name}
        _write_names(root, subject, name, names)
    names = dict(enumerate((*STREAMS, "parietal"), start=1))
    labels = np.where(inside, np.array([area.stream for area in AREAS])[anatomy.area], 0)
    _write_halves(folder / "streams", anatomy, layout, labels)
    _write_names(root, subject, "streams", {area.stream: names[area.stream] for area in AREAS})


def write_volume(path: Path, volume: NDArray[Any], layout: Layout) -> None:
    """Write a volume (X, Y, Z) or a series of them (X, Y, Z, trials) as `.nii.gz`."""
    import nibabel

    affine = np.diag([layout.voxel_size] * 3 + [1.0])
    affine[:3, 3] = [-((size + 1) / 2 - 1) * layout.voxel_size for size in volume.shape]
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm", "sec")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def _write_halves(stem: Path, anatomy: Anatomy, layout: Layout, labels: Labels) -> None:
    """Write labels int64 (brain voxels,) of both hemispheres, the left and the right one."""
    halves = {"": anatomy.left | True, "lh.": anatomy.left, "rh.": ~anatomy.left}
    for prefix, half in halves.items():
        volume = np.full(anatomy.volume, -1.0)
        volume[tuple(anatomy.xyz[half].T)] = labels[half]
        write_volume(stem.with_name(f"{prefix}{stem.name}.nii.gz"), volume, layout)


def _write_names(root: Path, subject: int, volume: str, names: dict[int, str]) -> None:
    table = files.colour_table_paths(root, subject, volume)[0]
    table.parent.mkdir(parents=True, exist_ok=True)
    lines = ["0 Unknown", *(f"{number} {label}" for number, label in sorted(names.items()))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
