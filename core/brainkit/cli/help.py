"""How help is laid out: commands in groups, examples last, as wide as the terminal and no wider."""

from __future__ import annotations

from functools import partial, wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from brainkit.console import told, width

if TYPE_CHECKING:
    from collections.abc import Callable

NARROW = 60
"""Columns below which an option's help begins on a line of its own."""
EXAMPLES = "\n\nExamples:\n"
"""Begins the part of a command's docstring that is shown as it is written, below the options."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors, warnings and results.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Time and memory with each line; what libraries warn of, too."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")]


class Commands(TyperGroup):
    """The program: its commands are listed in groups by what one wants of them."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Return the context, which says how wide help is; those of commands inherit it."""
        columns = max(20, min(width() or 80, 80) - 2)
        return super().make_context(info_name, args, parent, terminal_width=columns, **extra)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write options and commands."""
        super().format_options(ctx, _fitted(formatter))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each group of commands with the first line of their help, nothing cut off."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                group = str(getattr(command, "rich_help_panel", None) or "Others")
                groups.setdefault(group, []).append((name, first_line(command.help)))
        widest = max(len(name) for name in self.commands)
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(widest), text) for name, text in rows])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples below everything else."""
        _write_examples(self.help, formatter)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the program is for."""
        _write_text(self.help, formatter)


class Command(TyperCommand):
    """A command whose docstring may end in examples, which are never wrapped."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        super().format_options(ctx, _fitted(formatter))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples below the options."""
        _write_examples(self.help, formatter)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does."""
        _write_text(self.help, formatter)


def first_line(text: str | None) -> str:
    """Return the first line of a docstring."""
    return (text or "").strip().partition("\n")[0]


def examples(text: str | None) -> list[str]:
    """Return the lines of a docstring's examples; [] when it has none.

    >>> examples("Do it." + EXAMPLES + "    brainkit do it")
    ['brainkit do it']
    """
    return [line.strip() for line in (text or "").partition(EXAMPLES)[2].strip().splitlines()]


def _fitted(formatter: Any) -> Any:
    """Return a formatter that leaves the help of options room where a terminal is narrow."""
    if formatter.width < NARROW:
        formatter.write_dl = partial(formatter.write_dl, col_max=formatter.width // 3)
    return formatter


def _write_text(text: str | None, formatter: Any) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text((text or "").partition(EXAMPLES)[0])


def _write_examples(text: str | None, formatter: Any) -> None:
    lines = examples(text)
    if lines:
        with formatter.section("Examples"):
            # A command that was wrapped could not be pasted.
            formatter.write("".join(f"  {line}\n" for line in lines))


def everywhere(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that also takes what every command takes: -q, -v and --debug."""

    @wraps(command)
    def louder(*given: Any, quiet: bool, verbose: bool, debug: bool, **named: Any) -> Any:
        with told(quiet=quiet, verbose=verbose):
            return command(*given, **named)

    own = signature(command, eval_str=True)
    shared = {"quiet": Quiet, "verbose": Verbose, "debug": Debug}
    added = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in shared.items()
    ]
    parameters = [*own.parameters.values(), *added]
    louder.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    louder.__annotations__ = {each.name: each.annotation for each in parameters}
    return louder
