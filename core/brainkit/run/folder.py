"""Where each file of a run lies, and who holds the folder: the table of docs/run.md in code.

No other module spells a path of a run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from brainkit.console import Say
from brainkit.errors import enumerated
from brainkit.locks import locked
from brainkit.names import Subject, subject_name

if TYPE_CHECKING:
    from brainkit.run.shared import Draw

Control = Literal["noise", "other-subject", "text-only", "image-only"]
"""What predicted features are replaced by, all or some, where that is asked for."""
Source = Literal["brain", "true", "null"] | Control
"""What reconstructions are made from: predicted features, those of the stimuli themselves, the
training mean, or a control."""
RUN_FILE = "run.toml"
REMEDY = "with --work"
"""How to name another folder for results, for messages."""
RUNS = "runs"
"""The folder of a subject that holds a folder for each run."""
LOCKS = ".locks"
"""The folder of the locks of a folder's files."""
SHARED = ("features", "mean", "noise", "weights", "decoded", "latents")
"""Folders of a subject with files that runs share."""
SUBJECT = re.compile(r"subj\d\d")
PICTURE = re.compile(r"nsd(\d+)(-\d+)?\.png")
"""The name of a draw's picture, with the image's id."""


@dataclass(frozen=True)
class Data:
    """Whose data a run reads, told by their content.

    Attributes:
        name: of their folder: "miniature", or the name of an NSD folder and digits of the key.
        key: hex digits of what the data are, wherever they lie.
    """

    name: str
    key: str


@dataclass(frozen=True)
class Folder:
    """The files of one run on one subject.

    Attributes:
        root: the run's own folder, `<work>/<data>/subj01/runs/<name>`; files that runs share lie in
            the subject's folder, with their stamp in the name.
    """

    root: Path

    @classmethod
    def of(cls, subject: Path, name: str) -> Folder:
        """Return the files of a subject's run of that name."""
        return cls(subject / RUNS / name)

    @property
    def subject(self) -> Path:
        """The folder of the subject, which all runs share."""
        return self.root.parent.parent

    @property
    def shared(self) -> list[Path]:
        """The folders of the subject that hold files which runs share."""
        return [self.subject / name for name in SHARED]

    @property
    def others(self) -> list[Path]:
        """The folders of the subject's other runs."""
        return [path for path in self.root.parent.glob("*") if path != self.root]

    @property
    def work(self) -> Path:
        """The folder that was named by --work."""
        return self.subject.parent.parent

    def trials(self, stamp: str) -> Path:
        """Return where betas lie."""
        return self._shared("trials", stamp)

    def facts(self, trials: Path) -> Path:
        """Return where an earlier brainkit kept the sessions and warnings of trials."""
        return trials.with_suffix(".json")

    def factor(self, stamp: str) -> Path:
        """Return where lies what a regressor learns from the betas alone."""
        return self._shared("factor", stamp)

    def features(self, feature: str, stamp: str) -> Path:
        """Return where a feature of all stimuli lies."""
        return self._shared(f"features/{feature}", stamp)

    def leaks(self, stamp: str) -> Path:
        """Return where lies which test images are among the training images."""
        return self.subject / f"leaks-{stamp}.json"

    def clusters(self, stamp: str) -> Path:
        """Return where lies which images look alike, and which of them are held out."""
        return self.subject / f"clusters-{stamp}.json"

    def weights(self, feature: str, stamp: str) -> Path:
        """Return where lies what a regressor learned of a feature."""
        return self._shared(f"weights/{feature}", stamp)

    def decoded(self, feature: str, stamp: str) -> Path:
        """Return where the predictions of a feature lie."""
        return self._shared(f"decoded/{feature}", stamp)

    def mean(self, feature: str, stamp: str) -> Path:
        """Return where the mean of a feature over the training trials lies."""
        return self._shared(f"mean/{feature}", stamp)

    def noise(self, feature: str, stamp: str) -> Path:
        """Return where noise in place of the predictions of a feature lies."""
        return self._shared(f"noise/{feature}", stamp)

    def latent(self, output: str, stamp: str, draw: Draw) -> Path:
        """Return where the latent of an output, "image" or "caption", of one draw lies.

        Args:
            output: which.
            stamp: of what is the same for all draws.
            draw: which image's and sample's.
        """
        return self.subject / "latents" / f"{output}-{stamp}" / f"{draw.name}.safetensors"

    def pictures(self, source: Source) -> Path:
        """Return the folder of all draws' pictures."""
        return self._of(source) / "images"

    def picture(self, source: Source, draw: Draw) -> Path:
        """Return where one draw's picture lies."""
        return self.pictures(source) / f"{draw.name}.png"

    @property
    def pictured(self) -> set[int]:
        """The ids of the images of which there is a picture from the brain, scored or not."""
        names = (path.name for path in self.pictures("brain").glob("nsd*.png"))
        return {int(found[1]) for name in names if (found := PICTURE.fullmatch(name))}

    def captions(self, source: Source) -> Path:
        """Return where the captions of all draws lie."""
        return self._of(source) / "captions.jsonl"

    def strip(self, draw: Draw) -> Path:
        """Return where the picture of a sampler's way to one draw lies."""
        return self.root / "paths" / f"{draw.name}.png"

    def map(self, feature: str, ending: str) -> Path:
        """Return where a file of a feature's maps lies, e.g. ending in "-weight.nii.gz"."""
        return self.root / "maps" / f"{feature}{ending}"

    @property
    def metrics(self) -> Path:
        """Where the scores lie."""
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        """Where the report lies."""
        return self.root / "report.html"

    @property
    def run_file(self) -> Path:
        """Where every setting of the run lies."""
        return self.root / RUN_FILE

    @property
    def identity(self) -> Path:
        """Where lies whose folder this is."""
        return self.root / "identity.json"

    def _shared(self, name: str, stamp: str) -> Path:
        return self.subject / f"{name}-{stamp}.safetensors"

    def _of(self, source: Source) -> Path:
        return self.root if source == "brain" else self.root / source


