"""The command line, a module a command. Command bodies import what they need: help stays fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from brainkit.cli import (
    authors,
    compare,
    data,
    doctor,
    evaluate,
    importing,
    plugins,
    results,
    run,
    weights,
)
from brainkit.cli.completion import asked_by_bash
from brainkit.cli.help import Command, Commands, Debug, Quiet, Verbose, everywhere
from brainkit.console import told
from brainkit.ending import ended

__all__ = ["COMMANDS", "app", "main"]

Group = Mapping[str, Callable[..., None]]
COMMANDS: Mapping[str, Group] = {
    "Run": {"run": run.run},
    "Results": {
        "evaluate": evaluate.evaluate,
        "runs": results.runs,
        "compare": compare.compare,
        "figure": compare.figure,
        "report": results.report,
        "map": results.map_voxels,
        "verify": results.verify,
    },
    "Weights": {"fetch": weights.fetch, "checkpoints": weights.checkpoints},
    "Data": {"check-data": data.check_data, "import-data": importing.import_data},
    "Plugins": {
        "list-plugins": plugins.list_plugins,
        "show": plugins.show,
        "new-plugin": authors.new_plugin,
        "check-plugin": authors.check_plugin,
        "doctor": doctor.doctor,
    },
}
"""Every command by what one wants of it, in the order of the help."""

app = typer.Typer(
    name="brainkit",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, cls=Command, rich_help_panel=group)(everywhere(command))


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage, 128 + n stopped by signal n."""
    with ended(debug="--debug" in sys.argv), asked_by_bash():
        app()


def _version(wanted: bool) -> None:
    if wanted:
        from brainkit import __version__

        print(f"brainkit {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Turn human brain activity into pictures and captions.

    -q, -v and --debug are of every command and may stand before or behind its name.

    Examples:
        brainkit run unibrain
        brainkit run unibrain --nsd ~/nsd --subject 1 --work results
        brainkit fetch unibrain --dry-run
        brainkit show unibrain
    """
    context.with_resource(told(quiet=quiet, verbose=verbose))
