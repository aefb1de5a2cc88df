"""`check-data`: what a download has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainkit.cli.flags import AsJson, home_expanded


def check_data(
    path: Annotated[
        Path,
        typer.Argument(help="Folder of an NSD download, or of own data.", callback=home_expanded),
    ],
    subject: Annotated[
        str | None, typer.Option(help="Number or name.  [default: all there are]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what an NSD download, or data of your own, has, lacks and contradicts.

    Exits with 1 when it cannot be used.

    Examples:
        brainkit check-data ~/nsd
        brainkit check-data ~/nsd --subject 1 --json
    """
    from brainkit.nsd import check_data as check
    from brainkit.tables import show, show_json

    number = int(subject) if subject and subject.isdecimal() else subject
    findings = check(path, number)
    if as_json:
        show_json(findings.json())
    else:
        show(*findings.blocks())
    if findings.contradictions or not findings.present:
        raise typer.Exit(1)
