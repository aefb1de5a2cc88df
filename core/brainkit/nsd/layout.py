"""The numbers an NSD download is checked against, and how another layout declares its own.

The release's constants are the default. A folder made with other sizes (a fixture, the miniature,
data of one's own) carries `brainkit-layout.toml` in its root; `docs/nsd.md` describes it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from brainkit.errors import DataError, UsageError
from brainkit.names import Subject, unfit_subject
from brainkit.nsd.files import exists, told

LAYOUT_FILE = "brainkit-layout.toml"
OWN_PREPARATION = "betas"
LARGEST_COUNT = 10_000_000
LARGEST_VOLUME = 200_000_000
MOST_SESSIONS = 10_000
Volume = tuple[int, int, int]


@dataclass(frozen=True)
class SubjectLayout:
    """One subject's constants.

    Attributes:
        volume: voxels along X (left to right), Y (back to front) and Z (bottom to top).
        sessions: sessions the subject did in all.
        trials: of each session, in data of one's own; empty where all are of one length.
    """

    volume: Volume
    sessions: int
    trials: tuple[int, ...] = ()


def _release() -> dict[Subject, SubjectLayout]:
    rows = (
        ((81, 104, 83), 40),
        ((82, 106, 84), 40),
        ((81, 106, 82), 32),
        ((85, 99, 80), 30),
        ((79, 97, 78), 40),
        ((85, 113, 83), 32),
        ((78, 95, 81), 40),
        ((80, 103, 78), 30),
    )
    return {number: SubjectLayout(*row) for number, row in enumerate(rows, start=1)}


@dataclass(frozen=True)
class Layout:
    """The sizes of a download; the defaults are those of the release at 1.8 mm.

    Attributes:
        subjects: constants of each subject, by number or name.
        trials_per_session: length of the trial axis of every beta file.
        shared: images seen by all subjects; the first ids of a subject's own numbering.
        stimuli: rows of the picture array and of the stimulus table.
        pixels: height and width of a picture.
        resolution: folder of the volumes, e.g. "func1pt8mm".
        voxel_size: edge of a voxel in millimetres.
        dataset: name of data of one's own, whose design and betas lie as `write_dataset` writes
            them; empty for NSD.
    """

    subjects: Mapping[Subject, SubjectLayout] = field(default_factory=_release)
    trials_per_session: int = 750
    shared: int = 1000
    stimuli: int = 73_000
    pixels: int = 425
    resolution: str = "func1pt8mm"
    voxel_size: float = 1.8
    dataset: str = ""

    def subject(self, subject: Subject) -> SubjectLayout:
        """Return the constants of one subject.

        Raises:
            UsageError: there is no such subject.
        """
        if subject not in self.subjects:
            known = ", ".join(map(str, self.known))
            raise UsageError(f"there is no subject {subject!r}; choose one of {known}")
        return self.subjects[subject]

    @property
    def known(self) -> list[Subject]:
        """The subjects, numbers before names."""
        return sorted(self.subjects, key=lambda each: (isinstance(each, str), each))

    def lengths(self, subject: Subject) -> tuple[int, ...]:
        """Return the number of trials of each session of a subject."""
        of = self.subject(subject)
        return of.trials or (self.trials_per_session,) * of.sessions

    @property
    def n_shared(self) -> int:
        """Images shared by all subjects; 0 in data of one's own, which name their test images."""
        return 0 if self.dataset else self.shared

    @property
    def units(self) -> str:
        """What numbers of the betas are, as `SessionGrid` names it."""
        return "percent" if self.dataset else "int16x300"

    def preparation(self, asked: str) -> str:
        """Return the folder of the betas: the one asked for, or the one of own data."""
        return OWN_PREPARATION if self.dataset else asked


def read_layout(root: Path) -> Layout:
    """Return the layout a download declares, or the release's when it declares none.

    Raises:
        DataError: `brainkit-layout.toml` cannot be read or has wrong entries.
    """
    path = root / LAYOUT_FILE
    if not exists(path):
        return Layout()
    with told(path):
        content = path.read_bytes()
    try:
        return _layout(tomllib.loads(content.decode("utf-8-sig")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is not a layout ({type(error).__name__}: {error}); "
            "compare it with the example in docs/nsd.md, or delete it if this is the real NSD"
        ) from error


def write_layout(root: Path, layout: Layout) -> Path:
    """Write `brainkit-layout.toml` into the root of a download; return its path."""
    lines = [
        f"trials_per_session = {layout.trials_per_session}",
        f"shared = {layout.shared}",
        f"stimuli = {layout.stimuli}",
        f"pixels = {layout.pixels}",
        f'resolution = "{layout.resolution}"',
        f"voxel_size = {layout.voxel_size}",
        *([f"dataset = {json.dumps(layout.dataset)}"] if layout.dataset else []),
    ]
    for name in layout.known:
        subject = layout.subject(name)
        key = json.dumps(name) if isinstance(name, str) else name
        lines += ["", f"[subjects.{key}]", f"volume = {list(subject.volume)}"]
        lines.append(f"sessions = {subject.sessions}")
        if subject.trials:
            lines.append(f"trials = {list(subject.trials)}")
    path = root / LAYOUT_FILE
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _layout(entries: dict[str, Any]) -> Layout:
    unknown = sorted(set(entries) - {each.name for each in fields(Layout)})
    if unknown:
        raise ValueError(f"unknown entry {unknown[0]!r}")
    values = {name: value for name, value in entries.items() if name != "subjects"}
    for name, value in values.items():
        expected = type(getattr(Layout(), name))
        if type(value) is not expected:
            raise TypeError(f"{name} is {value!r}, expected {expected.__name__}")
        if expected is not str and not 0 < value <= LARGEST_COUNT:
            raise ValueError(f"{name} is {value!r}, expected a number from 1 to {LARGEST_COUNT}")
    if "subjects" in entries:
        values["subjects"] = _subjects(entries["subjects"])
        named = [each for each in values["subjects"] if isinstance(each, str)]
        if named and not entries.get("dataset"):
            raise ValueError(f"subject {named[0]!r} has a name, but there is no entry dataset")
    return Layout(**values)


def _subjects(tables: Any) -> dict[Subject, SubjectLayout]:
    if not isinstance(tables, dict) or not tables:
        raise TypeError("subjects has no entry, expected a table [subjects.N] for each subject")
    return {_subject(key): _subject_layout(entries) for key, entries in tables.items()}


def _subject(key: str) -> Subject:
    if key.lstrip("-").isdecimal():
        if int(key) < 1:
            raise ValueError(f"there is a subject {key}, expected numbers from 1")
        return int(key)
    if unfit_subject(key):
        raise ValueError(f"the name of a subject is {unfit_subject(key)}")
    return key


def _subject_layout(entries: dict[str, Any]) -> SubjectLayout:
    x, y, z = (int(size) for size in entries["volume"])
    if min(x, y, z) < 1 or x * y * z > LARGEST_VOLUME:
        raise ValueError(
            f"volume is {entries['volume']}, expected three sizes of 1 or more and at most "
            f"{LARGEST_VOLUME} voxels in all"
        )
    sessions = int(entries["sessions"])
    if not 0 < sessions <= MOST_SESSIONS:
        raise ValueError(f"sessions is {sessions}, expected 1 to {MOST_SESSIONS}")
    trials = tuple(int(number) for number in entries.get("trials", ()))
    if trials and (len(trials) != sessions or min(trials) < 1):
        raise ValueError(f"trials is {list(trials)}, expected {sessions} numbers from 1")
    return SubjectLayout(volume=(x, y, z), sessions=sessions, trials=trials)
