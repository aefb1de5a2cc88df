"""Turn files of a lab into a dataset: what `brainkit import-data` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError, UsageError
from brainkit.nsd.files import Subject
from brainkit.nsd.own.arrays import (
    NIFTI,
    SessionFiles,
    SomeTrials,
    expanded,
    grouped,
    open_image,
    read_array,
    read_volume,
    split_name,
)
from brainkit.nsd.own.recording import Recording
from brainkit.nsd.own.tables import (
    TABLES,
    images_of_sessions,
    read_captions,
    read_names,
    sessions_told,
)
from brainkit.nsd.own.write import add_subject, write_dataset


@dataclass(frozen=True)
class Sources:
    """The files of one subject, as a user names them.

    Attributes:
        betas: files, each FILE or FILE:DATASET, a folder or a pattern; those whose names tell one
            session are joined.
        trials: tables of what was shown, likewise: of each file of betas, each session, or one of
            all.
        mask: a volume, above 0 where voxels are taken.
        regions: volumes of labels by name.
        axes: of betas that are no NIfTI, as of `SessionFiles`.
        image_column: of the tables; told by its name by default.
    """

    betas: Sequence[str]
    trials: Sequence[str]
    mask: Path | None = None
    regions: Mapping[str, Path] = field(default_factory=dict)
    axes: str = ""
    image_column: str = ""

    def recording(self, subject: Subject) -> Recording:
        """Read all that is small, and open the betas.

        Raises:
            DataError: a file is missing or damaged, or counts contradict each other.
            UsageError: a format, axis or column is not known.
        """
        if not self.betas or not self.trials:
            raise UsageError("give --betas and --trials, at least one file of each")
        betas, trials = expanded(self.betas), expanded(self.trials, TABLES)
        groups = grouped(betas)
        sessions = [SessionFiles(group, self.axes) for group in groups]
        lengths = [each.shape[-1 if len(each.shape) == 4 else 0] for each in sessions]
        tables = grouped(trials)
        if len(tables) != len(groups) and len(trials) == len(betas):
            tables = [trials[place : place + 1] for place in range(len(betas))]
        paths = [[Path(each) for each in group] for group in tables]
        images = images_of_sessions(paths, lengths, self.image_column)
        parted: Sequence[Any] = sessions
        if len(sessions) == 1:
            parts = sessions_told(paths[0], self.image_column)
            # Of other counts the recording itself tells.
            if parts[1:] and sum(map(len, parts)) == lengths[0]:
                parted = [SomeTrials(sessions[0], rows) for rows in parts]
                images = [[images[0][row] for row in rows] for rows in parts]
                groups = groups * len(parts)
        return Recording(
            subject,
            parted,
            images,
            mask=None if self.mask is None else read_volume(self.mask),
            regions={name: read_volume(path) for name, path in self.regions.items()},
            affine=self._affine(),
            source=[group[0] for group in groups],
        )

    def _affine(self) -> NDArray[Any] | None:
        """Return the affine of the first volume named, of the mask before betas and regions."""
        named = [*([self.mask] if self.mask else []), split_name(expanded(self.betas)[0])[0]]
        volumes = [path for path in (*named, *self.regions.values()) if path.name.endswith(NIFTI)]
        return None if not volumes else np.asarray(open_image(volumes[0]).affine, np.float64)


def import_subject(
    root: Path,
    subject: Subject,
    sources: Sources,
    *,
    stimuli: Path | None = None,
    captions: Path | None = None,
    test: Path | float = 0.1,
    seed: int = 0,
    name: str = "own",
    pixels: int | None = None,
) -> Path:
    """Write a new dataset with one subject, or add the subject to one that is there.

    Args:
        root: folder of the dataset.
        subject: its name or number.
        sources: its files.
        stimuli: folder of pictures, or a file with an array (images, height, width, 3); of a new
            dataset only.
        captions: table or JSON; of a new dataset only.
        test: file that names the test images, or the share of all pictures drawn for them.
        seed: of that draw.
        name: of the dataset.
        pixels: height and width that pictures are brought to.

    Raises:
        UsageError: what a new dataset needs is missing, or was given for one that is there.
        DataError: files are damaged or contradict each other.
        UnwritableError: the folder cannot be written.
    """
    there = root.is_dir() and any(root.iterdir())
    if there and (stimuli or captions):
        raise UsageError(
            f"{root} has pictures and captions already; leave out --stimuli and --captions to add "
            "a subject, or name another folder"
        )
    if not there and stimuli is None:
        raise UsageError(f"{root} is not there yet, so give --stimuli, a folder of pictures")
    if stimuli and not stimuli.exists():
        raise UsageError(f"there is no {stimuli}; give --stimuli a folder of pictures")
    recording = sources.recording(subject)
    if there:
        return add_subject(root, recording)
    assert stimuli is not None
    return write_dataset(
        root,
        [recording],
        stimuli if stimuli.is_dir() else _pictures(stimuli),
        captions=read_captions(captions) if captions else None,
        test=test if isinstance(test, float) else read_names(test),
        seed=seed,
        name=name,
        pixels=pixels,
    )


def _pictures(path: Path) -> NDArray[Any]:
    array = read_array(str(path))
    if array.ndim != 4 or array.dtype != np.uint8:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}, expected uint8 (images, height, width, 3), "
            "or a folder of pictures"
        )
    return array
