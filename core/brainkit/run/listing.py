"""Runs as `brainkit runs` lists them: read from small files, whatever state these are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainkit.console import duration
from brainkit.errors import BrainkitError
from brainkit.report import read_metrics
from brainkit.run.config import read_config
from brainkit.run.folder import Folder, found_runs, older
from brainkit.run.made import images_made
from brainkit.run.owner import read_identity
from brainkit.tables import Block, TextTable

MAIN = 3
"""Scores that the table shows: the first ones that have a value."""


@dataclass(frozen=True)
class Listed:
    """One run.

    Attributes:
        folder: where it lies.
        method: its name; "" where that is lost.
        differs: a word for each difference from the method's defaults.
        images: how many are scored; 0 of a run that is not finished.
        more_images: how many have pictures or captions, but are not scored.
        test_images: which those are taken from, in words; "" of a run that is not finished.
        date: when it was scored, as ISO 8601 has it; "" if unknown.
        seconds: that its steps took.
        scores: value by name; None where undefined.
        problem: why less is known, else empty.
    """

    folder: Folder
    method: str = ""
    differs: tuple[str, ...] = ()
    images: int = 0
    more_images: int = 0
    test_images: str = ""
    date: str = ""
    seconds: float = 0.0
    scores: Mapping[str, float | None] = field(default_factory=dict)
    problem: str = ""

    def json(self) -> dict[str, Any]:
        """Return it as an object that JSON can hold."""
        return {
            "name": self.folder.root.name,
            "method": self.method,
            "differs": list(self.differs),
            "subject": self.folder.subject.name,
            "data": self.folder.subject.parent.name,
            "images": self.images,
            "more_images": self.more_images,
            "test_images": self.test_images,
            "date": self.date,
            "seconds": self.seconds,
            "scores": dict(self.scores),
            "problem": self.problem,
            "folder": str(self.folder.root),
        }

    def cells(self) -> tuple[str, ...]:
        """Return it as a row of the table."""
        known = [(name, value) for name, value in self.scores.items() if value is not None]
        scores = "; ".join(f"{name} {value:.3f}" for name, value in known[:MAIN])
        return (
            self.folder.root.name,
            f"{self.folder.subject.parent.name}/{self.folder.subject.name}",
            self.method,
            ", ".join(self.differs) or "-",
            f"{self.images} of {self.images + self.more_images}"
            if self.more_images
            else str(self.images),
            self.date[:16].replace("T", " "),
            duration(self.seconds) if self.seconds else "",
            self.problem or scores,
        )


HEADINGS = ("run", "subject", "method", "differs in", "images", "date", "took", "scores")


def listed(path: Path) -> tuple[list[Listed], list[Path]]:
    """Return the runs in a folder and below, in order, and the folders of an earlier brainkit's."""
    runs, old = found_runs(path)
    return [_listed(folder) for folder in runs], old


def blocks(runs: Sequence[Listed], old: Sequence[Path], path: Path) -> list[Block]:
    """Return what the command prints."""
    shown: list[Block] = []
    if runs:
        shown.append(TextTable(HEADINGS, [run.cells() for run in runs], right={4}))
        shown += _tests(runs)
    elif not old:
        shown.append(f"{path} holds no runs")
    return [*shown, older(old)] if old else shown


def _tests(runs: Sequence[Listed]) -> list[str]:
    """Return which test images the runs' scores are of: runs of different ones do not compare."""
    names: dict[str, list[str]] = {}
    for run in runs:
        if run.test_images:
            names.setdefault(run.test_images, []).append(run.folder.root.name)
    if len(names) < 2:
        return [f"Test images: {tested}." for tested in names]
    return [
        "Scores compare among runs of the same test images only.",
        *(f"{tested}: {', '.join(of)}." for tested, of in names.items()),
    ]


def _listed(folder: Folder) -> Listed:
    told = read_identity(folder)
    differs = told.get("differs")
    known = Listed(
        folder,
        method=str(told.get("method") or _method(folder)),
        differs=tuple(map(str, differs)) if isinstance(differs, list) else (),
        more_images=len(images_made(folder)),
    )
    if not folder.metrics.exists():
        return replace(known, problem="not finished")
    try:
        return _scored(known, read_metrics(folder.metrics))
    except BrainkitError as error:
        problem = str(error)
    except (TypeError, ValueError, LookupError, AttributeError):
        problem = f"{folder.metrics.name} is damaged"
    return replace(known, problem=problem)


def _method(folder: Folder) -> str:
    """Return the method that a run file names; "" if it cannot be read."""
    try:
        return str(read_config(folder.run_file).get("method", ""))
    except BrainkitError:
        return ""


def _scored(known: Listed, metrics: Mapping[str, Any]) -> Listed:
    scored = {int(each["image_id"]) for each in metrics["images"]}
    return replace(
        known,
        method=known.method or str(metrics["method"]),
        images=int(metrics["n_test"]),
        more_images=len(images_made(known.folder) - scored),
        test_images=str(metrics.get("test_images", "")),
        date=str(metrics.get("date", "")),
        seconds=float(metrics.get("seconds") or 0),
        scores={str(each["name"]): _number(each["value"]) for each in metrics["scores"]},
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
