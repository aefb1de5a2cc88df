"""`report`, `map` and `verify`: of results that are there."""

from __future__ import annotations

from typing import Annotated

import typer

from brainkit.cli.flags import AsJson, ResultsFolder


def report(work: ResultsFolder) -> None:
    """Write the report of a finished run again and print its path.

    Examples:
        brainkit report brainkit-runs
    """
    from brainkit.plugins import Registry
    from brainkit.run.finished import rewritten

    for path in rewritten(work, Registry.installed()):
        print(path)


def map_voxels(
    work: ResultsFolder,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", "-f", help="Which to map. Repeatable.  [default: all]"),
    ] = None,
) -> None:
    """Map which voxels a finished run reads each feature from.

    Prints the mean importance of every named region, and the paths of NIfTI volumes and pictures;
    the report of the run shows them too.

    Examples:
        brainkit map brainkit-runs
        brainkit map brainkit-runs -f clip_image
    """
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.run.finished import map_runs

    for text in map_runs(work, Registry.installed(), asked=feature or (), say=tell):
        print(text)


def verify(work: ResultsFolder, as_json: AsJson = False) -> None:
    """Read all files of results; compare each with what was written.

    A run looks at sizes and times only. Damaged files are listed: delete them, and the run that
    made them makes them again. Exit code 1 if there are any.

    Examples:
        brainkit verify brainkit-runs
        brainkit verify brainkit-runs --json
    """
    from brainkit.run.verification import verify
    from brainkit.tables import show, show_json

    verification = verify(work)
    if as_json:
        show_json(verification.json())
    else:
        show(*verification.blocks())
    if verification.damaged:
        raise typer.Exit(1)
