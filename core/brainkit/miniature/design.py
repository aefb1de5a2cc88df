"""Which image each trial shows, and the tables that say so, as NSD's do."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature.difficulty import REPEATS, Difficulty
from brainkit.miniature.people import FIRST, person
from brainkit.nsd import files

Labels = NDArray[np.int64]
RUNS: Final = 12
SUBJECTS: Final = 8
DOUBLE: Final = 6
"""MATLAB's number for the class of arrays of doubles."""
RESPONSE_COLUMNS: Final = (
    *("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT"),
    *("CHANGEMIND", "MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1"),
    *("TOTAL2", "BUTTON", "MISSINGDATA"),
)


@dataclass(frozen=True)
class Schedule:
    """Which image each trial shows.

    Attributes:
        subjectim: int64 (8 subjects, images), 0-based image of each of a subject's own ids, test
            ones first.
        order: int64 (trials,), 0-based own id of each trial, in the order of presentation.
        sessions: number of sessions.
        shared: number of test images.
    """

    subjectim: Labels
    order: Labels
    sessions: int
    shared: int

    @property
    def stimuli(self) -> int:
        """Images that any subject sees."""
        return int(self.subjectim.max()) + 1

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

    def shown(self, subject: int) -> Labels:
        """Return the 0-based image of each of a subject's trials, int64 (trials,)."""
        shown: Labels = self.subjectim[subject - 1][self.order]
        return shown

    def images(self, subject: int) -> Labels:
        """Return the 0-based images that a subject sees, int64 (images,), ascending."""
        return np.sort(self.subjectim[subject - 1])


def make_schedule(
    difficulty: Difficulty, seed: int, subjects: Sequence[int] = (FIRST,)
) -> Schedule:
    """Show every image three times in random order, in up to ten sessions of equal length.

    The first subject sees the first images. Another one sees the same test images in an order of
    its own, and training images that follow those of the subjects before it. Subjects that are not
    named repeat the first one's row.
    """
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(np.repeat(np.arange(difficulty.images), REPEATS))
    fitting = [n for n in range(1, 11) if len(order) % n == 0 and len(order) // n >= 24]
    first = rng.permutation(difficulty.images)
    subjectim = np.tile(first, (SUBJECTS, 1))
    shared, own = first[: difficulty.test_images], np.arange(difficulty.train_images)
    for place, subject in enumerate(each for each in subjects if each != FIRST):
        rng = np.random.default_rng([person(subject, difficulty, seed).seed, 0])
        images = difficulty.images + place * difficulty.train_images + own
        subjectim[subject - 1] = np.concatenate([rng.permutation(shared), rng.permutation(images)])
    return Schedule(subjectim, order, sessions=max(fitting), shared=difficulty.test_images)


def write_design(root: Path, schedule: Schedule) -> None:
    """Write `nsd_expdesign.mat`; all ids are 1-based.

    Like MATLAB it keeps whole numbers of class double in the least of its types that holds them,
    in which SciPy returns them: uint8, uint16 or int32.
    """
    import scipy.io

    sessions, length = schedule.sessions, schedule.trials_per_session
    slots = max(schedule.run_lengths) + 5
    pattern = np.zeros((sessions, RUNS, slots), np.int64)
    for run, trials in enumerate(schedule.run_lengths):
        pattern[:, run, 3 : 3 + trials] = 1
    counts = np.zeros((REPEATS, sessions), np.int64)
    for session, own in enumerate(schedule.order.reshape(sessions, length)):
        shown = np.unique(own, return_counts=True)[1]
        counts[:, session] = [(shown == number).sum() for number in range(1, REPEATS + 1)]
    images_of = schedule.subjectim + 1
    fields = {
        "masterordering": (schedule.order + 1)[None],
        "basiccnt": counts,
        "sharedix": np.sort(images_of[0, : schedule.shared])[None],
        "subjectim": images_of,
        "stimpattern": pattern,
    }
    path = files.design_path(root)
    path.parent.mkdir(parents=True)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {name: _smallest(numbers) for name, numbers in fields.items()})
    path.write_bytes(_of_doubles(buffer.getvalue()))


def _smallest(numbers: Labels) -> NDArray[Any]:
    largest = int(numbers.max())
    dtype = next((each for each in (np.uint8, np.uint16) if largest <= np.iinfo(each).max), None)
    return numbers.astype(dtype or np.int32)


def _of_doubles(content: bytes) -> bytes:
    """Return a MAT-file (version 5, not packed) whose arrays are of class double, without a time.

    An array is a tag of 8 bytes (type, length) and as many bytes, of which the ninth is its class;
    in what type its numbers lie is said elsewhere.
    """
    text = b"MATLAB 5.0 MAT-file, brainkit miniature".ljust(116)
    changed = bytearray(text + content[116:])
    place = 128
    while place < len(changed):
        changed[place + 16] = DOUBLE
        place += 8 + int.from_bytes(changed[place + 4 : place + 8], sys.byteorder)
    return bytes(changed)


def write_stimulus_table(root: Path, schedule: Schedule) -> None:
    """Write `nsd_stim_info_merged.csv`."""
    numbers = range(1, SUBJECTS + 1)
    presented = np.zeros((schedule.stimuli, SUBJECTS, REPEATS), np.int64)
    for number in numbers:
        shown = schedule.shown(number)
        trials = np.argsort(shown, kind="stable").reshape(-1, REPEATS)
        presented[shown[trials[:, 0]], number - 1] = trials + 1
    shared = set(schedule.subjectim[0, : schedule.shared].tolist())
    header = ["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000"]
    header += ["shared1000", *(f"subject{number}" for number in numbers)]
    header += [f"subject{number}_rep{repeat}" for number in numbers for repeat in range(REPEATS)]
    rows: list[list[Any]] = [header]
    for image, trials in enumerate(presented):
        about = [image, coco_id(image), coco_split(image), "(0.0, 0.0, 0.0, 0.0)", 0.0, image]
        flags = [False, False, image in shared, *(trials[:, 0] > 0).astype(int).tolist()]
        rows.append([*about, *flags, *trials.ravel().tolist()])
    _write_table(files.stimulus_table_path(root), rows, ",")


def write_responses(root: Path, schedule: Schedule, subject: int) -> None:
    """Write a subject's `responses.tsv`; nobody pressed buttons."""
    rows: list[list[Any]] = [list(RESPONSE_COLUMNS)]
    places = [
        (run, trial)
        for run, length in enumerate(schedule.run_lengths, start=1)
        for trial in range(1, length + 1)
    ]
    images = schedule.shown(subject).tolist()
    for trial, (own, image) in enumerate(zip(schedule.order.tolist(), images, strict=True)):
        session, place = divmod(trial, schedule.trials_per_session)
        day = f"{session * 7 + 0.5 + place * 4 / 86400:.8f}"
        ids = [subject, session + 1, *places[place], image + 1, own + 1]
        rows.append([*ids, day, *["NaN"] * 11, 1])
    _write_table(files.responses_path(root, subject), rows, "\t")


def coco_id(image: int) -> int:
    """Return the id that captions know an image by."""
    return 900_001 + 3 * image


def coco_split(image: int) -> str:
    """Return the half of COCO that an image is of: every tenth is of val2017."""
    return "val2017" if image % 10 == 9 else "train2017"


def _write_table(path: Path, rows: list[list[Any]], delimiter: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
