"""`report`, `map` and `verify`: of results that are there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainkit.cli.flags import AsJson, ResultsFolder, RunName, home_expanded

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


def runs(
    work: Annotated[
        Path,
        typer.Argument(
            help="Folder of results, or one of a subject in it.  [default: brainkit-runs]",
            show_default=False,
            callback=home_expanded,
        ),
    ] = Path("brainkit-runs"),
    as_json: AsJson = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove shared files that no run needs, after asking.")
    ] = False,
    remove: Annotated[
        str | None, typer.Option(metavar="NAME", help="Remove the run of that name, after asking.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """List runs: what differs from the defaults, images, date, scores.

    Runs of a subject share trials, features, weights, predictions and latents; --prune removes
    those that no run needs any more.

    Examples:
        brainkit runs
        brainkit runs brainkit-runs --json
        brainkit runs --prune
    """
    from brainkit.run.listing import blocks, listed
    from brainkit.tables import show, show_json

    if remove is not None:
        _remove_run(work, remove, yes=yes)
    if prune:
        _prune(work, yes=yes)
    if prune or remove is not None:
        return
    found, old = listed(work)
    if as_json:
        show_json([each.json() for each in found])
    else:
        show(*blocks(found, old, work))


def _remove_run(work: Path, name: str, *, yes: bool) -> None:
    from brainkit.console import tell
    from brainkit.errors import UsageError
    from brainkit.run.finished import chosen_runs
    from brainkit.run.prune import remove_run

    chosen = chosen_runs(work, name, tell)
    if len(chosen) > 1:
        places = ", ".join(str(each.subject) for each in chosen)
        raise UsageError(f"{work} has {len(chosen)} runs {name!r}; name one of {places}")
    if _agreed(f"Remove {chosen[0].root}?", yes=yes):
        remove_run(chosen[0], tell)
        print(f"removed {chosen[0].root}")


def _prune(work: Path, *, yes: bool) -> None:
    from brainkit.console import human_size, tell
    from brainkit.plugins import Registry
    from brainkit.run.prune import prune, spare
    from brainkit.tables import show

    registry = Registry.installed()
    found = spare(work, registry)
    show(*(line for each in found for line in each.lines()))
    number, size = sum(len(each.files) for each in found), sum(each.size for each in found)
    if not number:
        print("nothing to remove")
    elif _agreed(f"Remove these {number} files, {human_size(size)}?", yes=yes):
        print(f"removed {human_size(prune(found, registry, tell))}")


def _agreed(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; elsewhere nobody could answer.

    Raises:
        UsageError: there is no terminal, and --yes was not given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        from brainkit.errors import UsageError

        raise UsageError(f"{question} Nobody is there to answer; give --yes to go ahead")
    return typer.confirm(question, err=True)


def map_voxels(
    work: ResultsFolder,
    name: RunName = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", "-f", help="Which to map. Repeatable.  [default: all]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Map which voxels a run reads each feature from; its weights are enough.

    Prints the mean importance of every named region, and the paths of NIfTI volumes and pictures;
    the report of the run shows them too.

    Examples:
        brainkit map brainkit-runs
        brainkit map brainkit-runs -f clip_image
        brainkit map brainkit-runs --json
    """
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.run.finished import chosen_runs, map_runs
    from brainkit.tables import Verbatim, show, show_json

    runs = chosen_runs(work, name, tell)
    mapped = map_runs(runs, Registry.installed(), asked=feature or (), say=tell)
    if as_json:
        show_json([each.json() for each in mapped])
    else:
        show(*(Verbatim(each.text()) for each in mapped))


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
