"""Flags and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from brainkit.run.config import about

MethodName = Annotated[
    str, typer.Argument(metavar="METHOD", help="Name of a method, see list-plugins.")
]
OptionTexts = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="ADDRESS=VALUE, e.g. sampler.steps=20. Repeatable."),
]
UseTexts = Annotated[
    list[str] | None,
    typer.Option("--use", help="ADDRESS=NAME: another part there, e.g. regressor=mean."),
]
StoreFolder = Annotated[Path | None, typer.Option("--checkpoints", help=about("checkpoints"))]
ResultsFolder = Annotated[Path, typer.Argument(help="Folder of results, or anything below it.")]
Preset = Annotated[str | None, typer.Option(help=about("preset"))]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
