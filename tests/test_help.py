"""Help: commands in groups, examples that are commands, nothing wider than the terminal."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from brainkit.cli import COMMANDS, app
from brainkit.cli.help import examples, first_line
from brainkit.console import LOUDNESS

PROGRAM = get_command(app)
NAMES = [name for group in COMMANDS.values() for name in group]
TOO_WIDE = "  brainkit"  # examples are never wrapped: they could not be pasted


def shown(*words, columns):
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(
        app, [*words, "-h"], prog_name="brainkit"
    )


def test_commands_are_grouped_by_what_one_wants_of_them():
    text = shown(columns=80).stdout
    groups = ["Run:", "Results:", "Weights:", "Data:", "Plugins:"]
    assert [line for line in text.splitlines() if line in groups] == groups
    assert "Commands:" not in text
    assert set(PROGRAM.commands) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_commands_cuts_no_summary_off(name):
    summary = first_line(PROGRAM.commands[name].help)
    assert summary.endswith(".")
    assert summary in " ".join(shown(columns=80).stdout.split())


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("words", [[], *([name] for name in NAMES)], ids=" ".join)
def test_help_is_no_wider_than_the_terminal(words, columns):
    done = shown(*words, columns=columns)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line for line in lines if len(line) > columns and not line.startswith(TOO_WIDE)] == []
    assert done.stdout.isascii()


@pytest.mark.parametrize("name", NAMES)
def test_both_flags_show_one_help(name):
    long = CliRunner().invoke(app, [name, "--help"], prog_name="brainkit")
    assert long.stdout == CliRunner().invoke(app, [name, "-h"], prog_name="brainkit").stdout
    assert "-h, --help" in long.stdout


def every_example():
    texts = [PROGRAM.callback.__doc__, *(PROGRAM.commands[name].callback.__doc__ for name in NAMES)]
    return [line for text in texts for line in examples(text.replace("\n    ", "\n"))]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_an_example_of_itself(name):
    lines = examples(PROGRAM.commands[name].help)
    assert any(line.startswith(f"brainkit {name}") for line in lines)


@pytest.mark.parametrize("line", every_example())
def test_an_example_is_understood_and_fits_a_terminal(line):
    assert len(line) <= 76
    _, name, *words = shlex.split(line)
    # Raises where an option or a value is none.
    PROGRAM.commands[name].make_context(name, words)


@pytest.mark.parametrize(
    ("words", "loudness"),
    [
        (["probe"], "usual"),
        (["-q", "probe"], "quiet"),
        (["probe", "-q"], "quiet"),
        (["-v", "probe"], "verbose"),
        (["probe", "--verbose"], "verbose"),
    ],
)
def test_quiet_and_verbose_stand_before_or_behind_a_command(words, loudness):
    heard = []
    probe = _program_with(lambda: heard.append(LOUDNESS.get()))
    done = CliRunner().invoke(probe, words)
    assert (done.exit_code, heard) == (0, [loudness])
    assert LOUDNESS.get() == "usual"


def _program_with(command):
    import typer

    from brainkit.cli import _everywhere
    from brainkit.cli.help import Command, Commands, everywhere

    program = typer.Typer(cls=Commands, rich_markup_mode=None)
    program.callback()(_everywhere)
    program.command("probe", cls=Command)(everywhere(command))
    return program


@pytest.mark.parametrize("words", [("-q", "-v", "show", "toy"), ("show", "toy", "-q", "-v")])
def test_quiet_and_verbose_exclude_each_other(cli, words):
    assert "--quiet and --verbose exclude each other" in cli(*words, code=2).stderr


def test_quiet_prints_results_alone_and_verbose_says_when(cli, nsd):
    words = ("run", "toy", "--nsd", nsd, "--images", 2, "--no-ceiling", "--work", "w")
    done = cli(*words, "-q")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].endswith("report.html")
    lines = cli(*words, "-v").stderr.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d +[\d.]+ [MG]B  \w", line) for line in lines)
    assert any("features/picture: kept" in line for line in lines)


def test_an_error_is_told_however_quiet(cli):
    assert "no method named 'tpy'" in cli("-q", "run", "tpy", code=2).stderr
