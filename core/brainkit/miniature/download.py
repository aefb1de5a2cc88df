"""Write the simulated subject exactly as an NSD download lies on disk.

Same paths, formats, number types, axis orders and index bases as the release; the sizes are
declared in `brainkit-layout.toml`. Bytes depend on difficulty and seed alone: no file carries a
time. Only subject 1 has brain data; the other subjects' columns of the tables repeat its own.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature.brain import (
    AREAS,
    REPEATS,
    Anatomy,
    Difficulty,
    Doubles,
    lay_out,
    noise_ceilings,
    responses,
    session_betas,
)
from brainkit.miniature.scenes import SIDE, SUBJECT_SEEDS, Scene, captions, images, make_scene
from brainkit.nsd import files
from brainkit.nsd.layout import Layout, SubjectLayout, write_layout

Labels = NDArray[np.int64]
SUBJECT: Final = 1
RUNS: Final = 12
SUBJECTS: Final = 8
PREPARATION: Final = "betas_fithrf_GLMdenoise_RR"
SEEDS_PER_SUBJECT: Final = 10_000
VOLUMES: Final = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words")
STREAMS: Final = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral")
RESPONSE_COLUMNS: Final = (
    *("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT"),
    *("CHANGEMIND", "MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1"),
    *("TOTAL2", "BUTTON", "MISSINGDATA"),
)


@dataclass(frozen=True)
class Schedule:
    """Which image each trial shows.

    Attributes:
        subjectim: int64 (images,), 0-based image of each of the subject's own ids, test ones first.
        order: int64 (trials,), 0-based own id of each trial, in the order of presentation.
        sessions: number of sessions.
        shared: number of test images.
    """

    subjectim: Labels
    order: Labels
    sessions: int
    shared: int

    @property
    def trials_per_session(self) -> int:
        """Trials of each session."""
        return len(self.order) // self.sessions

    @property
    def run_lengths(self) -> list[int]:
        """Trials of each of a session's runs, the longer ones first of each pair."""
        pieces = np.array_split(np.arange(self.trials_per_session), RUNS)
        lengths = [len(piece) for piece in pieces]
        return [length for pair in zip(lengths[:6], lengths[6:], strict=True) for length in pair]


