"""Regions of interest: which voxels of the volume, by name, in one fixed order.

Voxels are always in C order over (X, Y, Z), Z fastest: the order of `volume[mask]`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import BrainkitWarning, DataError, UsageError, did_you_mean
from brainkit.nsd.atlases import ATLASES, built_in_names, matches, volume_of
from brainkit.nsd.files import (
    Subject,
    colour_table_paths,
    exists,
    flaw,
    listed,
    reading,
    roi_folder,
)
from brainkit.nsd.layout import Layout, read_layout
from brainkit.nsd.nifti import open_nifti, volume_values

ROUNDING = 1e-3
LARGEST_LABEL = 32_767
ZOOM_TOLERANCE = 1e-3
AFFINE_TOLERANCE = 1e-2


@dataclass(frozen=True)
class RoiVolume:
    """One ROI volume on the grid of the betas.

    Attributes:
        name: file name without `.nii.gz`, e.g. "floc-faces".
        path: the file.
        labels: int16 (X, Y, Z), -1 outside cortex, 0 no label, above 0 a label's number.
        names: label number to name.
        affine: float64 (4, 4), voxel to millimetre.
    """

    name: str
    path: Path
    labels: NDArray[np.int16]
    names: dict[int, str]
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class RoiVoxels:
    """The voxels of a ROI.

    Attributes:
        xyz: int32 (voxels, 3), grid positions in C order over X, Y, Z.
        affine: float64 (4, 4), voxel to millimetre.
        notes: sentences about parts of the ROI that have no voxels.
    """

    xyz: NDArray[np.int32]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Region:
    """The part of a labelled region among the loaded voxels.

    Attributes:
        name: the label's name, e.g. "FFA-1".
        label: its number in the volume.
        positions: int32 (n,), ascending columns of the loaded betas that lie in it.
        n_in_volume: voxels it has in the whole volume; the rest was not loaded.
    """

    name: str
    label: int
    positions: NDArray[np.int32]
    n_in_volume: int


def load_roi_volume(
    root: Path, subject: Subject, name: str, layout: Layout | None = None
) -> RoiVolume:
    """Read a ROI volume and the names of its labels.

    Raises:
        UsageError: the download has no volume of this name.
        DataError: the volume is damaged, on another grid, or holds values that are no labels.
    """
    layout = layout or read_layout(root)
    path = roi_folder(root, subject, layout.resolution) / f"{name}.nii.gz"
    if not exists(path) and not path.is_symlink():
        _no_volume(path, name)
    image = open_nifti(path)
    zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])
    affine = np.asarray(image.affine, dtype=np.float64)
    _check_grid(path, image.shape, zooms, subject=subject, layout=layout)
    labels = _labels(path, volume_values(path, image, layout.subject(subject).volume))
    return RoiVolume(name, path, labels, label_names(root, subject, name), affine)


def _labels(path: Path, values: NDArray[Any]) -> NDArray[np.int16]:
    """Return whole numbers that files may hold as floats, int16 (X, Y, Z)."""
    labels = np.rint(values)
    if not np.isfinite(values).all() or np.abs(values - labels).max(initial=0) >= ROUNDING:
        raise DataError(
            f"{path} holds values that are no whole numbers, expected -1, 0 and label numbers; "
            "it is not a ROI volume, or was interpolated: download it again"
        )
    if np.abs(labels).max(initial=0) > LARGEST_LABEL:
        raise DataError(
            f"{path} holds {labels.flat[np.abs(labels).argmax()]:.0f}, expected -1, 0 and label "
            f"numbers up to {LARGEST_LABEL}; it is not a ROI volume, download it again"
        )
    whole: NDArray[np.int16] = labels.astype(np.int16)
    return whole


def label_names(root: Path, subject: Subject, volume: str) -> dict[int, str]:
    """Return label number to name: the subject's colour table, fsaverage's, or what is built in.

    Raises:
        DataError: a colour table is there but cannot be read.
    """
    volume = volume.removeprefix("lh.").removeprefix("rh.")
    for path in colour_table_paths(root, subject, volume):
        if exists(path):
            return _colour_table(path)
    return built_in_names(volume)


def roi_voxels(root: Path, subject: Subject, roi: str, layout: Layout | None = None) -> RoiVoxels:
    """Return the grid positions of a ROI's voxels.

    Args:
        root: the download.
        subject: 1 to 8, or the name of one in data of your own.
        roi: a volume ("nsdgeneral"), `volume:label`, a label ("FFA-1", "V1" for V1v and V1d), or
            several of these joined by commas, which gives their union.
        layout: sizes to check against; the download's own by default.

    Raises:
        UsageError: a volume or label does not exist.
        DataError: a volume is unusable, or the whole ROI has no voxels.
    """
    layout = layout or read_layout(root)
    items = [item.strip() for item in roi.split(",") if item.strip()]
    if not items:
        raise UsageError(f"selection.roi is {roi!r}, expected a ROI such as 'nsdgeneral'")
    mask = np.zeros(layout.subject(subject).volume, dtype=np.bool_)
    affine, notes = np.eye(4), []
    for item in items:
        volume, numbers = _labels_meant(root, subject, item, layout)
        chosen = np.isin(volume.labels, numbers) if numbers else volume.labels > 0
        if not chosen.any():
            notes.append(_no_voxels(volume, item, sole=len(items) == 1))
        mask |= chosen
        affine = volume.affine
    if not mask.any():
        raise DataError(f"the ROI {roi!r} has no voxels in subject {subject}; choose another")
    # argwhere gives a transposed array, which safetensors would store in the wrong order.
    return RoiVoxels(np.ascontiguousarray(np.argwhere(mask), np.int32), affine, tuple(notes))


def roi_indices(
    root: Path,
    subject: Subject,
    roi: str,
    voxel_xyz: NDArray[np.int32],
    layout: Layout | None = None,
) -> dict[str, Region]:
    """Give, for each label of a ROI, its columns among loaded voxels.

    Args:
        root: the download.
        subject: 1 to 8, or the name of one in data of your own.
        roi: a volume (all its labels), `volume:label` or a label; no union.
        voxel_xyz: int32 (voxels, 3), grid positions of the loaded voxels, in any order.
        layout: sizes to check against; the download's own by default.

    Returns:
        Label name to `Region`; a label without voxels has empty positions, with a warning.

    Raises:
        UsageError: the volume or label does not exist.
        DataError: the volume is unusable.
    """
    layout = layout or read_layout(root)
    volume, numbers = _labels_meant(root, subject, roi, layout)
    loaded = volume.labels[tuple(np.asarray(voxel_xyz).T)]
    if not numbers:
        beyond = set(np.unique(volume.labels[volume.labels > 0]).tolist())
        numbers = sorted(set(volume.names) | beyond)
    regions = {}
    for number in numbers:
        name = volume.names.get(number, str(number))
        n_in_volume = int(np.count_nonzero(volume.labels == number))
        if n_in_volume == 0:
            sentence = f"label {name!r} of {volume.name} has no voxels in subject {subject}"
            warnings.warn(sentence, BrainkitWarning, stacklevel=2)
        positions = np.flatnonzero(loaded == number).astype(np.int32)
        regions[name] = Region(name, number, positions, n_in_volume)
    return regions


def require_same_affine(path: Path, affine: NDArray[np.float64], roi: NDArray[np.float64]) -> None:
    """Check that betas and ROI volume lie at the same place in space.

    Raises:
        DataError: an entry differs by more than 0.01.
    """
    apart = float(np.abs(affine - roi).max())
    if not apart <= AFFINE_TOLERANCE:  # nor may it be NaN
        raise DataError(
            f"{path} and the ROI volume lie apart (affines differ by {apart:.3g}, expected at most "
            f"{AFFINE_TOLERANCE}); one is of another subject or resolution, download both again"
        )


def _labels_meant(
    root: Path, subject: Subject, item: str, layout: Layout
) -> tuple[RoiVolume, list[int]]:
    """Read the volume of "volume:label", "volume" or "label", and the label numbers meant."""
    name, _, label = item.partition(":")
    path = roi_folder(root, subject, layout.resolution) / f"{name}.nii.gz"
    if not label and not exists(path) and name not in ATLASES:
        home = volume_of(name)
        if home is not None:
            name, label = home, name
    volume = load_roi_volume(root, subject, name, layout)
    if not label:
        return volume, []
    numbers = [number for number, each in volume.names.items() if matches(label, each)]
    if not numbers:
        has = ", ".join(name for number, name in volume.names.items() if number > 0) or "no names"
        hint = did_you_mean(label, volume.names.values())
        raise UsageError(f"ROI volume {name!r} has no label {label!r} (it has: {has}).{hint}")
    return volume, numbers


def _colour_table(path: Path) -> dict[int, str]:
    with reading(path):
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n"))
        pairs = [line.split()[:2] for line in lines if line and not line.startswith("#")]
        return {int(number): name for number, name in pairs if int(number) > 0}


def _check_grid(
    path: Path,
    shape: tuple[int, ...],
    zooms: tuple[float, ...],
    *,
    subject: Subject,
    layout: Layout,
) -> None:
    expected = layout.subject(subject).volume
    if shape != expected:
        raise DataError(
            f"{path} has shape {shape}, but the betas of subject {subject} are {expected}; it "
            "belongs to another subject or resolution, download it again"
        )
    # Voxels of imported data have any size: mask and betas were written together.
    if not layout.dataset and any(abs(zoom - layout.voxel_size) > ZOOM_TOLERANCE for zoom in zooms):
        said = ", ".join(f"{zoom:.1f}" for zoom in zooms)
        raise DataError(
            f"{path} has voxels of {said} mm, but those of the betas are {layout.voxel_size} mm; "
            f"use the volume from {layout.resolution}/roi"
        )


def _no_volume(path: Path, name: str) -> None:
    present = [each.name.removesuffix(".nii.gz") for each in listed(path.parent, ".nii.gz")]
    whole = [each for each in present if not each.startswith(("lh.", "rh."))]
    if exists(path.with_suffix("")):
        raise DataError(f"{path} {flaw(path)}")
    if not whole:
        raise DataError(f"{path.parent} has no ROI volumes (*.nii.gz); download that folder")
    if name in ATLASES:
        raise DataError(f"{path} is missing; download it (present: {', '.join(whole)})")
    hint = did_you_mean(name, present)
    raise UsageError(f"there is no ROI volume {name!r} (present: {', '.join(whole)}).{hint}")


def _no_voxels(volume: RoiVolume, item: str, *, sole: bool) -> str:
    if sole:
        raise DataError(
            f"{volume.path}: ROI {item!r} has no voxels (none is above 0); "
            "choose another ROI, or download the file again if this one should have some"
        )
    return f"ROI {item!r} has no voxels in {volume.path.name} and adds nothing to the union"
