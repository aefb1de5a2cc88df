"""Tables and paragraphs: as wide as the terminal, no word broken, plain where nobody looks."""

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainkit.console import width, wrapped
from brainkit.tables import TextTable, Title, Verbatim, laid_out, show

ROWS = [
    ("clip-vit-l14", "missing", "1.7 GB", "minddiffuser, takagi, unibrain"),
    ("efficientnet-b1-v1", "damaged", "", "scores"),
]
TABLE = TextTable(("checkpoint", "state", "size", "needed by"), ROWS, {2}, {"damaged": "red"})
PATH = "/a/very/long/path/that/nobody/wants/broken/into/two/because/it/is/pasted"
BLOCKS = [Title("weights"), "a paragraph of some words, and more than one line of them", TABLE]
WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9)
CELLS = st.lists(WORDS, max_size=5).map(" ".join)


class Terminal(io.StringIO):
    """What is printed on a terminal."""

    def isatty(self):
        return True


def on_terminal(monkeypatch, columns=80):
    """Return what the blocks look like on a terminal, escapes included."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Terminal())
        patch.setenv("COLUMNS", str(columns))
        show(*BLOCKS)
        return sys.stdout.getvalue()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_what_is_laid_out_fits_and_keeps_every_word(columns):
    text = laid_out([*BLOCKS, PATH], columns)
    lines = text.splitlines()
    assert [line for line in lines if len(line) > columns and line.strip() != PATH] == []
    assert [line for line in lines if line != line.rstrip()] == []
    cells = [cell for row in ROWS for cell in row]
    assert set(" ".join(cells).split()) <= set(text.split())
    assert PATH in lines


@given(
    st.integers(2, 5).flatmap(
        lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=5)
    ),
    st.integers(30, 120),
)
def test_any_table_fits_any_terminal_with_whole_words(rows, columns):
    lines = laid_out([TextTable((), rows)], columns).splitlines()
    firsts = [row[0] for row in rows]
    # The first cell names its row and is never wrapped.
    assert [line for line in lines if len(line) > max(columns, *map(len, firsts))] == []
    words = sorted(word for row in rows for cell in row for word in cell.split())
    assert sorted(" ".join(lines).split()) == words


def test_without_a_width_a_row_is_a_line():
    lines = laid_out([TABLE]).splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert lines[1].endswith("minddiffuser, takagi, unibrain")


def test_a_command_is_never_wrapped():
    command = Verbatim("brainkit run unibrain --work " + PATH)
    assert laid_out([command], 40) == command


def test_what_is_continued_hangs_and_lists_break_behind_commas():
    assert wrapped("  a,bb,ccc dddd", 12) == "  a,bb,ccc\n    dddd"
    assert wrapped("  aaaa,bbbb,cccc", 12) == "  aaaa,bbbb,\n    cccc"


def test_a_pipe_gets_no_styles(capsys):
    show(*BLOCKS)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_gets_styles_and_the_same_words(monkeypatch, columns):
    monkeypatch.setenv("TERM", "xterm-256color")
    printed = on_terminal(monkeypatch, columns)
    assert "\x1b[1mweights" in printed
    assert ("\x1b[31mdamaged" in printed) == (columns > 40)
    plain = re.sub(r"\x1b\[[\d;]*m", "", printed)
    assert [line.rstrip() for line in plain.splitlines()] == laid_out(BLOCKS, columns).splitlines()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(monkeypatch, name, value):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(name, value)
    assert not re.search(r"\x1b\[[\d;]*3\dm", on_terminal(monkeypatch))


def test_columns_win_over_the_terminal_and_a_pipe_has_none(monkeypatch):
    assert width(io.StringIO()) is None
    monkeypatch.setenv("COLUMNS", "57")
    assert width(io.StringIO()) == width(Terminal()) == 57
    monkeypatch.setenv("COLUMNS", "wide")
    assert width(io.StringIO()) is None
