"""Write data of one's own as a folder that everything that reads NSD reads too.

The tree is NSD's. Pictures, captions and regions lie in NSD's own files; sessions have lengths of
their own and hold floats, `trials.tsv` says which image each trial showed, and
`brainkit-layout.toml` names the dataset. `docs/own-data.md` describes it.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.disk import writing
from brainkit.errors import DataError, UsageError, enumerated
from brainkit.nsd import files
from brainkit.nsd.layout import OWN_PREPARATION, Layout, SubjectLayout, read_layout, write_layout
from brainkit.nsd.own.pictures import Pictures, Source, number_of, pictures_of
from brainkit.nsd.own.recording import ALL_VOXELS, Recording
from brainkit.nsd.tables import read_columns

RESOLUTION = "func"
COLUMNS = ("", "cocoId", "cocoSplit", "nsdId", "shared1000", "name")
REMEDY = "by naming another folder"
VOXELS_AT_ONCE = 4096
LARGEST_NIFTI1 = 32_767
Captions = Mapping[str, Sequence[str]]


def write_dataset(
    root: str | Path,
    recordings: Sequence[Recording],
    pictures: str | Path | NDArray[Any] | Mapping[str, Source],
    *,
    captions: Captions | None = None,
    test: Sequence[str | int] | float = 0.1,
    seed: int = 0,
    name: str = "own",
    pixels: int | None = None,
) -> Path:
    """Write a dataset that `--nsd` reads, and return its folder.

    Args:
        root: a folder that does not exist yet, or is empty.
        recordings: of each subject.
        pictures: a folder, an array uint8 (images, height, width, 3), or pictures by name.
        captions: of each picture, by its name.
        test: the test images, or the share of all pictures that is drawn for them.
        seed: of that draw.
        name: of the dataset.
        pixels: height and width that pictures are brought to; by default they keep theirs if all
            are square and of one size, else 425.

    Raises:
        UsageError: a name or setting cannot be.
        DataError: counts, names or numbers contradict each other; nothing is left behind.
        UnwritableError: the folder cannot be written.
    """
    root = Path(root)
    chosen = pictures_of(Path(pictures) if isinstance(pictures, str) else pictures, pixels)
    numbers = {each: number for number, each in enumerate(chosen.names)}
    tests = _tests(test, numbers, seed)
    _require_distinct([each.subject for each in recordings])
    if not name.strip() or not recordings:
        raise UsageError("a dataset needs a name and at least one subject")
    seen = [_images_seen(each.check(), numbers, tests) for each in recordings]
    layout = Layout(
        {},
        stimuli=len(numbers),
        pixels=chosen.side,
        resolution=RESOLUTION,
        shared=len(tests),
        voxel_size=1.0,
        dataset=name,
    )
    with _new_folder(root) as aside:
        _write_pictures(aside, chosen)
        _write_table(aside, chosen.names, tests)
        if captions:
            _write_captions(aside, captions, numbers)
        for recording, images in zip(recordings, seen, strict=True):
            layout = _write_subject(aside, recording, images, layout)
        write_layout(aside, layout)
    return root


def add_subject(root: str | Path, recording: Recording) -> Path:
    """Add a subject to a dataset that `write_dataset` wrote, and return the dataset's folder.

    Pictures, captions and test images stay as they are.

    Raises:
        UsageError: it is no such dataset, or has this subject already.
        DataError: the recording names pictures that are not there, or contradicts itself.
        UnwritableError: the folder cannot be written.
    """
    root = Path(root)
    layout = read_layout(root)
    if not layout.dataset:
        raise UsageError(f"{root} holds no imported data, so no subject can be added to it")
    _require_distinct([*layout.known, recording.subject])
    columns = read_columns(files.stimulus_table_path(root), ("name", "shared1000"), delimiter=",")
    numbers = {each: number for number, each in enumerate(columns["name"])}
    tests = np.flatnonzero(np.array(columns["shared1000"]) == "True")
    images = _images_seen(recording.check(), numbers, tests)
    with writing(root, REMEDY):
        try:
            layout = _write_subject(root, recording, images, layout)
        except BaseException:
            _remove_subject(root, recording)
            raise
        write_layout(root, layout)
    return root


def _require_distinct(subjects: Sequence[files.Subject]) -> None:
    names = [files.subject_name(each) for each in subjects]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice:
        raise UsageError(f"there are two subjects {twice}; give each a name of its own")


def _tests(
    test: Sequence[str | int] | float, numbers: Mapping[str, int], seed: int
) -> NDArray[np.int64]:
    """Return the ids of the test images, int64, ascending."""
    if isinstance(test, int | float):
        if not 0 < test < 1:
            raise UsageError(
                f"the share of test images is {test}, expected more than 0, less than 1"
            )
        count = round(test * len(numbers))
        if not 0 < count < len(numbers):
            side = "test" if not count else "training"
            raise DataError(
                f"a share of {test} of {len(numbers)} pictures leaves no {side} image; give another"
            )
        drawn = np.random.default_rng([seed, 0]).permutation(len(numbers))[:count]
        return np.sort(drawn)
    found = {each: number_of(each, numbers) for each in test}
    unknown = [str(each) for each, number in found.items() if number is None]
    if unknown or not found:
        raise DataError(
            f"test images {_some(unknown)} are not among the {len(numbers)} pictures; give their "
            "names without ending"
        )
    return np.unique(np.array(list(found.values()), np.int64))


def _images_seen(
    recording: Recording, numbers: Mapping[str, int], tests: NDArray[Any]
) -> NDArray[np.int64]:
    """Return the id of each trial's picture over all sessions, int64 (trials,)."""
    asked = [each for images in recording.images for each in images]
    found = {each: number_of(each, numbers) for each in dict.fromkeys(asked)}
    unknown = [str(each) for each, number in found.items() if number is None]
    if unknown:
        raise DataError(
            f"subject {recording.subject} saw pictures that are not there: {_some(unknown)}; "
            f"expected names of the {len(numbers)} pictures, such as "
            f"{_some(list(numbers)[:3])}, or ids from 0 to {len(numbers) - 1}"
        )
    images = np.array([found[each] for each in asked], np.int64)
    tested = np.isin(images, tests)
    if tested.all() or not tested.any():
        side = "training" if tested.all() else "test"
        raise DataError(
            f"subject {recording.subject} saw no {side} image among {len(np.unique(images))}; "
            "choose other test images or another share"
        )
    return images


