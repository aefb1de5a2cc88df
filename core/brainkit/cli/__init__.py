"""The command line, a module a command. Command bodies import what they need: help stays fast."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from brainkit.cli import data, doctor, plugins, results, run, weights
from brainkit.ending import ended

__all__ = ["app", "main"]

app = typer.Typer(
    name="brainkit",
    help="Turn human brain activity into pictures and captions.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("list-plugins")(plugins.list_plugins)
app.command()(plugins.show)
app.command()(run.run)
app.command()(weights.fetch)
app.command("checkpoints")(weights.checkpoints)
app.command()(results.report)
app.command("map")(results.map_voxels)
app.command()(results.verify)
app.command("check-data")(data.check_data)
app.command()(doctor.doctor)


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage, 128 + n stopped by signal n."""
    with ended(debug="--debug" in sys.argv):
        app()


def _version(wanted: bool) -> None:
    if wanted:
        from brainkit import __version__

        print(f"brainkit {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    """Options of every command."""
