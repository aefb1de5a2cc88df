"""The command line, a module a command. Command bodies import what they need: help stays fast."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from brainkit.cli import data, doctor, plugins, results, run, weights
from brainkit.console import to_stderr, warned
from brainkit.errors import BrainkitError, BrainkitWarning

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
app.command("check-data")(data.check_data)
app.command()(doctor.doctor)

STOPPED = 130
"""Exit code after an interrupt, as shells have it."""


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    debug = "--debug" in sys.argv
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", BrainkitWarning)
            warnings.showwarning = warned(every=debug)
            app()
    except BrainkitError as error:
        if debug:
            raise
        to_stderr(f"Error: {error}")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as left:
        # typer turns an interrupt into a silent exit
        if isinstance(left, SystemExit) and left.code != STOPPED:
            raise
        to_stderr("Stopped; run the same command again to go on from here.")
        sys.exit(STOPPED)
    except BrokenPipeError:
        # Whoever read has gone; what Python would still write at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


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
