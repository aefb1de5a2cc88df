"""Runs that are set side by side: found by path or name, with their pictures and stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.compare import Comparison, Results, read_results
from brainkit.compare.figure import FigureRow
from brainkit.compare.page import Shown
from brainkit.console import Say
from brainkit.errors import BrainkitError, UsageError, did_you_mean
from brainkit.papers import Published
from brainkit.run.folder import Folder, Source, found_runs
from brainkit.run.shared import Draw

if TYPE_CHECKING:
    from brainkit.plugins import Registry

METRICS = "metrics.json"


def results_of(asked: Sequence[str], work: Path) -> list[Results]:
    """Read the results that are asked for.

    Args:
        asked: a run's folder, a folder of several, a name below `work`, or a `metrics.json`; each
            may begin with a label and "=".
        work: where runs are found by name.

    Raises:
        UsageError: there are none.
        DataError: results cannot be read.
    """
    found = []
    for text in asked:
        label, paths = _named(text, work)
        found += [read_results(path, label) for path in paths]
    return found


def _named(text: str, work: Path) -> tuple[str, list[Path]]:
    # Folders of runs have "=" in their names, so what is there as it stands has no label.
    paths = _paths(text, work)
    label, sign, rest = text.partition("=")
    if not paths and sign and label and rest:
        paths = _paths(rest, work)
        if paths:
            return label, paths
    if not paths:
        runs, _ = found_runs(work)
        names = list(dict.fromkeys(run.root.name for run in runs))
        hint = did_you_mean(text, names) or did_you_mean(rest, names)
        raise UsageError(
            f"{text} is neither results nor a run in {work}; give a run's folder, a "
            f"{METRICS}, or a name that `brainkit runs` lists.{hint}"
        )
    return "", paths


def _paths(text: str, work: Path) -> list[Path]:
    """Return the results of a path or name; empty if there are none."""
    path = Path(text).expanduser()
    if path.is_file():
        return [path]
    if (path / METRICS).is_file():
        return [path / METRICS]
    runs, _ = found_runs(path) if path.is_dir() else found_runs(work)
    named = [run for run in runs if path.is_dir() or run.root.name == text]
    return [run.metrics for run in named if run.metrics.is_file()]


def published_of(comparison: Comparison, registry: Registry) -> list[Published]:
    """Return what was printed for the methods of a comparison, as far as they are installed."""
    names = dict.fromkeys(run.method for column in comparison.columns for run in column.runs)
    known = registry.names("method")
    methods = [registry.get("method", name) for name in names if name in known]
    return [each for method in methods for each in method.published]


def shown(comparison: Comparison, registry: Registry, say: Say) -> Shown:
    """Return stimuli and captions of the first run whose data are here, and all runs' pictures."""
    pictures = {
        run.path: {image: _picture(run, image) for image in comparison.ids}
        for column in comparison.columns
        for run in column.runs
    }
    for column in comparison.columns:
        for run in column.runs:
            try:
                return _stimuli(run, comparison.ids, registry, pictures)
            except (BrainkitError, OSError) as error:
                say(f"stimuli of {run.path.parent} are not shown: {error}")
    return Shown({}, {}, pictures)


def _picture(run: Results, image: int, source: Source = "brain") -> Path | None:
    path = Folder(run.path.parent).picture(source, Draw(image, 1))
    return path if path.is_file() else None


def figure_rows(
    comparison: Comparison, ids: Sequence[int], registry: Registry, say: Say
) -> list[FigureRow]:
    """Return the rows of a figure: stimuli, what true features give of a single run, each run."""
    here = shown(comparison, registry, say)
    truly = {image: str(of[0]) for image, of in here.captions.items() if of}
    runs = [(column.label, run) for column in comparison.columns for run in column.runs]
    said = any(run.captions for _, run in runs)
    rows = [FigureRow("stimulus", here.stimuli, truly if said else {})] if here.stimuli else []
    if len(runs) == 1:
        run = runs[0][1]
        pictures = {image: _picture(run, image, "true") for image in ids}
        if any(pictures.values()):
            rows.append(FigureRow("from true features", pictures, {}))
        runs = [("from brain", run)]
    for label, run in runs:
        whose = f"{label}, {run.subject}" if len(comparison.subjects) > 1 else label
        rows.append(FigureRow(whose, here.pictures[run.path], run.captions))
    return rows


def _stimuli(
    run: Results,
    ids: Sequence[int],
    registry: Registry,
    pictures: dict[Path, dict[int, Path | None]],
) -> Shown:
    from brainkit.nsd import load_captions, load_stimuli
    from brainkit.run.config import config_in
    from brainkit.run.line import made_miniature

    config = config_in(Folder(run.path.parent))
    nsd = config.nsd or made_miniature(config, lambda text: None)
    stimuli = load_stimuli(nsd, ids)
    captions = load_captions(nsd, ids)
    return Shown(
        dict(zip(ids, stimuli, strict=True)), dict(zip(ids, captions, strict=True)), pictures
    )
