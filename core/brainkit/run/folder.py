"""Where each file of a run lies, and who holds the folder: the table of docs/run.md in code.

No other module spells a path of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from brainkit.console import Say
from brainkit.locks import locked

if TYPE_CHECKING:
    from brainkit.run.shared import Draw

Source = Literal["brain", "true"]
"""What reconstructions are made from: predicted features, or those of the stimuli themselves."""
SOURCES: tuple[Source, ...] = ("brain", "true")
USUAL = {"miniature": "miniature", "nsd": "released"}
"""The weights that data are run with unless others are asked for."""
RUN_FILE = "run.toml"


@dataclass(frozen=True)
class Folder:
    """The files of one method's run on one subject.

    Attributes:
        root: the method's own folder, `<work>/<data>/subj01/<method>`; files that methods share lie
            beside it, with their stamp in the name.
    """

    root: Path

    @property
    def subject(self) -> Path:
        """The folder of the subject, which all methods share."""
        return self.root.parent

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

    def weights(self, feature: str) -> Path:
        """Return where lies what a regressor learned of a feature."""
        return self.root / "weights" / f"{feature}.safetensors"

    def decoded(self, feature: str) -> Path:
        """Return where the predictions of a feature lie."""
        return self.root / "decoded" / f"{feature}.safetensors"

    def latent(self, source: Source, output: str, draw: Draw) -> Path:
        """Return where the latent of an output, "image" or "caption", of one draw lies."""
        return self._of(source) / "latents" / output / f"{draw.name}.safetensors"

    def picture(self, source: Source, draw: Draw) -> Path:
        """Return where one draw's picture lies."""
        return self._of(source) / "images" / f"{draw.name}.png"

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

    def _shared(self, name: str, stamp: str) -> Path:
        return self.subject / f"{name}-{stamp}.safetensors"

    def _of(self, source: Source) -> Path:
        return self.root if source == "brain" else self.root / "true"


def subject_folder(work: Path, data: str, networks: str, subject: int) -> Path:
    """Return the folder of one subject's runs; no two kinds of data or weights share one.

    Args:
        work: what the user named.
        data: "miniature" or "nsd".
        networks: whose weights; the usual ones of the data are not named.
        subject: 1 to 8.
    """
    kind = data if networks == USUAL[data] else f"{data}-{networks}"
    return work / kind / f"subj{subject:02d}"


def run_files(work: Path) -> list[Path]:
    """Return the run files in a folder and below, in order."""
    return sorted(work.rglob(RUN_FILE)) if work.is_dir() else []


def work_of(run_file: Path) -> Path:
    """Return the work folder that a run file lies in, as `subject_folder` takes it."""
    # Four levels up: the method's folder, the subject's, that of the data, the work folder.
    above = run_file.parents if len(run_file.parents) > 3 else run_file.resolve().parents
    return above[3]


@contextmanager
def held(folder: Path, say: Say) -> Iterator[None]:
    """Hold a folder for this process; when another one does, say who and wait.

    Raises:
        BrainkitError: as of `locked`.
    """
    with locked(folder / ".lock", str(folder), say, remedy="with --work"):
        yield