def _some(names: Sequence[str]) -> str:
    return enumerated([f"{each:.60}" for each in names])


@contextmanager
def _new_folder(root: Path) -> Iterator[Path]:
    """Make a folder beside one that is not there yet, which gets that name when all went well."""
    with writing(root, REMEDY):
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise UsageError(f"{root} is there already; name a folder that does not exist")
        root.parent.mkdir(parents=True, exist_ok=True)
        aside = root.with_name(f"{root.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            yield aside
            if root.exists():
                root.rmdir()
            aside.rename(root)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _write_pictures(root: Path, pictures: Pictures) -> None:
    import h5py

    path = files.stimuli_path(root)
    path.parent.mkdir(parents=True)
    shape = (len(pictures.names), pictures.side, pictures.side, 3)
    with h5py.File(path, "w", libver="earliest") as file:
        array = file.create_dataset("imgBrick", shape, np.uint8, track_times=False)
        for number, picture in enumerate(pictures.arrays()):
            array[number] = picture


def _write_table(root: Path, names: Sequence[str], tests: NDArray[Any]) -> None:
    path = files.stimulus_table_path(root)
    path.parent.mkdir(parents=True)
    tested = {int(each) for each in tests}
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for number, name in enumerate(names):
            rows.writerow([number, number, "train2017", number, number in tested, name])


def _write_captions(root: Path, captions: Captions, numbers: Mapping[str, int]) -> None:
    found = {number_of(name, numbers): list(texts) for name, texts in captions.items()}
    missing = [name for name, number in numbers.items() if not any(found.get(number, []))]
    if missing:
        raise DataError(
            f"{len(missing)} pictures have no caption: {_some(missing)}; caption all of them, or "
            "leave captions out"
        )
    texts = [(number, text) for number in range(len(numbers)) for text in found[number]]
    content = {
        "images": [{"id": number, "file_name": name} for name, number in numbers.items()],
        "annotations": [
            {"id": place, "image_id": number, "caption": text}
            for place, (number, text) in enumerate(texts)
        ],
    }
    path = files.annotation_paths(root)[0]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_subject(
    root: Path, recording: Recording, images: NDArray[np.int64], layout: Layout
) -> Layout:
    """Write a subject's betas, regions and trials; return the layout with the subject."""
    subject, lengths = recording.subject, recording.lengths
    folder = files.betas_folder(
        root, subject, preparation=OWN_PREPARATION, resolution=layout.resolution
    )
    folder.mkdir(parents=True)
    for session, betas in enumerate(recording.betas(), start=1):
        _write_betas(folder / f"betas_session{session:02d}.hdf5", betas, recording.inside)
    _write_regions(root, recording, layout)
    path = files.trials_path(root, subject)
    sessions = np.repeat(np.arange(len(lengths)) + 1, lengths)
    lines = [f"{session}\t{image}\n" for session, image in zip(sessions, images, strict=True)]
    path.write_text("session\timage\n" + "".join(lines), encoding="utf-8")
    of = SubjectLayout(recording.volume, len(lengths), lengths)
    return replace(layout, subjects={**layout.subjects, subject: of})


def _write_betas(path: Path, betas: NDArray[np.float32], inside: NDArray[np.bool_]) -> None:
    """Write float32 (trials, voxels) as NSD does: (trials, Z, Y, X) with a chunk a voxel."""
    import h5py

    places = np.argwhere(inside)
    with h5py.File(path, "w", libver="earliest") as file:
        array = file.create_dataset(
            "betas",
            (len(betas), *reversed(inside.shape)),
            np.float32,
            chunks=(len(betas), 1, 1, 1),
            track_times=False,
        )
        for start in range(0, len(places), VOXELS_AT_ONCE):
            columns = np.ascontiguousarray(betas[:, start : start + VOXELS_AT_ONCE].T)
            for (x, y, z), column in zip(places[start:].tolist(), columns, strict=False):
                array.id.write_direct_chunk((0, z, y, x), column.tobytes())


def _write_regions(root: Path, recording: Recording, layout: Layout) -> None:
    folder = files.roi_folder(root, recording.subject, layout.resolution)
    folder.mkdir(parents=True)
    everything = np.where(recording.inside, 1, -1).astype(np.int16)
    _write_volume(folder / f"{ALL_VOXELS}.nii.gz", everything, recording)
    for name in recording.regions:
        _write_volume(folder / f"{name}.nii.gz", recording.region(name), recording)
        table = files.colour_table_paths(root, recording.subject, name)[0]
        table.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{number} {text}\n" for number, text in sorted(recording.names(name).items())]
        table.write_text("0 Unknown\n" + "".join(lines), encoding="utf-8")


def _write_volume(path: Path, volume: NDArray[np.int16], recording: Recording) -> None:
    import nibabel

    affine = np.eye(4) if recording.affine is None else np.asarray(recording.affine, np.float64)
    large = max(volume.shape) > LARGEST_NIFTI1
    kind = nibabel.Nifti2Image if large else nibabel.Nifti1Image
    image = kind(volume, affine)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def _remove_subject(root: Path, recording: Recording) -> None:
    name = files.subject_name(recording.subject)
    for part in ("nsddata/ppdata", "nsddata/freesurfer", "nsddata_betas/ppdata"):
        shutil.rmtree(root / part / name, ignore_errors=True)
