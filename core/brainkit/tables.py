"""Tables and paragraphs as a command prints them: as wide as the terminal, plain in a pipe.

What a command prints is a list of blocks, so that the same goes to a terminal, a file or a test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from brainkit.console import BREAKS, aligned, is_terminal, width, wrapped
from brainkit.errors import printable

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class TextTable:
    """A table, laid out when it is printed.

    Attributes:
        headings: of the columns; none for a table without.
        rows: as many cells each; a column in which all are empty is left out.
        right: columns, from 0, whose cells stand at the right, as numbers do.
        styles: how cells of a text look on a terminal, e.g. {"damaged": "red"}.
        indent: blanks before each line.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[int] = ()
    styles: Mapping[str, str] = field(default_factory=dict)
    indent: int = 0


class Title(str):
    """A line that stands out on a terminal."""


class Verbatim(str):
    """Lines that are never wrapped: what is pasted into a shell, or read by a program."""


Block = str | TextTable
"""What a command prints: paragraphs of a line each, and tables."""


def laid_out(blocks: Iterable[Block], columns: int | None = None) -> str:
    """Return what a command prints as plain text.

    >>> print(laid_out(["two", TextTable(("name", "size"), [("a", "12")], right={1})]))
    two
    name  size
    a       12
    """
    return "\n".join(
        "\n".join(_table_lines(block, columns))
        if isinstance(block, TextTable)
        else _paragraph(block, columns)
        for block in blocks
    )


def _paragraph(block: str, columns: int | None) -> str:
    if isinstance(block, Verbatim):
        return "\n".join(map(printable, block.splitlines()))
    return wrapped(printable(block), columns)


def show(*blocks: Block) -> None:
    """Print paragraphs and tables on stdout, no wider than it is: styled on a terminal, else plain.

    A terminal that is called dumb and NO_COLOR get no styles.
    """
    columns = width()
    if not is_terminal(sys.stdout):
        print(laid_out(blocks, columns), flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    terminal = Console(width=columns, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for block in blocks:
        if isinstance(block, TextTable):
            _print_styled(terminal, block, columns)
        else:
            style = "bold" if isinstance(block, Title) else ""
            terminal.print(Text(_paragraph(block, columns), style))


def show_json(values: object) -> None:
    """Print what a program reads: one JSON value, as `brainkit.schema` describes it."""
    # Plain ASCII is JSON in whatever encoding stdout has.
    print(json.dumps(values, indent=2, default=str), flush=True)


def _print_styled(terminal: Console, table: TextTable, columns: int | None) -> None:
    """Print a table by rich, or line by line where it has no room for its columns."""
    from rich.padding import Padding
    from rich.table import Table as Styled
    from rich.text import Text

    table = _tidied(table)
    widths = _fitting(table, columns)
    if widths is None:
        terminal.print(Text("\n".join(_stacked(table, columns))))
        return
    styled = Styled(
        box=None, show_header=bool(table.headings), pad_edge=False, padding=(0, 2, 0, 0)
    )
    headings = table.headings or [""] * len(widths)
    for column, (heading, size) in enumerate(zip(headings, widths, strict=True)):
        justify: Literal["left", "right"] = "right" if column in table.right else "left"
        styled.add_column(heading, width=size, justify=justify, header_style="bold")
    for row in table.rows:
        styled.add_row(
            *(
                Text(wrapped(cell, size, 0), table.styles.get(cell, ""))
                for cell, size in zip(row, widths, strict=True)
            )
        )
    terminal.print(Padding(styled, (0, 0, 0, table.indent)))


def _table_lines(table: TextTable, columns: int | None) -> list[str]:
    """Return a table's lines as plain text."""
    table = _tidied(table)
    widths = _fitting(table, columns)
    if widths is None:
        return _stacked(table, columns)
    lines: list[list[str]] = []
    for row in ([table.headings] if table.headings else []) + list(table.rows):
        cells = [wrapped(cell, size, 0).split("\n") for cell, size in zip(row, widths, strict=True)]
        height = max(map(len, cells))
        lines += [
            [cell[line] if line < len(cell) else "" for cell in cells] for line in range(height)
        ]
    return [" " * table.indent + line for line in aligned(lines, table.right)] if lines else []


def _tidied(table: TextTable) -> TextTable:
    """Return a table without columns in which no row has anything, its cells printable."""
    columns = enumerate(zip(*table.rows, strict=True))
    full = [place for place, cells in columns if place == 0 or any(cells)]
    return replace(
        table,
        headings=[table.headings[place] for place in full if table.headings],
        rows=[[printable(row[place]) for place in full] for row in table.rows],
        right={full.index(place) for place in table.right if place in full},
    )


def _fitting(table: TextTable, columns: int | None) -> list[int] | None:
    """Return the width of each column such that all fit and no word breaks; None if none do."""
    rows = [*([table.headings] if table.headings else []), *table.rows]
    cells = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in cells]
    if columns is None:
        return widths
    # The first column names what its row is of, and stays whole.
    least = [
        max(len(word) for cell in column for word in BREAKS.split(cell)) if place else widths[0]
        for place, column in enumerate(cells)
    ]
    room = columns - table.indent - 2 * (len(widths) - 1)
    while sum(widths) > room:
        wide = [place for place, size in enumerate(widths) if size > least[place]]
        if not wide:
            return None
        widths[max(wide, key=lambda place: widths[place])] -= 1
    return widths


def _stacked(table: TextTable, columns: int | None) -> list[str]:
    """Return a line for the first cell of each row and one for each other, named by its heading."""
    blanks = " " * table.indent
    lines = []
    for first, *others in table.rows:
        lines.append(wrapped(blanks + first, columns))
        for heading, cell in zip(table.headings[1:] or [""] * len(others), others, strict=True):
            if cell:
                text = f"{heading}: {cell}" if heading else cell
                lines.append(wrapped(f"{blanks}  {text}", columns))
    return "\n".join(lines).split("\n")
