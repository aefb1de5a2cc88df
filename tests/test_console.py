"""What people see: the same in a pipe as on a terminal."""

import doctest
import warnings

from hypothesis import given
from hypothesis import strategies as st

from brainkit import console
from brainkit.errors import BrainkitWarning

CELLS = st.text(st.characters(categories=["L", "N"]), max_size=12)


def test_the_examples_are_true():
    assert doctest.testmod(console).failed == 0
    assert doctest.testmod(console).attempted >= 3


@given(st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=6)
))  # fmt: skip
def test_a_table_keeps_every_cell_in_its_column(rows):
    lines = console.aligned(rows, right={0})
    assert len(lines) == len(rows)
    start = 0
    for column, cells in enumerate(zip(*rows, strict=True)):
        width = max(map(len, cells))
        found = [line.ljust(200)[start : start + width] for line in lines]
        assert [cell.strip() for cell in found] == list(cells)
        assert column or all(
            cell == text.rjust(width) for cell, text in zip(found, cells, strict=True)
        )
        start += width + 2
    assert all(line == line.rstrip() for line in lines)


def test_brainkits_own_warnings_are_told_in_a_line_and_libraries_are_not(monkeypatch):
    told = []
    monkeypatch.setattr(warnings, "showwarning", console.warned(told.append))
    with warnings.catch_warnings(action="always"):
        monkeypatch.setattr(warnings, "showwarning", console.warned(told.append))
        warnings.warn("voxels are few", BrainkitWarning, stacklevel=1)
        warnings.warn("old name", FutureWarning, stacklevel=1)
        assert told == ["Warning: voxels are few"]
        monkeypatch.setattr(warnings, "showwarning", console.warned(told.append, every=True))
        warnings.warn("old name", FutureWarning, stacklevel=1)
    assert told[1:] == ["Warning: old name"]
