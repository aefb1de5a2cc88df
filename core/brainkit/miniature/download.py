"""Write the simulated subjects exactly as an NSD download lies on disk.

Same paths, formats, number types, axis orders and index bases as the release; the sizes are
declared in `brainkit-layout.toml`. Bytes depend on difficulty and seed alone: no file carries a
time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature.brain import (
    Anatomy,
    lay_out,
    noise_ceilings,
    responses,
    session_betas,
)
from brainkit.miniature.design import (
    Schedule,
    coco_id,
    coco_split,
    make_schedule,
    write_design,
    write_responses,
    write_stimulus_table,
)
from brainkit.miniature.difficulty import Difficulty
from brainkit.miniature.people import FIRST, person
from brainkit.miniature.regions import (
    Brain,
    write_names_of_fsaverage,
    write_regions,
    write_volume,
)
from brainkit.miniature.scenes import SIDE, SUBJECT_SEEDS, Scene, captions, draw, make_scene
from brainkit.nsd import files
from brainkit.nsd.layout import Layout, SubjectLayout, write_layout
from brainkit.nsd.stimuli import load_stimuli

PREPARATION: Final = "betas_fithrf_GLMdenoise_RR"
SEEDS_PER_SUBJECT: Final = 10_000


@dataclass(frozen=True)
class World:
    """Everything that the files of a miniature are written from.

    Attributes:
        difficulty: how hard the first subject is to decode.
        seed: decides the pictures and the people.
        subjects: whose images there are.
    """

    difficulty: Difficulty
    seed: int
    subjects: tuple[int, ...] = (FIRST,)

    @cached_property
    def schedule(self) -> Schedule:
        """Which image each trial of each subject shows."""
        return make_schedule(self.difficulty, self.seed, self.subjects)

    @cached_property
    def layout(self) -> Layout:
        """The sizes of the download."""
        sessions = self.schedule.sessions
        return Layout(
            subjects={
                each: SubjectLayout(self.anatomy(each).volume, sessions) for each in self.subjects
            },
            trials_per_session=self.schedule.trials_per_session,
            shared=self.schedule.shared,
            stimuli=self.schedule.stimuli,
            pixels=SIDE,
        )

    def anatomy(self, subject: int) -> Anatomy:
        """Return where a subject's voxels lie."""
        return lay_out(person(subject, self.difficulty, self.seed).difficulty.voxels)

    def scenes(self, image_ids: Iterable[int]) -> list[Scene]:
        """Return what images show."""
        first = SUBJECT_SEEDS.start + self.seed * SEEDS_PER_SUBJECT
        return [make_scene(first + int(image)) for image in image_ids]


def write_download(root: Path, difficulty: Difficulty, seed: int) -> None:
    """Simulate the first subject and write its download into an empty folder."""
    world = World(difficulty, seed)
    write_common(root, world)
    write_subject(root, world, FIRST)


def write_common(root: Path, world: World) -> None:
    """Write what subjects share into an empty folder: sizes, pictures, captions and design."""
    write_layout(root, world.layout)
    write_stimuli(root, world.scenes(range(world.schedule.stimuli)))
    write_names_of_fsaverage(root)
    write_design(root, world.schedule)
    write_stimulus_table(root, world.schedule)


def write_subject(root: Path, world: World, subject: int, into: Path | None = None) -> None:
    """Simulate one subject and write its files: behaviour, regions, betas.

    Args:
        root: folder in which `write_common` wrote.
        world: the same as there.
        subject: one of the world's.
        into: folder to write into; `root` by default.
    """
    into = into or root
    write_responses(into, world.schedule, subject)
    seed = person(subject, world.difficulty, world.seed).seed
    write_regions(Brain(into, subject, world.anatomy(subject), seed, world.layout))
    images = world.schedule.images(subject).astype(np.int32)
    write_betas(into, world, subject, load_stimuli(root, images))


def write_betas(root: Path, world: World, subject: int, pictures: NDArray[np.uint8]) -> None:
    """Write a subject's betas of every session and `ncsnr.nii.gz`.

    HDF5 as MATLAB left it: int16 (trials, Z, Y, X), a chunk per voxel; 0 outside the brain. NIfTI
    is int16 (X, Y, Z, trials).

    Args:
        root: folder to write into.
        world: what it is written from.
        subject: whose.
        pictures: uint8 (images, height, width, 3), those of the subject by ascending id.
    """
    of = person(subject, world.difficulty, world.seed)
    anatomy, layout = world.anatomy(subject), world.layout
    folder = files.betas_folder(
        root, subject, preparation=PREPARATION, resolution=layout.resolution
    )
    folder.mkdir(parents=True)
    ncsnr = noise_ceilings(anatomy, of.difficulty.noise_ceiling, of.seed)
    volume = np.full(anatomy.volume, np.nan, np.float32)
    volume[tuple(anatomy.xyz.T)] = ncsnr
    write_volume(folder / "ncsnr.nii.gz", volume, layout)
    images = world.schedule.images(subject)
    signal = responses(pictures, world.scenes(images), anatomy, of.seed)
    rows = np.searchsorted(images, world.schedule.shown(subject))
    for session, order in enumerate(rows.reshape(world.schedule.sessions, -1), start=1):
        betas = session_betas(
            signal,
            order,
            ncsnr,
            signal_space_noise=of.difficulty.signal_space_noise,
            seed=(of.seed, session),
        )
        stored = np.zeros((len(order), *reversed(anatomy.volume)), np.int16)
        x, y, z = anatomy.xyz.T
        stored[:, z, y, x] = betas
        _write_session(folder / f"betas_session{session:02d}", stored, world)


def _write_session(stem: Path, stored: NDArray[np.int16], world: World) -> None:
    """Write int16 (trials, Z, Y, X) in the format that the difficulty names."""
    if world.difficulty.format == "nifti":
        series = np.asfortranarray(stored.transpose(3, 2, 1, 0))
        write_volume(stem.with_name(f"{stem.name}.nii.gz"), series, world.layout)
    else:
        path = stem.with_name(f"{stem.name}.hdf5")
        _write_hdf5(path, "betas", stored, chunks=(len(stored), 1, 1, 1))


def write_stimuli(root: Path, scenes: Sequence[Scene]) -> None:
    """Write `nsd_stimuli.hdf5` and COCO's caption files."""
    path = files.stimuli_path(root)
    path.parent.mkdir(parents=True)
    _write_hdf5(path, "imgBrick", np.stack([draw(scene) for scene in scenes]))
    (path.parent / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        chosen = [image for image in range(len(scenes)) if coco_split(image) == split]
        content = {
            "info": {"description": "brainkit's miniature: simulated pictures"},
            "licenses": [],
            "images": [
                {
                    "id": coco_id(image),
                    "file_name": f"{coco_id(image):012d}.png",
                    "height": SIDE,
                    "width": SIDE,
                }
                for image in chosen
            ],
            "annotations": [
                {"image_id": coco_id(image), "id": 10 * image + number, "caption": caption}
                for image in chosen
                for number, caption in enumerate(captions(scenes[image]))
            ],
        }
        target = files.annotation_paths(root, split)[0]
        target.write_text(json.dumps(content), encoding="utf-8")


def _write_hdf5(
    path: Path, name: str, array: NDArray[Any], chunks: tuple[int, ...] | None = None
) -> None:
    import h5py

    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset(name, data=array, chunks=chunks, track_times=False)