def sanitised(text: str) -> str:
    """Return a text as part of a file's name: what shells or disks may trip over is "_".

    >>> sanitised("regressor.alpha=1e4"), sanitised("a b/c")
    ('regressor.alpha=1e4', 'a_b_c')
    """
    return re.sub(r"[^A-Za-z0-9._=+-]+", "_", text)[:40]


def subject_folder(work: Path, data: Data, weights: str, subject: Subject) -> Path:
    """Return the folder of one subject's runs; no two data or kinds of weights share one.

    Data that were moved, so that their name is another one, keep the folder they had.

    Args:
        work: what the user named.
        data: whose.
        weights: their kind where it is not the usual one of the data, else empty.
        subject: its number or name.
    """
    ending = f"-{weights}" if weights else ""
    folder = work / f"{data.name}{ending}"
    if data.name.endswith(f"-{data.key}") and not folder.is_dir():
        had = sorted(path for path in work.glob(f"*-{data.key}{ending}") if path.is_dir())
        folder = had[0] if had else folder
    return folder / subject_name(subject)


def found_runs(path: Path) -> tuple[list[Folder], list[Path]]:
    """Find the runs in a folder and below, in order, and those that an earlier brainkit made.

    Args:
        path: a work folder or one above it, that of data or of a subject, or a run's own.

    Returns:
        folders that hold a run file, and older ones, whose subject's folder they lie in.
    """
    runs, old = [], []
    # Of a folder with a run file nothing below it is of interest, nor are files that runs share.
    for folder, below, names in os.walk(os.path.abspath(path)):
        here = Path(folder)
        below[:] = [] if RUN_FILE in names else sorted(below)
        if RUNS in below:
            below[:] = [name for name in below if name not in SHARED]
        if RUN_FILE in names and here.parent.name == RUNS:
            runs.append(Folder(here))
        elif RUN_FILE in names and SUBJECT.fullmatch(here.parent.name):
            old.append(here)
    return runs, old


def work_of(run_file: Path) -> Path | None:
    """Return the work folder that a run file lies in; None if it is in no folder of a run."""
    root = run_file.parent
    inside = root.parent.name == RUNS and run_file.name == RUN_FILE
    return Folder(root).work if inside else None


def older_runs(folder: Folder, weights: str) -> list[Path]:
    """Return the runs of the same subject that an earlier brainkit made.

    Args:
        folder: of a run.
        weights: their kind where it is not the usual one of the data, else empty.
    """
    # Whatever an NSD folder was called, its runs lay in one folder.
    before = folder.work / f"nsd{f'-{weights}' if weights else ''}" / folder.subject.name
    places = {folder.subject, before}
    return sorted(path.parent for place in places for path in place.glob(f"*/{RUN_FILE}"))


def older(runs: Sequence[Path]) -> str:
    """Say in a sentence that runs are of an earlier brainkit."""
    are, names = "are runs" if len(runs) > 1 else "is a run", enumerated(list(map(str, runs)))
    return (
        f"{names} {are} of an earlier brainkit, which kept one run a method: left as it was and "
        "passed over; the same `brainkit run` makes it anew"
    )


def lock_of(path: Path) -> Path:
    """Return the lock of a file of results, which whoever makes or removes the file holds."""
    return path.parent / LOCKS / f"{path.name}.lock"


@contextmanager
def held(folder: Path, say: Say) -> Iterator[None]:
    """Hold a folder for this process; when another one does, say who and wait.

    Raises:
        BrainkitError: as of `locked`.
    """
    with locked(folder / ".lock", str(folder), say, remedy=REMEDY):
        yield