def make_schedule(difficulty: Difficulty, seed: int) -> Schedule:
    """Show every image three times in random order, in up to ten sessions of equal length."""
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(np.repeat(np.arange(difficulty.images), REPEATS))
    fitting = [n for n in range(1, 11) if len(order) % n == 0 and len(order) // n >= 24]
    return Schedule(
        subjectim=rng.permutation(difficulty.images),
        order=order,
        sessions=max(fitting),
        shared=difficulty.test_images,
    )


def write_download(root: Path, difficulty: Difficulty, seed: int) -> None:
    """Simulate a subject and write its download into an empty folder."""
    first = SUBJECT_SEEDS.start + seed * SEEDS_PER_SUBJECT
    seeds = range(first, first + difficulty.images)
    scenes = [make_scene(each) for each in seeds]
    pictures = images(seeds)
    anatomy = lay_out(difficulty.voxels)
    schedule = make_schedule(difficulty, seed)
    layout = Layout(
        subjects={SUBJECT: SubjectLayout(anatomy.volume, schedule.sessions)},
        trials_per_session=schedule.trials_per_session,
        shared=schedule.shared,
        stimuli=difficulty.images,
        pixels=SIDE,
    )
    write_layout(root, layout)
    write_stimuli(root, pictures, scenes)
    write_design(root, schedule)
    write_tables(root, schedule)
    write_regions(root, anatomy, layout)
    signal = responses(pictures, scenes, anatomy, seed)
    write_betas(root, anatomy, schedule, layout=layout, signal=signal, hardness=(difficulty, seed))


def write_betas(
    root: Path,
    anatomy: Anatomy,
    schedule: Schedule,
    *,
    layout: Layout,
    signal: Doubles,
    hardness: tuple[Difficulty, int],
) -> None:
    """Write `betas_sessionNN.hdf5` of every session and `ncsnr.nii.gz`.

    HDF5 as MATLAB left it: int16 (trials, Z, Y, X), a chunk per voxel; 0 outside the brain.
    """
    difficulty, seed = hardness
    folder = files.betas_folder(
        root, SUBJECT, preparation=PREPARATION, resolution=layout.resolution
    )
    folder.mkdir(parents=True)
    ncsnr = noise_ceilings(anatomy, difficulty.noise_ceiling, seed)
    volume = np.full(anatomy.volume, np.nan, np.float32)
    volume[tuple(anatomy.xyz.T)] = ncsnr
    _write_nifti(folder / "ncsnr.nii.gz", volume, layout)
    shown = schedule.subjectim[schedule.order].reshape(schedule.sessions, -1)
    for session, order in enumerate(shown, start=1):
        betas = session_betas(
            signal,
            order,
            ncsnr,
            signal_space_noise=difficulty.signal_space_noise,
            seed=(seed, session),
        )
        stored = np.zeros((len(order), *reversed(anatomy.volume)), np.int16)
        x, y, z = anatomy.xyz.T
        stored[:, z, y, x] = betas
        path = folder / f"betas_session{session:02d}.hdf5"
        _write_hdf5(path, "betas", stored, chunks=(len(order), 1, 1, 1))


def write_stimuli(root: Path, pictures: NDArray[np.uint8], scenes: list[Scene]) -> None:
    """Write `nsd_stimuli.hdf5` and COCO's caption files; every tenth picture is of val2017."""
    path = files.stimuli_path(root)
    path.parent.mkdir(parents=True)
    _write_hdf5(path, "imgBrick", pictures)
    (path.parent / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        chosen = [image for image in range(len(scenes)) if _split(image) == split]
        content = {
            "info": {"description": "brainkit's miniature: simulated pictures"},
            "licenses": [],
            "images": [
                {
                    "id": _coco_id(image),
                    "file_name": f"{_coco_id(image):012d}.png",
                    "height": SIDE,
                    "width": SIDE,
                }
                for image in chosen
            ],
            "annotations": [
                {"image_id": _coco_id(image), "id": 10 * image + number, "caption": caption}
                for image in chosen
                for number, caption in enumerate(captions(scenes[image]))
            ],
        }
        target = files.annotation_paths(root, split)[0]
        target.write_text(json.dumps(content), encoding="utf-8")


def write_design(root: Path, schedule: Schedule) -> None:
    """Write `nsd_expdesign.mat`; all ids are 1-based."""
    import scipy.io

    sessions, length = schedule.sessions, schedule.trials_per_session
    slots = max(schedule.run_lengths) + 5
    pattern = np.zeros((sessions, RUNS, slots), np.uint8)
    for run, trials in enumerate(schedule.run_lengths):
        pattern[:, run, 3 : 3 + trials] = 1
    counts = np.zeros((REPEATS, sessions))
    for session, own in enumerate(schedule.order.reshape(sessions, length)):
        shown = np.unique(own, return_counts=True)[1]
        counts[:, session] = [(shown == number).sum() for number in range(1, REPEATS + 1)]
    images_of = (schedule.subjectim + 1).astype(np.float64)
    fields = {
        "masterordering": (schedule.order + 1).astype(np.float64)[None],
        "basiccnt": counts,
        "sharedix": np.sort(images_of[: schedule.shared])[None],
        "subjectim": np.tile(images_of, (SUBJECTS, 1)),
        "stimpattern": pattern,
    }
    path = files.design_path(root)
    path.parent.mkdir(parents=True)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, fields)
    # The first 116 bytes are a free text in which scipy puts the time.
    text = b"MATLAB 5.0 MAT-file, brainkit miniature".ljust(116)
    path.write_bytes(text + buffer.getvalue()[116:])


def write_tables(root: Path, schedule: Schedule) -> None:
    """Write `nsd_stim_info_merged.csv` and `responses.tsv`; nobody pressed buttons."""
    images_of = schedule.subjectim[schedule.order]
    by_image = np.argsort(images_of, kind="stable").reshape(-1, REPEATS) + 1
    shared = set(schedule.subjectim[: schedule.shared].tolist())
    people = [f"subject{number}" for number in range(1, SUBJECTS + 1)]
    header = ["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000"]
    header += ["shared1000", *people]
    header += [f"{person}_rep{repeat}" for person in people for repeat in range(REPEATS)]
    rows: list[list[Any]] = [header]
    for image, trials in enumerate(by_image.tolist()):
        about = [image, _coco_id(image), _split(image), "(0.0, 0.0, 0.0, 0.0)", 0.0, image]
        flags = [False, False, image in shared]
        rows.append([*about, *flags, *[1] * SUBJECTS, *trials * SUBJECTS])
    _write_table(files.stimulus_table_path(root), rows, ",")

    rows = [list(RESPONSE_COLUMNS)]
    places = [
        (run, trial)
        for run, length in enumerate(schedule.run_lengths, start=1)
        for trial in range(1, length + 1)
    ]
    for trial, own in enumerate(schedule.order.tolist()):
        session, place = divmod(trial, schedule.trials_per_session)
        run, within = places[place]
        ids = [SUBJECT, session + 1, run, within, int(images_of[trial]) + 1, own + 1]
        day = f"{session * 7 + 0.5 + place * 4 / 86400:.8f}"
        rows.append([*ids, day, *["NaN"] * 11, 1])
    _write_table(files.responses_path(root, SUBJECT), rows, "\t")


def write_regions(root: Path, anatomy: Anatomy, layout: Layout) -> None:
    """Write the brain mask, every ROI volume (whole, left, right) and its table of names."""
    folder = files.roi_folder(root, SUBJECT, layout.resolution)
    folder.mkdir(parents=True)
    mask = np.zeros(anatomy.volume, np.float32)
    mask[tuple(anatomy.xyz.T)] = 1
    _write_nifti(folder.parent / "brainmask.nii.gz", mask, layout)
    inside = anatomy.area >= 0
    _write_region(root, anatomy, layout, "nsdgeneral", inside.astype(int), {1: "nsdgeneral"})
    for name in VOLUMES:
        of_area = [area.label if area.volume == name else 0 for area in AREAS]
        names = {area.label: area.name for area in AREAS if area.volume == name}
        labels = np.where(inside, np.array(of_area)[anatomy.area], 0)
        _write_region(root, anatomy, layout, name, labels, names)
    names = dict(enumerate((*STREAMS, "parietal"), start=1))
    streams = {area.stream: names[area.stream] for area in AREAS}
    labels = np.where(inside, np.array([area.stream for area in AREAS])[anatomy.area], 0)
    _write_region(root, anatomy, layout, "streams", labels, streams)


def _write_region(
    root: Path, anatomy: Anatomy, layout: Layout, name: str, labels: Labels, names: dict[int, str]
) -> None:
    folder = files.roi_folder(root, SUBJECT, layout.resolution)
    halves = {"": anatomy.left | True, "lh.": anatomy.left, "rh.": ~anatomy.left}
    for prefix, half in halves.items():
        volume = np.full(anatomy.volume, -1.0)
        volume[tuple(anatomy.xyz[half].T)] = labels[half]
        _write_nifti(folder / f"{prefix}{name}.nii.gz", volume, layout)
    table = files.colour_table_paths(root, SUBJECT, name)[0]
    table.parent.mkdir(parents=True, exist_ok=True)
    lines = ["0 Unknown", *(f"{number} {label}" for number, label in sorted(names.items()))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_nifti(path: Path, volume: NDArray[Any], layout: Layout) -> None:
    import nibabel

    affine = np.diag([layout.voxel_size] * 3 + [1.0])
    affine[:3, 3] = [-((size + 1) / 2 - 1) * layout.voxel_size for size in volume.shape]
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm", "sec")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def _write_hdf5(
    path: Path, name: str, array: NDArray[Any], chunks: tuple[int, ...] | None = None
) -> None:
    import h5py

    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset(name, data=array, chunks=chunks, track_times=False)


def _write_table(path: Path, rows: list[list[Any]], delimiter: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def _coco_id(image: int) -> int:
    return 900_001 + 3 * image


def _split(image: int) -> str:
    return "val2017" if image % 10 == 9 else "train2017"
