"""Flags and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from brainkit.cli import completion
from brainkit.options import checked_path
from brainkit.run.config import about


def home_expanded(parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """Return a path that was typed, "~" in it expanded: shells leave `--work=~/x` as it is."""
    if value is None:
        return None
    named = parameter.opts[0]
    # Help shows arguments in capitals.
    return checked_path(value, named if named.startswith("-") else named.upper())


MethodName = Annotated[
    str,
    typer.Argument(
        metavar="METHOD",
        help="Name of a method, see list-plugins.",
        autocompletion=completion.methods,
    ),
]
RunName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="Of one run in that folder; see `runs`.",
        autocompletion=completion.runs,
    ),
]
OptionTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        help="ADDRESS=VALUE, e.g. sampler.steps=20. Repeatable.",
        autocompletion=completion.options,
    ),
]
UseTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--use",
        help="ADDRESS=NAME: another part there, e.g. regressor=mean.",
        autocompletion=completion.uses,
    ),
]
StoreFolder = Annotated[
    Path | None, typer.Option("--checkpoints", help=about("checkpoints"), callback=home_expanded)
]
ResultsFolder = Annotated[
    Path,
    typer.Argument(
        help="Folder of results, one of a subject in it, or a run's own.", callback=home_expanded
    ),
]
Preset = Annotated[
    str | None, typer.Option(help=about("preset"), autocompletion=completion.presets)
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Exit with 1, after the report, if a leak was found or not looked for."
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="A plugin of a single file, while it is written. Repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
