"""`report`, `map` and `verify`: of results that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brainkit.cli.flags import AsJson, ResultsFolder, RunName

if TYPE_CHECKING:
    from brainkit.run.folder import Folder
    from brainkit.schema import ReportEntry


def report(work: ResultsFolder, name: RunName = None, as_json: AsJson = False) -> None:
    """Write the report of a finished run again and print its path.

    Examples:
        brainkit report brainkit-runs
        brainkit report brainkit-runs --json
    """
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.run.finished import chosen_runs, rewritten
    from brainkit.run.folder import Folder
    from brainkit.tables import Verbatim, show, show_json

    paths = rewritten(chosen_runs(work, name, tell), Registry.installed(), tell)
    if as_json:
        show_json([report_entry(Folder(path.parent)) for path in paths])
    else:
        show(*(Verbatim(str(path)) for path in paths))


def report_entry(folder: Folder) -> ReportEntry:
    """Return where a report and its scores lie, for programs."""
    return {
        "folder": str(folder.root),
        "report": str(folder.report),
        "metrics": str(folder.metrics),
    }


def map_voxels(
    work: ResultsFolder,
    name: RunName = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", "-f", help="Which to map. Repeatable.  [default: all]"),
    ] = None,
) -> None:
    """Map which voxels a run reads each feature from; its weights are enough.

    Prints the mean importance of every named region, and the paths of NIfTI volumes and pictures;
    the report of the run shows them too.

    Examples:
        brainkit map brainkit-runs
        brainkit map brainkit-runs -f clip_image
    """
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.run.finished import chosen_runs, map_runs

    runs = chosen_runs(work, name, tell)
    for text in map_runs(runs, Registry.installed(), asked=feature or (), say=tell):
        print(text)


def verify(work: ResultsFolder, name: RunName = None, as_json: AsJson = False) -> None:
    """Read all files of results; compare each with what was written.

    A run looks at sizes and times only. Damaged files are listed: delete them, and the run that
    made them makes them again. Exit code 1 if there are any.

    Examples:
        brainkit verify brainkit-runs
        brainkit verify brainkit-runs --json
    """
    from brainkit.console import tell
    from brainkit.run.finished import chosen_runs
    from brainkit.run.verification import verify
    from brainkit.tables import show, show_json

    folder = work if name is None else chosen_runs(work, name, tell)[0].root
    verification = verify(folder)
    if as_json:
        show_json(verification.json())
    else:
        show(*verification.blocks())
    if verification.damaged:
        raise typer.Exit(1)
